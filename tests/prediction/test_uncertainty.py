import csv
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoseg.data.image import FLAT_SPACING_MM, Geometry
from autoseg.data.labels import Label, LabelScheme
from autoseg.prediction.combining import combine
from autoseg.prediction.maps import LEVELS
from autoseg.prediction.run import predict
from autoseg.prediction.uncertainty import Tally, border, described, entropy_bits, largest_entropy, structures, variance
from tests.prediction import small
from tests.prediction.test_export import FOUR, NESTED

TWO = LabelScheme(labels=(Label(name="background", value=0), Label(name="thing", value=7)))
KNOWN = "tests.prediction.small:brightness"


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 1)


def test_entropy_is_one_bit_between_two_equals_two_between_four_and_none_where_all_is_sure() -> None:
    assert entropy_bits(column(0.5, 0.5), TWO).item() == 1
    assert entropy_bits(column(0.25, 0.25, 0.25, 0.25), FOUR).item() == 2 == largest_entropy(FOUR)
    assert entropy_bits(column(0.0, 1.0), TWO).item() == 0
    assert entropy_bits(column(0.125, 0.875), TWO).item() == pytest.approx(0.125 * 3 - 0.875 * np.log2(0.875))


def test_of_regions_the_least_sure_one_counts() -> None:
    assert entropy_bits(column(1.0, 0.5, 0.01), NESTED).item() == pytest.approx(1)
    assert largest_entropy(NESTED) == 1


def test_variance_is_largest_where_half_of_the_members_say_yes_and_half_no() -> None:
    yes, no, perhaps = column(0.0, 1.0), column(1.0, 0.0), column(0.5, 0.5)
    assert variance([yes, no], (0.5, 0.5)).item() == 0.25
    assert variance([yes, yes], (0.5, 0.5)).item() == 0
    assert variance([yes, perhaps, perhaps], (1 / 3,) * 3).item() == pytest.approx(0.25 * 2 / 9, abs=1e-7)
    assert variance([yes, no], (0.75, 0.25)).item() == pytest.approx(0.75 * 0.25)


def test_the_border_is_both_sides_of_every_face_and_not_the_edge_of_the_image() -> None:
    mask = np.zeros((1, 1, 6), dtype=bool)
    mask[0, 0, 3:] = True
    assert border(mask)[0, 0].tolist() == [False, False, True, True, False, False]
    cube = np.zeros((5, 5, 5), dtype=bool)
    cube[1:4, 1:4, 1:4] = True
    assert border(cube).sum() == 26 + 6 * 9  # all but the centre, and nine voxels before each face
    assert not border(np.ones((2, 3, 4), dtype=bool)).any()


def test_the_expected_dice_is_what_probabilities_let_expect() -> None:
    # In the map p = 1 and 0.5, outside 0.5: 2 * 1.5 / (2 + 2).
    tally = Tally(TWO, members=1)
    probability = torch.tensor([1.0, 0.5, 0.5, 0.0])
    tally.add(np.array([1, 1, 0, 0]), torch.stack([1 - probability, probability]), [torch.zeros(2, 4)])
    assert tally.expected_dice() == [0.75]
    nothing = Tally(TWO, members=1)
    nothing.add(np.array([0, 0]), torch.tensor([[0.9, 0.9], [0.1, 0.1]]), [torch.zeros(2, 2)])
    assert nothing.expected_dice() == [None]


@given(seed=st.integers(0, 1000), sharpness=st.floats(0.3, 5))
def test_the_expected_dice_is_the_mean_over_truths_drawn_from_the_probabilities(seed: int, sharpness: float) -> None:
    rng = np.random.default_rng(seed)
    probability = 1 / (1 + np.exp(-sharpness * rng.standard_normal(400)))
    found = probability > 0.5
    truths = rng.random((2000, 400)) < probability
    drawn = 2 * (truths & found).sum(axis=1) / (found.sum() + truths.sum(axis=1))
    tally = Tally(TWO, members=1)
    mean = torch.from_numpy(np.stack([1 - probability, probability]))
    tally.add(found.astype(np.int16), mean, [mean])
    (expected,) = tally.expected_dice()
    assert expected == pytest.approx(drawn.mean(), abs=0.01)


