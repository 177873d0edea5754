import os
import shutil

import numpy as np
import pytest

from autoseg.artefacts import save
from autoseg.data.readers import write_image, write_labels
from autoseg.errors import DatasetError, ViewerError
from autoseg.evaluation.run import evaluate
from autoseg.prediction.report import REPORT_FILE
from autoseg.viewer.gather import Named, gather
from autoseg.workspace import Workspace
from tests.evaluation.test_evaluate import BRATS
from tests.report.made_up import GRID, SHAPE, planned_and_trained, tumour
from tests.viewer.made_up import predicted_report, write_patient, write_set


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    folder, model = planned_and_trained(root)
    return root, folder, model, Workspace(root / "workspace")


@pytest.fixture
def files(tmp_path):
    return write_set(tmp_path)


def test_an_image_is_a_case(files):
    found = gather(Named(str(files / "images" / "a.nii.gz")), None)
    assert [(case.id, [path.name for path in case.images]) for case in found.cases] == [("a", ["a.nii.gz"])]


def test_the_folder_of_a_patient_is_one_case_with_its_sequences_and_reference(tmp_path):
    patient = write_patient(tmp_path / "Brats18_X_1")
    found = gather(Named(str(patient)), None)
    [case] = found.cases
    assert case.id == "Brats18_X_1"
    assert [path.name.split("_")[-1] for path in case.images] == [
        f"{name}.nii.gz" for name in ("flair", "t1", "t1ce", "t2")
    ]
    assert case.reference == patient / "Brats18_X_1_seg.nii.gz"
    assert found.channels[0] == "flair"
    assert [label.value for label in found.scheme.foreground] == [1, 2, 4]
    assert [region.name for region in found.scheme.regions] == ["WT", "TC", "ET"]


def test_a_data_set_as_it_was_downloaded_is_all_its_cases(tmp_path):
    for number in (1, 2):
        write_patient(tmp_path / f"Brats18_X_{number}", seed=number)
    assert [case.id for case in gather(Named(str(tmp_path)), None).cases] == ["Brats18_X_1", "Brats18_X_2"]


def test_a_folder_of_images_of_no_known_layout_is_a_case_each(files):
    assert [case.id for case in gather(Named(str(files / "images")), None).cases] == ["a", "b", "c"]


def test_roles_are_paired_by_name(files):
    named = Named(
        images=files / "images",
        predictions=files / "predictions",
        references=files / "references",
        uncertainty=files / "maps",
    )
    found = gather(named, None)
    for case in found.cases:
        assert case.prediction == files / "predictions" / f"{case.id}.nii.gz"
        assert case.reference == files / "references" / f"{case.id}.nii.gz"
        assert case.maps == {"entropy": files / "maps" / f"{case.id}_entropy.nii.gz"}


def test_files_are_those_of_the_only_case_whatever_their_names(files):
    image, prediction = files / "images" / "a.nii.gz", files / "predictions" / "b.nii.gz"
    [case] = gather(Named(str(image), predictions=prediction, references=files / "references" / "c.nii.gz"), None).cases
    assert (case.id, case.prediction.name, case.reference.name) == ("a", "b.nii.gz", "c.nii.gz")


def test_cases_that_only_one_side_has_are_shown_too(files):
    (files / "predictions" / "a.nii.gz").unlink()
    write_labels(files / "predictions" / "z.nii.gz", tumour(), GRID)
    found = gather(Named(images=files / "images", predictions=files / "predictions"), None)
    assert [(case.id, bool(case.images), case.prediction is not None) for case in found.cases] == [
        ("a", True, False),
        ("b", True, True),
        ("c", True, True),
        ("z", False, True),
    ]


def test_names_that_never_meet_are_refused(files):
    for case in "abc":
        (files / "predictions" / f"{case}.nii.gz").rename(files / "predictions" / f"{case}_pred.nii.gz")
    with pytest.raises(ViewerError, match="predictions are a_pred, b_pred, c_pred; the images are a, b, c"):
        gather(Named(images=files / "images", predictions=files / "predictions"), None)


def test_maps_of_uncertainty_are_found_beside_predictions_and_below_a_folder(files):
    shutil.copy(files / "maps" / "a_entropy.nii.gz", files / "predictions" / "a_variance.nii.gz")
    (files / "maps" / "deeper").mkdir()
    shutil.move(files / "maps" / "b_entropy.nii.gz", files / "maps" / "deeper")
    found = gather(Named(predictions=files / "predictions", uncertainty=files / "maps"), None)
    assert [(case.id, sorted(case.maps)) for case in found.cases] == [
        ("a", ["entropy", "variance"]),
        ("b", ["entropy"]),
        ("c", ["entropy"]),
    ]
    with pytest.raises(ViewerError, match="called like a case"):
        gather(Named(predictions=files / "predictions", uncertainty=tmp_images(files)), None)


def tmp_images(files):
    folder = files / "others"
    write_image(folder / "other_entropy.nii.gz", np.zeros((1, *SHAPE), np.float32), GRID)
    return folder


