"""Maps beside the label map stay on disk: memory does not grow with them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from autoseg.errors import UnknownNameError, WorkspaceError
from autoseg.prediction.beside import Beside, channel_names, chosen_channels
from autoseg.prediction.maps import LEVELS, coded, decoded, empty_maps
from tests.prediction.test_export import FOUR, NESTED


def test_codes_stand_for_their_values_to_half_a_step() -> None:
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(decoded(coded(values)), values.numpy(), atol=0.51 / LEVELS)
    assert coded(torch.tensor([0.0, 1.0, 1.0000001, -1e-9])).tolist() == [0, LEVELS, LEVELS, 0]
    np.testing.assert_allclose(decoded(coded(4 * values, largest=4), largest=4), 4 * values.numpy(), atol=2.1 / LEVELS)


def test_classes_are_chosen_by_name_or_value_and_come_in_the_order_of_the_network() -> None:
    assert chosen_channels(("4", "label 1"), FOUR) == (1, 3)
    assert chosen_channels(("0",), FOUR) == (0,)
    assert chosen_channels((), NESTED) == (0, 1, 2)
    assert chosen_channels(("ET", "2"), NESTED) == (0, 2)  # the whole tumour writes a 2
    assert channel_names(NESTED) == ("WT", "TC", "ET")


@pytest.mark.parametrize(
    ("wanted", "message"), [("labl 1", r"Did you mean 'label 1 \(1\)'"), ("3", r"class in --classes '3'")]
)
def test_an_unknown_class_is_answered_with_those_that_exist(wanted: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        chosen_channels((wanted,), FOUR)


def test_background_is_certain_where_nothing_has_been_taken_in(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        maps = empty_maps(Beside(True, ("0", "4")), FOUR, (2, 3, 4), has_variance=True, folder=folder)
        assert maps.probabilities is not None
        assert maps.probabilities.reshape(2, -1).min(axis=1).tolist() == [LEVELS, 0]
        assert (maps.entropy, maps.variance) == (None, None)
    assert not list(tmp_path.iterdir())  # the file has no name


def test_maps_that_do_not_fit_on_the_disk_are_refused_before_a_network_runs(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"no room for .* GiB while a case is predicted"):
        empty_maps(Beside(True), FOUR, (100_000, 100_000, 1000), has_variance=False, folder=tmp_path)


LIMITED = """
import json, sys
from pathlib import Path
import nibabel as nib
import numpy as np
import torch
from autoseg.prediction.beside import Beside
from autoseg.prediction.case_job import CaseJob
from autoseg.prediction.ensemble import Member
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.settings import Settings
from autoseg.data.dataset import Case
from tests.prediction import small
from tests.prediction.limited import at_most_more
from tests.prediction.test_memory import MANY

torch.set_num_threads(1)
folder = Path(sys.argv[1])
plan = small.plan(labels=MANY, patch_size=(32, 32, 32))
member = Member(plan, plan.configurations["3d_fullres"], (small.network(plan), small.network(plan, seed=1)))
predictor = Predictor([member], settings=Settings(precision="fp32", device="cpu", mirroring="none"))
def case(name, *shape):
    return Case(id=name, images=(str(small.write_nifti(folder / "in" / f"{name}.nii.gz", small.scan(*shape))),))
job = CaseJob(predictor, folder / "out", Beside(probabilities=True, uncertainty=True))
(folder / "out").mkdir()
assert job.predict(case("warm", 16, 16, 16)).error is None
large = case("large", 96, 96, 64)
with at_most_more(300):
    found = job.predict(large)
stored = nib.load(folder / "out" / "large_probabilities.nii.gz")
some = np.asanyarray(stored.dataobj[40:44])
total = float(np.abs(some.sum(-1) - 1).max())
print(json.dumps({"error": found.error, "way": found.way, "shape": stored.shape, "sum": total}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit as Linux has it")
def test_probabilities_and_uncertainty_of_a_hundred_classes_are_written_under_a_limit_they_exceed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # Scores of the mean and of both networks would take 700 MB; 300 MB may be allocated.
    assert found["error"] is None
    assert "parts" in found["way"]
    assert found["shape"] == [64, 96, 96, 100]
    assert found["sum"] < 100 / LEVELS