def test_regions_are_judged_where_there_are_some_and_add_up_the_probabilities_of_their_labels() -> None:
    assert [one.name for one in structures(FOUR)] == ["label 1", "label 2", "label 4"]
    assert [(one.name, one.classes, one.channels) for one in structures(NESTED)][1] == ("TC", (1, 3), (1,))
    as_labels = NESTED.model_copy(update={"target": "labels"})
    assert [(one.name, one.channels) for one in structures(as_labels)][1] == ("TC", (1, 3))


def test_members_volumes_stand_beside_that_of_the_label_map() -> None:
    geometry = Geometry((1, 1, 4), (1.0, 10.0, 100.0), np.eye(4))  # a voxel is 1 ml
    members = [torch.tensor([[0.1] * 4, row]) for row in ([0.9, 0.9, 0, 0], [0.9, 0.9, 0.9, 0.9], [0.0] * 4)]
    tally = Tally(TWO, members=3)
    tally.add(np.array([[[1, 1, 0, 0]]]), members[0].reshape(2, 1, 1, 4), [one.reshape(2, 1, 1, 4) for one in members])
    values = np.array([[[7, 0, 0, 0]]])  # the other voxel was taken away afterwards
    entropy = np.array([[[LEVELS, 0, LEVELS, LEVELS]]], dtype=np.uint16)
    found = described(tally, values, entropy, labels=TWO, geometry=geometry)["thing"]
    assert (found.volume_ml, found.volume_min_ml, found.volume_max_ml, found.volume_sd_ml) == (1, 0, 4, 2)
    assert (found.members, found.found_by) == (3, 2)
    assert (found.entropy_bits, found.border_entropy_bits) == (1, 0.5)
    flat = Geometry((1, 1, 4), (FLAT_SPACING_MM, 1.0, 1.0), np.eye(4))
    assert described(tally, values, entropy, labels=TWO, geometry=flat)["thing"].volume_ml is None


def run(tmp_path: Path, *, folds: tuple[str, ...] = ("0", "1"), plan: dict[str, Any] | None = None, **settings: Any) -> Any:
    model = small.write_small_model(tmp_path / "model", small.plan(**(plan or {})), folds=folds)
    for name, seed in (("a", 0), ("b", 1)):
        small.write_nifti(tmp_path / "in" / f"{name}.nii.gz", small.scan(10, 11, 12, seed=seed), np.diag([2, 2, 2, 1.0]))
    common = {"precision": "fp32", "device": "cpu", "uncertainty": True}
    return predict(tmp_path / "in", tmp_path / "out", models=[model], **(common | settings))


def test_entropy_and_variance_are_files_on_the_grid_of_the_image_and_the_table_has_a_line_for_each_structure(
    tmp_path: Path,
) -> None:
    report = run(tmp_path, mirroring=False)
    out = tmp_path / "out"
    labels = nib.load(out / "a.nii.gz")
    for kind, largest in (("entropy", np.log2(3)), ("variance", 0.25)):
        stored = nib.load(out / f"a_{kind}.nii.gz")
        assert stored.shape == labels.shape
        assert stored.affine.tobytes() == labels.affine.tobytes()
        assert 0 < stored.get_fdata().max() <= largest * (1 + 1e-6)
    with (out / "uncertainty.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["structure"]) for row in rows] == [
        (case, name) for case in "ab" for name in ("bright", "brighter")
    ]
    assert float(rows[0]["volume_ml"]) == pytest.approx(report.cases[0].volumes_ml["bright"], abs=1e-3)
    assert {row["members"] for row in rows} == {"2"}
    assert {row["rank"] for row in rows} == {"1", "2"}
    assert any("networks" in note for note in report.notes)
    mask = np.asanyarray(labels.dataobj) == 4
    entropy = nib.load(out / "a_entropy.nii.gz").get_fdata()
    assert float(rows[0]["entropy_bits"]) == pytest.approx(entropy[mask].mean(), abs=1e-4)