def test_stored_scores_are_taken_with_their_references(files):
    evaluate(files / "predictions", files / "references", labels=BRATS, workers=1)
    found = gather(Named(str(files / "predictions")), None)
    assert [case.id for case in found.evaluation.cases] == ["a", "b", "c"]
    assert found.case("a").reference == files / "references" / "a.nii.gz"
    assert any(str(files / "references") in note for note in found.notes)
    assert found.scheme == BRATS


def test_scores_older_than_a_prediction_or_damaged_are_not_taken_and_a_note_says_so(files):
    evaluate(files / "predictions", files / "references", labels=BRATS, workers=1)
    stored = files / "predictions" / "evaluation.json"
    os.utime(files / "predictions" / "b.nii.gz", (stored.stat().st_mtime + 10,) * 2)
    found = gather(Named(str(files / "predictions")), None)
    assert found.evaluation is None
    assert "older than the prediction of b" in found.notes[0]
    stored.write_text("{")
    found = gather(Named(str(files / "predictions")), None)
    assert found.evaluation is None
    assert "evaluation.json" in found.notes[0]


def test_scores_against_other_references_than_those_named_are_not_taken(files):
    evaluate(files / "predictions", files / "references", labels=BRATS, workers=1)
    named = Named(predictions=files / "predictions", references=files / "references")
    assert gather(named, None).evaluation is not None
    shutil.copytree(files / "references", files / "others")
    found = gather(Named(predictions=files / "predictions", references=files / "others"), None)
    assert found.evaluation is None
    assert found.case("a").reference.parent.name == "others"
    assert "computed anew" in found.notes[-1]


def test_what_a_run_of_predictions_left_behind_names_labels_and_what_to_look_at(files):
    report = predicted_report(BRATS, review={"b": ("small and unsure",)})
    save(report, files / "predictions" / REPORT_FILE)
    found = gather(Named(str(files / "predictions")), None)
    assert found.scheme == BRATS
    assert found.report.review["b"] == ("small and unsure",)
    (files / "predictions" / REPORT_FILE).write_text("{")
    found = gather(Named(str(files / "predictions")), None)
    assert found.scheme is None
    assert "prediction.json" in found.notes[0]


def test_a_planned_data_set_is_shown_with_what_its_model_predicted(trained):
    _, _, _, workspace = trained
    for named in (Named(), Named("d"), Named(dataset="d"), Named("d", model="m")):
        found = gather(named, workspace)
        assert [(case.id, case.prediction.parent.parent.name) for case in found.cases] == [
            ("a", "fold_0"),
            ("b", "fold_0"),
            ("c", "fold_1"),
            ("d", "fold_1"),
        ]
        assert len(found.evaluation.cases) == 4
        assert found.case("d").images[0].name == "d.nii.gz"
        assert found.case("d").reference.parent.name == "labels"


def test_the_folder_it_was_planned_from_means_the_planned_data_set(trained):
    root, _, _, workspace = trained
    assert len(gather(Named(str(root / "raw")), workspace).evaluation.cases) == 4
    assert gather(Named(str(root / "raw" / "images")), workspace).evaluation is None


def test_the_folder_of_a_model_or_of_its_validation_shows_its_held_out_cases(trained):
    _, _, model, _ = trained
    assert [case.id for case in gather(Named(str(model)), None).cases] == ["a", "b", "c", "d"]
    found = gather(Named(str(model / "fold_1" / "validation")), None)
    assert [(case.id, case.images[0].name) for case in found.cases] == [("c", "c.nii.gz"), ("d", "d.nii.gz")]
    assert [case.id for case in found.evaluation.cases] == ["c", "d"]


def test_predictions_of_the_data_set_planned_last_find_their_images(trained, files):
    _, _, _, workspace = trained
    found = gather(Named(predictions=files / "predictions"), workspace)
    assert [(case.id, len(case.images), case.reference is not None) for case in found.cases] == [
        ("a", 1, True),
        ("b", 1, True),
        ("c", 1, True),
    ]
    for path in list((files / "predictions").iterdir()):
        path.rename(path.with_name(f"z{path.name}"))
    assert not gather(Named(predictions=files / "predictions"), workspace).cases[0].images
    with pytest.raises(ViewerError, match="the cases of d are a, b, c, d"):
        gather(Named(predictions=files / "predictions", dataset="d"), workspace)


def test_what_is_not_there_is_named(tmp_path, trained):
    with pytest.raises(ViewerError, match="nothing to view"):
        gather(Named(), None)
    with pytest.raises(DatasetError, match="no data set 'nowhere'"):
        gather(Named("nowhere"), None)
    with pytest.raises(DatasetError, match="Layouts tried"):
        gather(Named(str(tmp_path)), None)
    with pytest.raises(ViewerError, match="not found"):
        gather(Named(predictions=trained[2] / "fold_0" / "validation", uncertainty=tmp_path / "none"), None)
