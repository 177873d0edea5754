from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from autoseg.artefacts import save
from autoseg.benchmark.prediction import measure_qualities, quality_lines
from autoseg.cli.benchmark import main
from autoseg.data.dataset import Case, Dataset
from autoseg.errors import PredictionError, UnknownNameError
from autoseg.workspace import DatasetFolder, open_workspace
from tests.prediction import small

KNOWN = "tests.prediction.small:brightness"


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    """Two cases with references, one of which fold 0 was not trained on; its reference misses half of what is bright."""
    cases = []
    for name in ("a", "b"):
        voxels = small.scan(9, 9, 9, seed=ord(name))
        reference = np.where(voxels > 2, 9, np.where(voxels > 1, 4, 0)).astype(np.uint8)
        small.write_nifti(tmp_path / "raw" / f"{name}.nii.gz", voxels)
        small.write_nifti(tmp_path / "raw" / f"{name}_labels.nii.gz", reference)
        cases.append(Case(id=name, images=(f"{name}.nii.gz",), label=f"{name}_labels.nii.gz"))
    dataset = Dataset(
        name="Small",
        root=str(tmp_path / "raw"),
        layout="list",
        template=None,
        channels=("MRI",),
        labels=small.LABELS,
        cases=tuple(cases),
    )
    found = DatasetFolder(tmp_path / "workspace" / "Small")
    save(dataset, found.dataset_file)
    return found


def test_every_quality_is_measured_on_the_cases_the_fold_has_not_seen(folder: DatasetFolder) -> None:
    model = small.write_small_model(folder.models / "known", small.plan(kind=KNOWN))
    found = measure_qualities(folder, model, precisions=["fp32", "bf16"], device="cpu")
    assert [(cost.quality, cost.precision, cost.cases, cost.mean_dice) for cost in found.costs] == [
        (quality, precision, 1, 1.0) for precision in ("fp32", "bf16") for quality in ("best", "balanced", "fast")
    ]
    assert all(cost.seconds_per_case > 0 for cost in found.costs)
    predictions = folder.path / "benchmarks" / "prediction" / "known" / "fast_fp32" / "fold_0"
    assert (predictions / "b.nii.gz").exists()
    assert not (predictions / "a.nii.gz").exists()
    lines = quality_lines(found)
    assert lines[0].startswith("known, folds 0, 1 validation cases")
    assert lines[4].startswith("| best | fp32 | 0.5 | all | no | 1.0000 | +0.0000 |")
    assert lines[4].endswith("| 1.0 |")


def test_a_model_that_has_seen_every_case_and_names_that_do_not_exist_are_refused(folder: DatasetFolder) -> None:
    model = small.write_small_model(folder.models / "known", small.plan(kind=KNOWN), folds=("all",))
    with pytest.raises(PredictionError, match="only fold all is trained"):
        measure_qualities(folder, model, device="cpu")
    with pytest.raises(UnknownNameError, match="Did you mean 'best'"):
        measure_qualities(folder, model, qualities=["bst"])
    known = small.write_small_model(folder.models / "other", small.plan(kind=KNOWN))
    with pytest.raises(UnknownNameError, match="Did you mean 'int8'"):
        measure_qualities(folder, known, precisions=["int"])


def test_the_command_prints_dice_beside_time_and_keeps_both(folder: DatasetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOSEG_WORKSPACE", str(folder.path.parent))
    save(small.plan(kind=KNOWN), folder.plan_file)
    open_workspace().remember("Small")
    small.write_small_model(folder.models / "known", small.plan(kind=KNOWN))
    done = CliRunner().invoke(main, ["prediction", "--quality", "fast", "--precision", "fp32", "--device", "cpu", "-q"])
    assert done.exit_code == 0, done.output
    assert "| fast | fp32 | 0.8 | none | yes | 1.0000 | +0.0000 |" in done.stdout
    assert (folder.path / "benchmarks" / "prediction_known.json").exists()
