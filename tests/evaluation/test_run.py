import csv
import json

import numpy as np
import pytest
import SimpleITK

from autoseg.artefacts import load
from autoseg.data.dataset import Case, Dataset
from autoseg.data.image import Geometry
from autoseg.data.labels import Label, LabelScheme
from autoseg.data.readers import read_labels, write_labels
from autoseg.errors import EvaluationError, ImageError
from autoseg.evaluation.evaluate import Evaluation
from autoseg.evaluation.pairing import dataset_references, label_files
from autoseg.evaluation.run import evaluate
from autoseg.evaluation.scores import evaluate_case
from tests.brats import BRATS

SHAPE = (3, 4, 5)


def grid(shift_mm=0.0, spacing=(2.0, 1.0, 1.0), shape=SHAPE):
    affine = np.diag([spacing[2], spacing[1], spacing[0], 1.0])
    affine[0, 3] = shift_mm
    return Geometry(shape, spacing, affine)


def labels(value=2, voxels=4, shape=SHAPE):
    found = np.zeros(shape, dtype=np.uint8)
    found.flat[:voxels] = value
    return found


@pytest.fixture
def folders(tmp_path):
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    for case, voxels in (("a", 4), ("b", 8)):
        write_labels(references / f"{case}.nii.gz", labels(voxels=voxels), grid())
        write_labels(predictions / f"{case}.nii.gz", labels(voxels=4), grid())
    return predictions, references


def test_an_evaluation_is_written_and_can_be_read_again(folders, tmp_path):
    found = evaluate(*folders, labels=BRATS, output=tmp_path / "out", workers=1)
    assert load(Evaluation, tmp_path / "out" / "evaluation.json", remake="autoseg_evaluate") == found
    assert [case.id for case in found.cases] == ["a", "b"]
    assert found.cases[1].labels["edema"].metrics["dice"] == pytest.approx(2 / 3)
    assert found.regions["WT"]["dice"].mean == pytest.approx(5 / 6)
    assert found.regions["WT"]["reference_ml"].mean == pytest.approx(0.012)
    assert found.labels["enhancing"]["dice"].undefined == 2
    assert found.foreground_labels["dice"].counted == 1
    json.loads((tmp_path / "out" / "evaluation.json").read_text(), parse_constant=pytest.fail)


