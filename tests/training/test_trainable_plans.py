"""Plans are not only valid: their networks are built and take training steps."""

import json
from pathlib import Path

import pytest
import torch

from autoseg.planning.memory import GIB
from autoseg.planning.planner import make_plan
from autoseg.planning.run import plan_from_fingerprint
from autoseg.planning.settings import apply_settings
from autoseg.training.device import Precision
from autoseg.training.memory_probe import CPU, Trial, counted_bytes
from tests.planning.facts import brain, scheme

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "plans").glob("*.json"))
DUST = [(1, 1, 1), (1, 1, 2), (2, 2, 2), (50, 1, 1), (1, 1, 50), (3, 9, 12)]


def four_gigabytes(file, tmp_path, preset):
    stored = json.loads(file.read_text())
    for name in ("fingerprint", "dataset"):
        (tmp_path / f"{name}.json").write_text(json.dumps(stored[name]))
    files = (tmp_path / "fingerprint.json", tmp_path / "dataset.json")
    return plan_from_fingerprint(*files, preset=preset, gpu_memory_gb=4, device_bytes=4 * GIB)[0]


def moved_by_a_step(plan, one):
    """Whether a real step on noise leaves every weight finite and moves the first ones."""
    torch.manual_seed(0)
    trial = Trial(plan, one, device=CPU, precision=Precision("fp32"))
    image, target = trial.batch()
    before = [weight.detach().clone() for weight in trial.network.parameters()]
    trial.step(torch.randn(image.shape), target + 1)
    after = list(trial.network.parameters())
    assert all(torch.isfinite(weight).all() for weight in after)
    return not torch.equal(before[0], after[0])


@pytest.mark.parametrize("preset", ["nnunet", "resenc_m"])
@pytest.mark.parametrize("shape", DUST, ids=str)
def test_images_of_one_or_a_few_voxels_get_a_plan_that_can_be_trained(shape, preset):
    plan = make_plan(brain(shapes=(shape,) * 20), preset=preset)
    for name in plan.configurations:
        few = apply_settings(plan, [f"{name}.batch_size=2"])
        assert moved_by_a_step(few, few.configurations[name])


@pytest.mark.parametrize("classes", [1, 60])
def test_one_case_with_one_class_or_sixty_gets_a_plan_that_can_be_trained(classes):
    labels = scheme(*(f"class {index}" for index in range(classes)))
    plan = make_plan(brain(shapes=((9, 20, 16),), spacings_mm=((3.0, 1.0, 1.0),), training_cases=1, labels=labels))
    assert moved_by_a_step(plan, plan.configurations["3d_fullres"])


@pytest.mark.parametrize("preset", ["nnunet", pytest.param("resenc_m", marks=pytest.mark.slow)])
@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_four_gigabytes_give_every_golden_data_set_a_3d_network_that_takes_steps(file, preset, tmp_path):
    plan = four_gigabytes(file, tmp_path, preset)
    if "2D" in file.stem:
        assert list(plan.configurations) == ["2d"]
        return
    # Steps of full size on tensors that hold no numbers.
    assert counted_bytes(plan, plan.configurations["3d_fullres"], precision="bf16") < 4 * GIB


@pytest.mark.slow
@pytest.mark.parametrize("file", [file for file in GOLDEN if "Hippocampus" in file.stem], ids=lambda file: file.stem)
def test_the_smallest_golden_data_sets_take_a_real_step_within_four_gigabytes(file, tmp_path):
    plan = four_gigabytes(file, tmp_path, "nnunet")
    for name in plan.configurations:
        few = apply_settings(plan, [f"{name}.batch_size=2"])
        assert moved_by_a_step(few, few.configurations[name])
