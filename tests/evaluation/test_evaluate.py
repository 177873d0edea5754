import numpy as np
import pytest

from autoseg.data.labels import Label, LabelScheme
from autoseg.errors import EvaluationError, LabelError
from autoseg.evaluation.scores import evaluate_case
from autoseg.evaluation.summary import summarise, summary
from tests.brats import BRATS


def two_labels(**more) -> LabelScheme:
    return LabelScheme(labels=(Label(name="nothing", value=0), Label(name="thing", value=7)), **more)


def row(*values):
    return np.array(values, dtype=np.uint8).reshape(1, 1, -1)


def infinite_metric(structure):
    return float("inf")


def touching_voxels(structure):
    return float(structure.counts.true_positive)


def evaluated(predicted, reference, scheme=BRATS, spacing=(1.0, 1.0, 1.0), **more):
    return evaluate_case(predicted, reference, case_id="a", scheme=scheme, spacing_mm=spacing, **more)


def test_a_row_of_brats_labels_gives_the_scores_worked_out_by_hand():
    reference = row(0, 2, 2, 1, 4, 4, 2, 0, 0, 0)
    predicted = row(0, 0, 2, 4, 4, 1, 2, 2, 0, 0)
    scores = evaluated(predicted, reference, spacing=(10.0, 10.0, 10.0))
    whole = scores.regions["WT"]
    assert (whole.true_positive, whole.false_positive, whole.false_negative, whole.true_negative) == (5, 1, 1, 3)
    assert whole.metrics["dice"] == pytest.approx(5 / 6)
    assert whole.metrics["hd95_mm"] == pytest.approx(np.percentile([0, 0, 0, 0, 0, 10], 95))
    assert whole.metrics["predicted_ml"] == pytest.approx(6)
    assert scores.regions["TC"].metrics["dice"] == 1
    assert scores.regions["TC"].metrics["hd95_mm"] == 0
    assert scores.regions["ET"].metrics["iou"] == pytest.approx(1 / 3)
    assert scores.labels["enhancing"] == scores.regions["ET"]
    assert scores.labels["necrotic"].metrics["dice"] == 0
    assert list(scores.labels) == ["necrotic", "edema", "enhancing"]


def test_an_empty_pair_is_undefined_and_an_empty_side_has_no_distance():
    scores = evaluated(row(2, 0), row(1, 0))
    enhancing = scores.labels["enhancing"].metrics
    assert {name for name, value in enhancing.items() if value is None} == {
        "dice",
        "iou",
        "sensitivity",
        "precision",
        "nsd",
        "hd_mm",
        "hd95_mm",
        "assd_mm",
        *(f"lesion_{name}" for name in ("dice_2023", "hd95_2023_mm", "f1_2023", "dice_2026", "hd95_2026_mm", "f1_2026")),
    }
    assert (enhancing["specificity"], enhancing["predicted_ml"], enhancing["reference_ml"]) == (1, 0, 0)
    assert scores.labels["edema"].metrics["dice"] == 0
    assert scores.labels["edema"].metrics["hd95_mm"] is None


def test_two_empty_maps_can_be_compared():
    scores = evaluated(row(0, 0, 0), row(0, 0, 0))
    assert scores.regions["WT"].true_negative == 3
    assert scores.regions["WT"].metrics["dice"] is None


def test_ignored_voxels_count_nowhere():
    scheme = two_labels(ignore=9)
    reference = row(9, 9, 7, 0, 0)
    predicted = row(7, 0, 7, 7, 0)
    thing = evaluated(predicted, reference, scheme).labels["thing"]
    assert (thing.true_positive, thing.false_positive, thing.false_negative, thing.true_negative) == (1, 1, 0, 1)
    assert thing.metrics["hd95_mm"] == pytest.approx(0.95)


def test_a_prediction_must_not_hold_the_ignore_value():
    with pytest.raises(LabelError, match="prediction holds 9"):
        evaluated(row(9, 0), row(7, 0), two_labels(ignore=9))


def test_an_undeclared_value_is_named_with_its_side():
    with pytest.raises(LabelError, match=r"prediction holds an undeclared label value 3 \(2 voxels\)"):
        evaluated(row(3, 3), row(1, 0))
    with pytest.raises(LabelError, match=r"reference holds an undeclared label value 5 \(1 voxel\)"):
        evaluated(row(1, 0), row(5, 0))


def test_a_flat_picture_has_no_volume():
    metrics = evaluated(row(7, 0), row(7, 0), two_labels(), (999.0, 1.0, 1.0), is_flat=True).labels["thing"].metrics
    assert metrics["dice"] == 1
    assert metrics["predicted_ml"] is None


def test_metrics_of_third_parties_are_named_by_module_and_function():
    name = f"{__name__}:touching_voxels"
    assert evaluated(row(4, 4), row(4, 0), metrics=["dice", name]).labels["enhancing"].metrics[name] == 1


def test_a_metric_that_is_not_finite_is_refused():
    with pytest.raises(EvaluationError, match="inf"):
        evaluated(row(4, 4), row(4, 0), metrics=[f"{__name__}:infinite_metric"])


def test_a_summary_counts_only_what_is_defined():
    found = summary([0.5, None, 1.0, 0.9, None])
    assert found.mean == pytest.approx(0.8)
    assert found.median == pytest.approx(0.9)
    assert found.sd == pytest.approx(np.std([0.5, 1.0, 0.9], ddof=1))
    assert (found.counted, found.undefined) == (3, 2)
    nothing = summary([None, None])
    assert (nothing.mean, nothing.sd, nothing.median, nothing.counted, nothing.undefined) == (None, None, None, 0, 2)
    assert summary([0.5]).sd is None


def test_the_foreground_mean_is_the_mean_of_the_structures_that_have_one():
    cases = [evaluated(row(2, 2, 1), row(2, 2, 2)).labels, evaluated(row(2, 0, 0), row(2, 2, 0)).labels]
    structures, foreground = summarise(cases)
    assert structures["edema"]["dice"].mean == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert structures["necrotic"]["dice"].mean == 0
    assert structures["necrotic"]["dice"].undefined == 1
    assert structures["enhancing"]["dice"].mean is None
    mean = foreground["dice"]
    assert mean.mean == pytest.approx((4 / 5 + 2 / 3) / 4)
    assert (mean.counted, mean.undefined) == (2, 1)
