import pytest

from autoseg.data.phantom import write_phantom
from autoseg.demo import run_demo
from autoseg.errors import DatasetError

SMALL = (32, 48, 48)


def dice(demo):
    """Mean Dice of every region and label on the held-out cases."""
    structures = {**demo.evaluation.regions, **demo.evaluation.labels}
    return {name: metrics["dice"].mean for name, metrics in structures.items()}


def steps(epochs, iterations):
    return (
        f"training.epochs={epochs}",
        f"training.iterations_per_epoch={iterations}",
        "training.validation_iterations=1",
    )


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """The demo after one step that moves nothing."""
    settings = (*steps(1, 1), "training.learning_rate=1e-12")
    folder = tmp_path_factory.mktemp("demo")
    return folder, settings, run_demo(folder, cases=8, shape=SMALL, time_budget_s=None, settings=settings, workers=1)


@pytest.mark.slow
def test_an_untrained_network_finds_no_tumour(untrained):
    found = dice(untrained[2])
    assert set(found) == {"WT", "TC", "ET", "necrotic", "edema", "enhancing"}
    assert max(found.values()) < 0.3, found


@pytest.mark.slow
def test_every_stage_is_timed_and_leaves_its_files(untrained):
    folder, _, demo = untrained
    assert list(demo.seconds) == [
        "write phantom",
        "check, fingerprint, plan",
        "preprocess",
        "train 2 folds",
        "predict held-out cases",
        "evaluate",
    ]
    assert sorted(file.name for file in demo.predictions.glob("*.nii.gz")) == [
        "PHANTOM_00004.nii.gz",
        "PHANTOM_00008.nii.gz",
    ]
    assert (demo.evaluated / "evaluation.json").exists()
    assert {path.name for path in folder.iterdir()} == {"Task01_Phantom", "workspace", "predictions", "evaluation"}


@pytest.mark.slow
def test_a_demo_that_is_complete_is_not_run_again(untrained):
    folder, settings, demo = untrained
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    again = run_demo(folder, cases=8, shape=SMALL, time_budget_s=None, settings=settings, workers=1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before
    assert again.evaluation == demo.evaluation


@pytest.mark.slow
def test_a_few_hundred_steps_find_the_tumours(tmp_path):
    found = dice(run_demo(tmp_path, time_budget_s=None, settings=steps(4, 50), workers=1))
    assert found["WT"] > 0.75, found
    assert min(found["TC"], found["ET"]) > 0.6, found


def test_too_few_cases_for_five_folds_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DatasetError, match="at least 8"):
        run_demo(tmp_path, cases=7)
    assert not any(tmp_path.iterdir())


def test_another_phantom_in_the_folder_is_left_alone(tmp_path):
    write_phantom(tmp_path, cases=8, shape=(24, 24, 24), workers=1)
    with pytest.raises(DatasetError, match="another data set"):
        run_demo(tmp_path, cases=9, shape=(24, 24, 24), workers=1)
