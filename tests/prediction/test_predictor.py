from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autoseg.data.image import Geometry, Image, reorient
from autoseg.data.labels import Label, LabelScheme
from autoseg.errors import PredictionError
from autoseg.planning.plan import Plan
from autoseg.prediction.beside import Beside
from autoseg.prediction.ensemble import Member
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.settings import Settings
from autoseg.preprocessing.case import Prepared
from tests.prediction import small

EXACT = Settings(precision="fp32", device="cpu")
KNOWN = "tests.prediction.small:brightness"


def member(chosen: Plan, *seeds: int) -> Member:
    networks = tuple(small.network(chosen, seed=seed) for seed in seeds or (0,))
    return Member(chosen, next(iter(chosen.configurations.values())), networks)


def image(
    voxels: np.ndarray, *, affine: np.ndarray | None = None, spacing: tuple[float, float, float] = (1, 1, 1)
) -> Image:
    stacked = voxels if voxels.ndim == 4 else voxels[None]
    wanted = np.diag([*spacing[::-1], 1.0]) if affine is None else affine
    return Image(stacked, Geometry(stacked.shape[1:], spacing, wanted))


def as_stored(voxels: np.ndarray, orientation: str) -> Image:
    """A RAS scan as a file in another orientation holds it."""
    directions = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    affine = np.eye(4)
    affine[:3, :3] = np.array([directions[code] for code in orientation]).T
    return image(np.ascontiguousarray(reorient(voxels, current="RAS", wanted=orientation)), affine=affine)


def logits_of(predictor: Predictor, prepared: list[Prepared]) -> torch.Tensor:
    (scores,) = predictor.scores(prepared)
    _, rows, columns = scores.shape
    return torch.cat(list(scores.slabs((slice(0, rows), slice(0, columns)))), dim=1)


def test_a_known_answer_arrives_voxel_by_voxel_with_the_values_on_disk() -> None:
    voxels = small.scan(11, 13, 9)
    found = Predictor([member(small.plan(kind=KNOWN))], settings=EXACT).predict(image(voxels))
    np.testing.assert_array_equal(found.labels, np.where(voxels > 2, 9, np.where(voxels > 1, 4, 0)))
    assert set(found.seconds) == {"prepare", "network", "export"}
    assert found.probabilities is None


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAR", "PIL"])
def test_however_a_scan_is_stored_its_prediction_is_the_same_in_its_own_grid(orientation: str) -> None:
    predictor = Predictor([member(small.plan(transpose=(1, 0, 2)))], settings=replace(EXACT, mirroring="none"))
    voxels = small.scan(11, 13, 9)
    straight = predictor.predict(image(voxels)).labels
    assert len(np.unique(straight)) > 1
    stored = as_stored(voxels, orientation)
    assert stored.geometry.orientation == orientation
    found = predictor.predict(stored).labels
    assert found.shape == stored.geometry.shape
    np.testing.assert_array_equal(reorient(found, current=orientation, wanted="RAS"), straight)


def test_what_is_cropped_away_is_background() -> None:
    voxels = np.zeros((20, 20, 20), dtype=np.float32)
    voxels[6:12, 7:12, 8:15] = 3
    found = Predictor([member(small.plan(kind=KNOWN))], settings=EXACT).predict(image(voxels)).labels
    np.testing.assert_array_equal(found, np.where(voxels > 0, 9, 0))


def test_resampling_is_undone_on_the_way_back() -> None:
    # Two halves along x, at twice the network's resolution.
    voxels = np.full((16, 16, 16), -1, dtype=np.float32)
    voxels[..., 8:] = 3
    found = Predictor([member(small.plan(kind=KNOWN, spacing_mm=(2.0, 2.0, 2.0)))], settings=EXACT).predict(image(voxels))
    np.testing.assert_array_equal(found.labels[..., 9:], 9)
    np.testing.assert_array_equal(found.labels[..., :7], 0)


def test_a_flat_network_predicts_a_volume_slice_by_slice() -> None:
    chosen = small.plan(kind=KNOWN, patch_size=(8, 8), spacing_mm=(1.0, 1.0), name="2d")
    voxels = small.scan(5, 13, 9)
    found = Predictor([member(chosen)], settings=EXACT).predict(image(voxels, spacing=(7.0, 1.0, 1.0)))
    np.testing.assert_array_equal(found.labels, np.where(voxels > 2, 9, np.where(voxels > 1, 4, 0)))


def test_folds_are_averaged_as_logits() -> None:
    chosen, voxels = small.plan(), image(small.scan(9, 10, 8))
    folds = [Predictor([member(chosen, seed)], settings=EXACT) for seed in (1, 2)]
    both = Predictor([member(chosen, 1, 2)], settings=EXACT)
    prepared = both.prepare(voxels)
    mean = torch.stack([logits_of(fold, prepared) for fold in folds]).mean(0)
    torch.testing.assert_close(logits_of(both, prepared), mean, atol=1e-5, rtol=1e-5)