def test_a_single_network_varies_over_its_mirrorings_and_without_them_nothing_is_made_up(tmp_path: Path) -> None:
    mirrored = run(tmp_path, folds=("0",))
    assert {row.members for case in mirrored.cases for row in (case.uncertainty or {}).values()} == {8}
    assert any("mirrorings of the only network" in note for note in mirrored.notes)
    plain = run(tmp_path, folds=("0",), mirroring=False)
    assert any("nothing varies" in note for note in plain.notes)
    assert [case.variance for case in plain.cases] == [None, None]
    rows = [row for case in plain.cases for row in (case.uncertainty or {}).values() if row.volume_ml]
    assert {(row.members, row.volume_sd_ml, row.found_by) for row in rows} <= {(1, None, 1)}
    assert all(row.entropy_bits is not None and row.expected_dice is not None for row in rows)


def test_cases_are_skipped_only_when_what_is_wanted_beside_them_is_there_and_whole(tmp_path: Path) -> None:
    run(tmp_path, uncertainty=False)

    def skipped(**wanted: Any) -> list[bool]:
        return [case.skipped for case in run(tmp_path, skip_existing=True, **wanted).cases]

    assert skipped(uncertainty=False) == [True, True]
    assert skipped() == [False, False]
    assert skipped() == [True, True]
    variance = tmp_path / "out" / "b_variance.nii.gz"
    variance.write_bytes(variance.read_bytes()[:-20])
    assert skipped() == [True, False]
    assert skipped(uncertainty=False, classes=("bright",)) == [False, False]
    assert skipped(uncertainty=False, classes=("4",)) == [True, True]  # the value of the same class
    assert skipped(uncertainty=False, probabilities=True) == [False, False]


def test_maps_of_a_turned_and_cropped_case_lie_where_its_labels_lie(tmp_path: Path) -> None:
    voxels = np.zeros((14, 12, 13), dtype=np.float32)
    voxels[3:12, 2:10, 4:13] = small.scan(9, 8, 9)
    affine = np.array([[0, 0, 1.5, 0], [-1.1, 0, 0, 0], [0, 0.8, 0, 0], [0, 0, 0, 1.0]])
    small.write_nifti(tmp_path / "in" / "c.nii.gz", voxels, affine)
    report = run(tmp_path, plan={"kind": KNOWN, "transpose": (1, 0, 2), "spacing_mm": (1.5, 1.1, 0.8)}, probabilities=True)
    assert not report.failed
    labels = np.asanyarray(nib.load(tmp_path / "out" / "c.nii.gz").dataobj)
    probabilities = nib.load(tmp_path / "out" / "c_probabilities.nii.gz").get_fdata()
    np.testing.assert_array_equal(np.array([0, 4, 9])[probabilities.argmax(axis=-1)], labels)
    outside = voxels.T == 0
    np.testing.assert_allclose(probabilities[outside][:, 0], 1, atol=1e-6)
    assert not nib.load(tmp_path / "out" / "c_entropy.nii.gz").get_fdata()[outside].any()


def test_pictures_have_maps_without_size_and_volumes_that_are_empty(tmp_path: Path) -> None:
    chosen = small.plan(kind=KNOWN, patch_size=(8, 8), spacing_mm=(1.0, 1.0), name="2d", orientation=None)
    model = small.write_small_model(tmp_path / "model", chosen)
    picture = np.random.default_rng(0).integers(0, 4, (12, 17), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(picture), tmp_path / "in" / "a.png")
    report = predict(tmp_path / "in", tmp_path / "out", models=[model], device="cpu", probabilities=True, uncertainty=True)
    assert not report.failed
    row = (report.cases[0].uncertainty or {})["bright"]
    assert (row.volume_ml, row.volume_sd_ml, row.members) == (None, None, 4)
    found = nib.load(tmp_path / "out" / "a_probabilities.nii.gz").get_fdata()
    assert found.shape == (17, 12, 1, 3)
    np.testing.assert_array_equal(found[:, :, 0, 2].T > 0.5, picture > 2)
    second = small.write_small_model(tmp_path / "second", chosen, folds=("1",))
    predict(tmp_path / "in", tmp_path / "out2", models=[second], device="cpu", probabilities=True)
    assert not combine([tmp_path / "out", tmp_path / "out2"], tmp_path / "both").failed
    both = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "both" / "a.png"))
    np.testing.assert_array_equal(both > 0, picture > 1)
