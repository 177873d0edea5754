"""Plans agree with nnU-Net 2.8.1's for every data set in golden/plans (see make_plans.py there)."""

import json
from pathlib import Path

import pytest

from autoseg.planning.nnunet_plans import nnunet_plans
from autoseg.planning.run import plan_from_fingerprint
from tests.golden.make_plans import configuration

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "plans").glob("*.json"))
CASES = [
    pytest.param(file, index, id=f"{file.stem}-{one['preset']}-{one['gpu_memory_gb'] or 'own'}GB")
    for file in GOLDEN
    for index, one in enumerate(json.loads(file.read_text())["plans"])
]


def test_there_are_golden_plans_of_thirteen_data_sets():
    assert len(GOLDEN) == 13
    assert len(CASES) == 66


@pytest.mark.parametrize(("file", "index"), CASES)
def test_a_plan_made_from_nnunets_fingerprint_is_nnunets(file, index, tmp_path):
    stored = json.loads(file.read_text())
    for name in ("fingerprint", "dataset"):
        (tmp_path / f"{name}.json").write_text(json.dumps(stored[name]))
    expected = stored["plans"][index]
    plan, facts = plan_from_fingerprint(
        tmp_path / "fingerprint.json",
        tmp_path / "dataset.json",
        preset=expected["preset"],
        gpu_memory_gb=expected["gpu_memory_gb"],
    )
    found = nnunet_plans(plan, facts)
    assert list(plan.transpose_forward) == expected["transpose"]
    configurations = {name: configuration(one) for name, one in found["configurations"].items()}
    assert configurations == expected["configurations"]
    assert list(configurations) == list(expected["configurations"])