def test_each_case_and_structure_has_a_row_and_undefined_is_an_empty_field(folders):
    evaluate(*folders, labels=BRATS, workers=1)
    with (folders[0] / "per_case.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 6
    first, enhancing = rows[0], rows[2]
    assert (first["case"], first["kind"], first["structure"], first["true_positive"]) == ("a", "region", "WT", "4")
    assert float(first["dice"]) == 1
    assert (enhancing["structure"], enhancing["dice"], enhancing["predicted_ml"]) == ("ET", "", "0.0")


def test_processes_give_the_same_as_one(folders):
    assert evaluate(*folders, labels=BRATS, workers=2) == evaluate(*folders, labels=BRATS, workers=1)


def test_evaluating_into_the_predictions_twice_leaves_the_result_unchanged(folders):
    assert evaluate(*folders, labels=BRATS, workers=1) == evaluate(*folders, labels=BRATS, workers=1)


def test_without_a_scheme_each_value_of_the_references_is_a_label(folders):
    found = evaluate(*folders, workers=1)
    assert list(found.labels) == ["label_2"]
    assert found.regions == {}


def test_a_missing_prediction_is_named(folders):
    (folders[0] / "b.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"1 of 2 references have no prediction: b\."):
        evaluate(*folders, labels=BRATS, workers=1)
    assert not (folders[0] / "evaluation.json").exists()
    found = evaluate(*folders, labels=BRATS, allow_missing=True, workers=1)
    assert found.missing == ("b",)
    assert [case.id for case in found.cases] == ["a"]


def test_a_prediction_without_a_reference_is_noted(folders, caplog):
    (folders[1] / "b.nii.gz").unlink()
    assert evaluate(*folders, labels=BRATS, workers=1).extra == ("b",)
    assert "b" in caplog.text


def test_different_grids_are_refused_with_both_values(folders):
    write_labels(folders[0] / "b.nii.gz", labels(), grid(shift_mm=2.5))
    with pytest.raises(
        EvaluationError, match=r"case b: origin of .*predictions/b.nii.gz is 2.5 .*references/b.nii.gz is 0"
    ):
        evaluate(*folders, labels=BRATS, workers=1)
    write_labels(folders[0] / "b.nii.gz", labels(shape=(3, 4, 6)), grid(shape=(3, 4, 6)))
    with pytest.raises(EvaluationError, match=r"shape of .* is 3 x 4 x 6, .* is 3 x 4 x 5"):
        evaluate(*folders, labels=BRATS, workers=1)


def test_a_drift_of_the_grid_is_tolerated(folders):
    write_labels(folders[0] / "b.nii.gz", labels(), grid(shift_mm=5e-4))
    assert len(evaluate(*folders, labels=BRATS, workers=1).cases) == 2


def test_an_unknown_value_is_refused_with_case_and_file(folders):
    write_labels(folders[0] / "b.nii.gz", labels(value=3), grid())
    with pytest.raises(
        EvaluationError, match=r"case b: the prediction holds an undeclared label value 3 \(4 voxels\).*b.nii.gz"
    ):
        evaluate(*folders, labels=BRATS, workers=1)


def test_a_label_scheme_of_another_data_set_is_refused_with_both_files_and_what_to_name(folders):
    other = LabelScheme(labels=(Label(name="background", value=0), Label(name="organ", value=1)))
    with pytest.raises(EvaluationError, match=r"(?s)2 of 2 cases.*case a: .*value 2 \(4 voxels\).*predictions/a.*-d D"):
        evaluate(*folders, labels=other, workers=1)
    assert not (folders[0] / "evaluation.json").exists()


def test_every_case_that_cannot_be_evaluated_is_named_at_once(folders):
    write_labels(folders[0] / "a.nii.gz", labels(value=3), grid())
    (folders[0] / "b.nii.gz").write_bytes(b"no image")
    with pytest.raises(EvaluationError, match=r"(?s)2 of 2 cases cannot be evaluated.*case a: .*value 3.*b\.nii\.gz"):
        evaluate(*folders, labels=BRATS, workers=1)
    assert not (folders[0] / "evaluation.json").exists()


def test_cases_are_summarised_apart_by_a_column(folders, tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("patient,grade\na,HGG\nb,LGG\nother,LGG\n")
    found = evaluate(*folders, labels=BRATS, stratify=(table, "grade"), workers=1)
    assert found.stratified_by == "grade"
    assert [(stratum.value, stratum.cases) for stratum in found.strata] == [("HGG", ("a",)), ("LGG", ("b",))]
    assert found.strata[1].labels["edema"]["dice"].mean == found.cases[1].labels["edema"].metrics["dice"]


def test_endings_may_differ_and_other_files_are_passed_over(folders):
    (folders[0] / "b.nii.gz").unlink()
    write_labels(folders[0] / "b.nrrd", labels(), grid())
    (folders[0] / "prediction.json").write_text("{}")
    (folders[0] / "._a.nii.gz").write_text("litter")
    assert len(evaluate(*folders, labels=BRATS, workers=1).cases) == 2


def test_two_files_for_one_case_are_refused(folders):
    write_labels(folders[0] / "b.nrrd", labels(), grid())
    with pytest.raises(EvaluationError, match=r"b\.nii\.gz and b\.nrrd are both case b"):
        evaluate(*folders, labels=BRATS, workers=1)


def test_folders_without_labels_or_without_common_cases_are_refused(folders, tmp_path):
    with pytest.raises(EvaluationError, match="is no folder"):
        label_files(tmp_path / "nowhere", what="predictions")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="no label file"):
        evaluate(tmp_path / "empty", folders[1], workers=1)
    with pytest.raises(EvaluationError, match=r"references: no label file in .*empty"):
        evaluate(folders[0], tmp_path / "empty", workers=1)
    write_labels(tmp_path / "other" / "z.nii.gz", labels(), grid())
    with pytest.raises(EvaluationError, match=r"predictions are z; references are a, b"):
        evaluate(tmp_path / "other", folders[1], workers=1)


def dataset(root):
    files = {case: f"{case}/{case}_seg.nii.gz" for case in "pqrs"}
    cases = {case: Case(id=case, images=(f"{case}/{case}_flair.nii.gz",), label=file) for case, file in files.items()}
    scheme = LabelScheme(labels=(Label(name="background", value=0), Label(name="edema", value=2)))
    unlabelled = Case(id="t", images=("t/t_flair.nii.gz",))
    return Dataset(
        name="d",
        root=str(root),
        layout="brats",
        template=None,
        channels=("flair",),
        labels=scheme,
        cases=(cases["p"], cases["q"]),
        test_cases=(cases["r"], cases["s"], unlabelled),
    )


def test_references_of_a_data_set_are_those_of_the_group_that_was_predicted(tmp_path):
    data = dataset(tmp_path)
    assert dataset_references(data, ["r"]) == {case: tmp_path / case / f"{case}_seg.nii.gz" for case in "rs"}
    assert set(dataset_references(data, ["p", "s"])) == set("pqrs")
    with pytest.raises(EvaluationError, match=r"no labels for the predicted cases \(t\)"):
        dataset_references(data, ["t"])


def test_predictions_are_held_against_the_labels_of_a_data_set(tmp_path):
    data = dataset(tmp_path)
    for case in "rs":
        write_labels(tmp_path / case / f"{case}_seg.nii.gz", labels(), grid())
        write_labels(tmp_path / "out" / f"{case}.nii.gz", labels(), grid())
    found = evaluate(tmp_path / "out", lambda ids: dataset_references(data, ids), labels=data.labels, workers=1)
    assert found.labels["edema"]["dice"].mean == 1


def real_label_maps(folder):
    """All label maps of real data sets: hippocampi, gliomas with value 4, membranes with value 255, single scans."""
    patterns = ("Task04_Hippocampus/labels*/hippo*.nii.gz", "BraTS2018/*/*_seg.nii.gz", "em_membrane_2d/*/*.png")
    for pattern in (*patterns, "small/**/*seg*", "small/**/*label*", "small/**/*mask*"):
        yield from sorted(path for path in folder.glob(pattern) if path.is_file())


@pytest.mark.real_data
def test_dice_on_all_real_data_agrees_with_simpleitk(shared_data):
    compared = 0
    for path in real_label_maps(shared_data):
        try:
            truth, geometry = read_labels(path)
        except ImageError:  # pictures of the membranes themselves
            continue
        values = sorted(set(np.unique(truth).tolist()) - {0})
        if not values or len(values) > 20:
            continue
        predicted = np.roll(truth, (0, 2, -3), axis=(0, 1, 2))
        scheme = LabelScheme(labels=tuple(Label(name=f"label_{value}", value=value) for value in (0, *values)))
        found = evaluate_case(
            predicted, truth, case_id=path.name, scheme=scheme, spacing_mm=geometry.spacing_mm, metrics=["dice"]
        )
        measure = SimpleITK.LabelOverlapMeasuresImageFilter()
        measure.Execute(*(SimpleITK.GetImageFromArray(part.astype(np.int32)) for part in (predicted, truth)))
        for value in values:
            dice = found.labels[f"label_{value}"].metrics["dice"]
            assert dice == pytest.approx(measure.GetDiceCoefficient(value), abs=1e-9), path
            compared += 1
    assert compared > 300