def test_configurations_are_averaged_as_probabilities() -> None:
    full, flat = small.plan(), small.plan(patch_size=(8, 8), spacing_mm=(2.0, 2.0), name="2d")
    voxels = image(small.scan(9, 10, 8))
    alone = [Predictor([member(one)], settings=EXACT).predict(voxels, probabilities=True) for one in (full, flat)]
    together = Predictor([member(full), member(flat)], settings=EXACT).predict(voxels, probabilities=True)
    expected = np.mean([one.probabilities.astype(np.float32) for one in alone if one.probabilities is not None], axis=0)
    assert together.probabilities is not None
    np.testing.assert_allclose(together.probabilities, expected, atol=2e-3)


def test_a_predictor_is_opened_from_a_model_folder(tmp_path: Path) -> None:
    voxels, model = image(small.scan(9, 10, 8)), small.write_small_model(tmp_path / "m", small.plan(), folds=("1", "2"))
    opened = Predictor.open(model, settings=EXACT).predict(voxels).labels
    np.testing.assert_array_equal(opened, Predictor([member(small.plan(), 1, 2)], settings=EXACT).predict(voxels).labels)


def test_mirroring_can_be_left_out() -> None:
    chosen, voxels = small.plan(), image(small.scan(8, 8, 8))
    with_it, without = (Predictor([member(chosen)], settings=replace(EXACT, mirroring=m)) for m in ("all", "none"))
    prepared = with_it.prepare(voxels)
    assert not torch.allclose(logits_of(with_it, prepared), logits_of(without, prepared), atol=1e-3)


def test_a_wrong_number_of_channels_is_refused_naming_those_expected() -> None:
    predictor = Predictor([member(small.plan(channels=("T1", "FLAIR")))], settings=EXACT)
    with pytest.raises(PredictionError, match="the image has 1 channel; the model expects 2 in this order: T1, FLAIR"):
        predictor.predict(image(small.scan(8, 8, 8)))


def test_models_for_different_channels_or_labels_are_not_averaged() -> None:
    with pytest.raises(PredictionError, match="differ in channels and cannot be averaged: found MRI and CT"):
        Predictor([member(small.plan()), member(small.plan(channels=("CT",)))], settings=EXACT)
    other = LabelScheme(labels=(*small.LABELS.labels[:2], Label(name="dark", value=7)))
    with pytest.raises(PredictionError, match=r"differ in labels.*brighter=9 and labels of .*dark=7"):
        Predictor([member(small.plan()), member(small.plan(labels=other))], settings=EXACT)


@pytest.mark.parametrize("weights", [None, (3.0, 1.0, 2.0)])
def test_the_order_of_configurations_changes_no_bit(weights: tuple[float, ...] | None) -> None:
    full, flat = small.plan(), small.plan(patch_size=(8, 8), spacing_mm=(2.0, 2.0), name="2d")
    members = [member(full, 1, 2), member(flat, 3), member(full, 4)]
    order = (2, 0, 1)
    turned = None if weights is None else tuple(weights[i] for i in order)
    wanted = Beside(probabilities=True, uncertainty=True)
    found = []
    for some, shares in ((members, weights), ([members[i] for i in order], turned)):
        predictor = Predictor(some, settings=replace(EXACT, mirroring="none"), weights=shares)
        found.append(predictor.decide(predictor.prepare(image(small.scan(9, 10, 8))), beside=wanted))
    first, second = found
    np.testing.assert_array_equal(first.labels, second.labels)
    for kind in ("probabilities", "entropy", "variance"):
        np.testing.assert_array_equal(getattr(first.maps, kind), getattr(second.maps, kind))
    assert first.tally.expected_dice() == second.tally.expected_dice()


@pytest.mark.parametrize("mirroring", ["all", "none"])
@pytest.mark.parametrize("seeds", [(1, 2, 3), (2,)])
def test_asking_for_uncertainty_and_probabilities_changes_no_voxel_of_the_label_map(
    seeds: tuple[int, ...], mirroring: Any
) -> None:
    predictor = Predictor([member(small.plan(), *seeds)], settings=replace(EXACT, mirroring=mirroring))
    prepared = predictor.prepare(image(small.scan(11, 13, 9), spacing=(1.3, 0.8, 1.1)))
    plain = predictor.decide(prepared)
    more = predictor.decide(prepared, beside=Beside(probabilities=True, uncertainty=True))
    assert len(np.unique(plain.labels)) > 1
    np.testing.assert_array_equal(plain.labels, more.labels)
    members = len(seeds) if len(seeds) > 1 else 8 if mirroring == "all" else 1
    assert more.tally is not None
    assert len(more.tally.members) == members
    assert (more.maps.variance is None) == (members == 1)


def test_an_output_that_is_not_finite_is_an_error_and_not_background() -> None:
    broken = member(small.plan(kind=KNOWN))
    broken.networks[0].sharpness.data.fill_(float("nan"))
    with pytest.raises(PredictionError, match="not finite in fp32"):
        Predictor([broken], settings=EXACT).predict(image(small.scan(8, 8, 8)))


@pytest.mark.parametrize("step", [0.0, -0.5, 1.5])
def test_a_step_that_leaves_gaps_or_never_ends_is_refused(step: float) -> None:
    with pytest.raises(PredictionError, match="step"):
        Settings(step=step)


def test_fp16_is_refused_without_a_gpu() -> None:
    with pytest.raises(PredictionError, match="--precision fp16 needs a CUDA device"):
        Predictor([member(small.plan())], settings=Settings(precision="fp16", device="cpu"))
