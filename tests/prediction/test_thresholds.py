import numpy as np
import pytest
import torch

from autoseg.errors import PredictionError, UnknownNameError
from autoseg.prediction.beside import Beside
from autoseg.prediction.export import export
from autoseg.prediction.keeping import Keeper
from autoseg.prediction.postprocessing import Rule, corrected
from autoseg.prediction.refining import held
from autoseg.prediction.thresholds import thresholds_of
from tests.prediction.test_export import FOUR, NESTED, in_place, noise


def rule(structure, probability):
    return Rule(kind="threshold", structure=structure, probability=probability)


def test_regions_without_a_rule_keep_one_half():
    assert thresholds_of([rule("TC", 0.7), Rule(kind="largest_component", structure="WT")], NESTED) == (0.5, 0.7, 0.5)
    assert thresholds_of([Rule(kind="largest_component", structure="WT")], NESTED) == ()


def test_a_threshold_of_a_label_or_of_nothing_known_is_refused():
    with pytest.raises(PredictionError, match="threshold of label 1: only regions have one"):
        thresholds_of([rule("label 1", 0.7)], FOUR)
    with pytest.raises(UnknownNameError, match="XY"):
        thresholds_of([rule("XY", 0.7)], NESTED)


def test_label_maps_are_left_alone_by_a_threshold():
    labels = np.array([[[0, 1], [2, 4]]])
    assert (corrected(labels, [rule("WT", 0.9)], scheme=NESTED, spacing_mm=(1, 1, 1)) == labels).all()
    assert str(rule("WT", 0.9)) == "WT: where its probability is above 0.9"


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("network_shape", [(5, 6, 7), (3, 4, 4)])
def test_a_region_is_painted_where_its_probability_is_above_its_threshold(members, keeps, network_shape):
    thresholds = (0.3, 0.6, 0.8)
    place = in_place((5, 6, 7), network_shape=network_shape)
    logits = [torch.from_numpy(noise(3, *network_shape, seed=seed)) * 2 for seed in range(members)]
    fine = [torch.from_numpy(refined(one, (5, 6, 7))) for one in logits]
    probability = torch.stack([torch.sigmoid(one) for one in fine]).mean(0).numpy()
    expected = np.zeros((5, 6, 7), int)
    # Outer regions first: WT writes 2, TC 1, ET 4.
    for region, threshold, value in zip(probability, thresholds, (2, 1, 4), strict=True):
        expected[region > threshold] = value
    near = (np.abs(probability - np.reshape(thresholds, (3, 1, 1, 1))) < 1e-5).any(0)
    beside = Beside(probabilities=True)
    keeper = Keeper(beside, NESTED, place, shares=[1 / members] * members, voices=[0] * members) if keeps else None
    scores = [held(one, (1, 1, 1)) for one in logits]
    found = export(scores, labels=NESTED, placement=place, keeper=keeper, thresholds=thresholds)
    np.testing.assert_array_equal(found[~near], expected[~near])


def refined(logits, shape):
    from skimage.transform import resize

    return np.stack([resize(one, shape, order=1, mode="edge", anti_aliasing=False) for one in logits.numpy()])


def test_thresholds_of_one_half_change_nothing():
    place, logits = in_place((4, 4, 4)), torch.from_numpy(noise(3, 4, 4, 4))
    plain = export([held(logits, (1, 1, 1))], labels=NESTED, placement=place)
    same = export([held(logits, (1, 1, 1))], labels=NESTED, placement=place, thresholds=(0.5, 0.5, 0.5))
    np.testing.assert_array_equal(plain, same)
