"""Averaging probabilities that earlier runs have saved."""

import csv
import subprocess
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.artefacts import load, save
from autoseg.data.labels import Label, LabelScheme
from autoseg.data.readers import read_labels, write_codes, write_labels
from autoseg.errors import ArtefactError, PredictionError, UnknownNameError
from autoseg.prediction.beside import Beside
from autoseg.prediction.combined import EnsembleReport
from autoseg.prediction.combining import combine
from autoseg.prediction.postprocessing import Rule
from autoseg.prediction.report import CasePrediction, new_report
from autoseg.prediction.run import predict
from autoseg.prediction.settings import Settings
from tests.prediction import small
from tests.prediction.test_export import FOUR, NESTED
from tests.prediction.test_predictor import image
from tests.prediction.test_uncertainty import TWO

ALL = Beside(probabilities=True, uncertainty=True)
MEMBERS = {"A": "0", "B": "1", "C": "2"}


def members(tmp_path: Path, *, labels: LabelScheme = small.LABELS, cases: int = 2, **settings: Any) -> list[Path]:
    """Folders with probabilities of the same cases, each by another network."""
    for index in range(cases):
        voxels = small.scan(10, 11, 12, seed=index)
        small.write_nifti(tmp_path / "in" / f"case{index}.nii.gz", voxels, np.diag([2.0, 1.5, 1.0, 1.0]))
    model = small.write_small_model(tmp_path / "model", small.plan(labels=labels), folds=tuple(MEMBERS.values()))
    common = {"mirroring": False, "precision": "fp32", "device": "cpu", "probabilities": True}
    for name, fold in MEMBERS.items():
        predict(tmp_path / "in", tmp_path / name, models=[model], folds=[fold], **(common | settings))
    return [tmp_path / name for name in MEMBERS]


def mapped(folder: Path, kind: str, case: str = "case0") -> np.ndarray:
    return nib.load(folder / f"{case}_{kind}.nii.gz").get_fdata()


def probabilities(folder: Path, case: str = "case0") -> np.ndarray:
    return mapped(folder, "probabilities", case)


def values(folder: Path, case: str = "case0") -> np.ndarray:
    return np.asanyarray(nib.load(folder / f"{case}.nii.gz").dataobj)


def test_the_label_map_is_that_of_the_weighted_mean(tmp_path: Path) -> None:
    folders = members(tmp_path)
    report = combine(folders, tmp_path / "out", weights=(3, 1, 2))
    assert [case.error for case in report.cases] == [None, None]
    mean = sum(weight * probabilities(folder) for weight, folder in zip((3, 1, 2), folders, strict=True)) / 6
    best = np.sort(mean, axis=-1)
    clear = best[..., -1] - best[..., -2] > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(values(tmp_path / "out")[clear], np.array([0, 4, 9])[mean.argmax(axis=-1)][clear])
    assert len(np.unique(values(tmp_path / "out"))) > 1
    before, after = nib.load(folders[0] / "case0.nii.gz"), nib.load(tmp_path / "out" / "case0.nii.gz")
    assert after.affine.tobytes() == before.affine.tobytes()
    assert load(EnsembleReport, tmp_path / "out" / "ensemble.json", remake="") == report
    assert report.cases[0].volumes_ml["bright"] == pytest.approx(0.003 * (values(tmp_path / "out") == 4).sum())


@pytest.mark.parametrize("scheme", [FOUR, NESTED], ids=["labels", "regions"])
def test_the_order_of_folders_changes_no_bit(tmp_path: Path, scheme: LabelScheme) -> None:
    folders, weights = members(tmp_path, labels=scheme, cases=1), (0.3, 1.7, 0.9)
    written, digests = set(), set()
    for number, order in enumerate(permutations(range(3))):
        out = tmp_path / f"out{number}"
        report = combine([folders[i] for i in order], out, weights=[weights[i] for i in order], beside=ALL)
        files = sorted(file for file in out.iterdir() if file.suffix != ".json")
        assert len(files) == 5
        written.add(tuple((file.name, file.read_bytes()) for file in files))
        digests.add((report.made_from["members"], tuple(member.share for member in report.members)))
    assert len(written) == len(digests) == 1


def test_regions_are_painted_where_the_mean_says_more_likely_than_not(tmp_path: Path) -> None:
    folders = members(tmp_path, labels=NESTED, cases=1)
    combine(folders, tmp_path / "out")
    mean = np.mean([probabilities(folder) for folder in folders], axis=0)
    painted = NESTED.decode(NESTED.paint(np.moveaxis(mean > 0.5, -1, 0)))
    clear = (np.abs(mean - 0.5) > 1e-5).all(axis=-1)
    np.testing.assert_array_equal(values(tmp_path / "out")[clear], painted[clear])


@pytest.mark.parametrize("scheme", [small.LABELS, NESTED], ids=["labels", "regions"])
def test_it_is_what_predicting_with_all_members_at_once_gives(tmp_path: Path, scheme: LabelScheme) -> None:
    flat = small.plan(patch_size=(8, 8), spacing_mm=(1.0, 1.0), name="2d", labels=scheme)
    deep = small.write_small_model(tmp_path / "m1", small.plan(labels=scheme))
    models = [deep, small.write_small_model(tmp_path / "m2", flat)]
    small.write_nifti(tmp_path / "in" / "case0.nii.gz", small.scan(10, 11, 12))
    common = {"mirroring": False, "precision": "fp32", "device": "cpu"}
    for model in models:
        predict(tmp_path / "in", tmp_path / model.name / "out", models=[model], probabilities=True, **common)
    combined = combine([model / "out" for model in models], tmp_path / "out", weights=(2, 1), beside=ALL)
    wanted = {"probabilities": True, "uncertainty": True}
    at_once = predict(tmp_path / "in", tmp_path / "together", models=models, weights=(2, 1), **wanted, **common)
    # But for the rounding of what is saved:
    assert (values(tmp_path / "out") == values(tmp_path / "together")).mean() > 0.999
    assert combined.classes == at_once.classes
    largest_slope = 16 * scheme.output_channels  # bits of entropy for a step where a probability is next to nothing
    for kind, tolerance in (("probabilities", 1.01), ("variance", 3), ("entropy", largest_slope)):
        first, second = mapped(tmp_path / "out", kind), mapped(tmp_path / "together", kind)
        np.testing.assert_allclose(first, second, rtol=0, atol=tolerance / 65535)
    for name, row in (at_once.cases[0].uncertainty or {}).items():
        found = (combined.cases[0].uncertainty or {})[name]
        assert found.model_dump() == pytest.approx(row.model_dump(), rel=1e-2, abs=2e-3)


def test_a_tiny_ensemble_is_what_it_comes_to_by_hand(tmp_path: Path) -> None:
    # Weights 3 and 1: in the first case the mean is 1, 0.8, 0.15, 0.15; voxels are 1 ml.
    given = {"A": [[1, 1, 0, 0], [1, 0, 0, 0]], "B": [[1, 0.2, 0.6, 0.6], [0.3, 0, 0, 0]]}
    folders = []
    for seed, (name, rows) in enumerate(given.items()):
        codes = [np.rint(65535 * np.array([[1 - p for p in row], row])).astype(np.uint16) for row in rows]
        cases = {f"case{index}": one[:, None, None] for index, one in enumerate(codes)}
        folders.append(kept(tmp_path / name, cases, labels=TWO, seed=seed, spacing_mm=(1.0, 10.0, 100.0)))
    report = combine(folders, tmp_path / "out", weights=(3, 1), beside=ALL)
    assert values(tmp_path / "out").ravel().tolist() == [7, 7, 0, 0]
    for kind, expected in (
        ("probabilities", [0, 0.2, 0.85, 0.85, 1, 0.8, 0.15, 0.15]),
        ("entropy", [0, 0.721928, 0.609840, 0.609840]),
        ("variance", [0, 0.12, 0.0675, 0.0675]),  # 3/4 * 1/4 * difference squared
    ):
        found = mapped(tmp_path / "out", kind).ravel(order="F")
        np.testing.assert_allclose(found, expected, atol=1e-4)
    row = (report.cases[0].uncertainty or {})["thing"]
    assert (row.volume_ml, row.members, row.found_by) == (2, 2, 2)
    assert (row.volume_min_ml, row.volume_max_ml) == (2, 3)
    assert row.volume_sd_ml == pytest.approx(0.5**0.5, abs=1e-6)
    assert row.expected_dice == pytest.approx(2 * 1.8 / (2 + 1.8 + 0.3), abs=1e-4)
    assert row.entropy_bits == pytest.approx(0.721928 / 2, abs=1e-4)
    assert row.border_entropy_bits == pytest.approx((0.721928 + 0.609840) / 2, abs=1e-4)
    assert report.review == {"case1": ("thing: found by 1 of 2 members",)}
    with (tmp_path / "out" / "uncertainty.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["case"], line["rank"], line["review"]) for line in lines] == [("case0", "1", "no"), ("case1", "2", "yes")]
    assert load(EnsembleReport, tmp_path / "out" / "ensemble.json", remake="") == report


def test_only_what_was_asked_for_is_written_and_label_maps_are_the_same(tmp_path: Path) -> None:
    folders = members(tmp_path, cases=1)
    plain = combine(folders, tmp_path / "plain")
    assert (plain.classes, plain.cases[0].probabilities, plain.cases[0].uncertainty) == ((), None, None)
    some = combine(folders, tmp_path / "out", beside=Beside(probabilities=True, classes=("9", "bright")))
    assert some.classes == ("bright", "brighter")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "case0.nii.gz",
        "case0_probabilities.nii.gz",
        "ensemble.json",
    ]
    assert (tmp_path / "out" / "case0.nii.gz").read_bytes() == (tmp_path / "plain" / "case0.nii.gz").read_bytes()
    mean = np.mean([probabilities(folder) for folder in folders], axis=0)
    np.testing.assert_allclose(probabilities(tmp_path / "out"), mean[..., 1:], atol=0.51 / 65535)
    before, after = (nib.load(one / "case0_probabilities.nii.gz") for one in (folders[0], tmp_path / "out"))
    assert after.affine.tobytes() == before.affine.tobytes()
    with pytest.raises(UnknownNameError, match="brigt"):
        combine(folders, tmp_path / "wrong", beside=Beside(probabilities=True, classes=("brigt",)))
    assert not (tmp_path / "wrong").exists()


def test_regions_are_painted_above_the_threshold_that_a_rule_names(tmp_path: Path) -> None:
    folders = members(tmp_path, labels=NESTED, cases=1)
    name = NESTED.regions[0].name
    rule = Rule(kind="threshold", structure=name, probability=0.6)
    combine(folders, tmp_path / "out", rules=[rule])
    mean = np.moveaxis(np.mean([probabilities(folder) for folder in folders], axis=0), -1, 0)
    limits = np.array([0.6] + [0.5] * (len(mean) - 1)).reshape(-1, 1, 1, 1)
    clear = (np.abs(mean - limits) > 1e-5).all(axis=0)
    painted = NESTED.decode(NESTED.paint(mean > limits))
    np.testing.assert_array_equal(values(tmp_path / "out")[clear], painted[clear])
    assert (painted != NESTED.decode(NESTED.paint(mean > 0.5))).any()
    with pytest.raises(PredictionError, match="only regions have one"):
        combine(
            members(tmp_path / "labels", cases=1),
            tmp_path / "wrong",
            rules=[rule.model_copy(update={"structure": "bright"})],
        )


def test_rules_correct_the_mean_and_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    folders = members(tmp_path, cases=1)
    plain = combine(folders, tmp_path / "plain")
    rule = Rule(kind="replace_small", structure="bright", volume_ml=1e6, value=0)
    report = combine(folders, tmp_path / "out", rules=[rule])
    assert plain.cases[0].volumes_ml["bright"] > 0
    assert report.cases[0].volumes_ml["bright"] == 0
    assert report.rules == ("bright: label 0 instead where it is below 1e+06 ml",)
    with pytest.raises(UnknownNameError, match="brigt"):
        combine(folders, tmp_path / "out", rules=[rule.model_copy(update={"structure": "brigt"})])


def test_a_case_that_a_member_lacks_is_named_and_the_others_are_written(tmp_path: Path) -> None:
    first, second, third = members(tmp_path, cases=4)
    for name in ("case1", "case2"):
        (tmp_path / "in" / f"{name}.nii.gz").unlink()
    model = tmp_path / "model"
    common = {"mirroring": False, "precision": "fp32", "device": "cpu", "probabilities": True}
    predict(tmp_path / "in", second, models=[model], folds=["1"], **common)
    (third / "case3_probabilities.nii.gz").unlink()
    report = combine([first, second, third], tmp_path / "out")
    errors = {case.id: str(case.error) for case in report.failed}
    assert sorted(errors) == ["case1", "case2", "case3"]
    assert f"case case1: missing in {second}" in errors["case1"]
    assert "case3_probabilities.nii.gz: not found" in errors["case3"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["case0.nii.gz", "ensemble.json"]


def test_a_truncated_file_is_named_and_does_not_stop_the_others(tmp_path: Path) -> None:
    folders = members(tmp_path)
    file = folders[1] / "case0_probabilities.nii.gz"
    file.write_bytes(file.read_bytes()[:-200])
    report = combine(folders, tmp_path / "out")
    assert [case.id for case in report.failed] == ["case0"]
    assert str(file) in str(report.failed[0].error)
    assert "truncated" in str(report.failed[0].error)


def test_what_is_there_is_skipped_when_it_is_whole_and_of_the_same_members(tmp_path: Path) -> None:
    folders, out = members(tmp_path), tmp_path / "out"

    def skipped(folders: list[Path], **settings: Any) -> list[bool]:
        return [case.skipped for case in combine(folders, out, skip_existing=True, **settings).cases]

    assert skipped(folders) == [False, False]
    assert skipped(folders[::-1]) == [True, True]
    (out / "case1.nii.gz").write_bytes((out / "case1.nii.gz").read_bytes()[:-8])
    assert skipped(folders) == [True, False]
    assert skipped(folders, weights=(2, 1, 1)) == [False, False]
    assert skipped(folders[:2]) == [False, False]
    assert skipped(folders[:2], beside=ALL) == [False, False]
    assert skipped(folders[:2], beside=ALL) == [True, True]
    (out / "case0_variance.nii.gz").unlink()
    assert skipped(folders[:2], beside=ALL) == [False, True]
    assert skipped(folders[:2], beside=Beside(probabilities=True, classes=("bright",))) == [False, False]
    assert skipped(folders[:2]) == [True, True]


def test_other_classes_are_refused_naming_both(tmp_path: Path) -> None:
    first, *_ = members(tmp_path / "1", cases=1)
    other = LabelScheme(labels=(Label(name="background", value=0), Label(name="organ", value=1)))
    second, *_ = members(tmp_path / "2", cases=1, labels=other)
    with pytest.raises(PredictionError, match=r"brighter=9; .* holds labels of background=0, organ=1"):
        combine([first, second], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_grid_is_refused_naming_both_and_so_are_other_cases(tmp_path: Path) -> None:
    first, second, _ = members(tmp_path, cases=1)
    other = small.write_nifti(tmp_path / "other" / "case0.nii.gz", small.scan(10, 12, 12))
    common = {"mirroring": False, "precision": "fp32", "device": "cpu", "probabilities": True}
    predict(other, tmp_path / "D", models=[tmp_path / "model"], folds=["0"], **common)
    (failed,) = combine([first, tmp_path / "D"], tmp_path / "out").failed
    assert "10 x 12 x 12" in str(failed.error)
    assert "10 x 11 x 12" in str(failed.error)
    strange = small.write_nifti(tmp_path / "strange" / "someone.nii.gz", small.scan(10, 11, 12))
    predict(strange, tmp_path / "E", models=[tmp_path / "model"], folds=["0"], **common)
    with pytest.raises(PredictionError, match=r"no case is in all folders: .*case0.*someone"):
        combine([second, tmp_path / "E"], tmp_path / "out2")


def test_folders_that_cannot_be_members_are_refused(tmp_path: Path) -> None:
    first, second, _ = members(tmp_path, cases=1)
    some = tmp_path / "some"
    common = {"models": [tmp_path / "model"], "folds": ["0"], "mirroring": False, "device": "cpu"}
    predict(tmp_path / "in", some, classes=["bright"], **common)
    with pytest.raises(
        PredictionError, match="holds the probabilities of bright alone; expected those of background, bright"
    ):
        combine([first, some], tmp_path / "out")
    predict(tmp_path / "in", some, **common)
    with pytest.raises(PredictionError, match="holds no probabilities"):
        combine([first, some], tmp_path / "out")
    with pytest.raises(ArtefactError, match=r"prediction.json: not found. Make it with: autoseg_predict"):
        combine([first, tmp_path / "in"], tmp_path / "out")
    with pytest.raises(PredictionError, match="no such folder"):
        combine([first, tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(PredictionError, match="named twice"):
        combine([first, first], tmp_path / "out")
    with pytest.raises(PredictionError, match="found 1 folder"):
        combine([first], tmp_path / "out")
    with pytest.raises(PredictionError, match="holds a member"):
        combine([first, second], first)
    with pytest.raises(PredictionError, match="3 weights for 2 members"):
        combine([first, second], tmp_path / "out", weights=(1, 2, 3))


def test_an_ensemble_is_no_member_of_another(tmp_path: Path) -> None:
    first, second, *_ = members(tmp_path)
    combine([first, second], tmp_path / "out", beside=Beside(probabilities=True))
    with pytest.raises(PredictionError, match=r"out: holds an ensemble\. Name the folders that it was made of"):
        combine([first, tmp_path / "out"], tmp_path / "again")


def test_probabilities_of_another_program_are_refused_with_what_was_found(tmp_path: Path) -> None:
    first, second, _ = members(tmp_path, cases=1)
    file = second / "case0_probabilities.nii.gz"
    nib.save(nib.Nifti1Image(probabilities(second).astype(np.float32), np.diag([2.0, 1.5, 1.0, 1.0])), file)
    (failed,) = combine([first, second], tmp_path / "out").failed
    assert "found 3 volumes of float32" in str(failed.error)


@given(seed=st.integers(0, 1000), largest=st.sampled_from([1.0, 0.25, np.log2(3)]))
@settings(max_examples=10)
def test_codes_come_back_from_the_file_as_the_numbers_they_stand_for(
    tmp_path_factory: pytest.TempPathFactory, seed: int, largest: float
) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 65536, (2, 3, 4, 5), dtype=np.uint16)
    path = tmp_path_factory.mktemp("codes") / "a.nii.gz"
    write_codes(path, codes, image(np.zeros((3, 4, 5))).geometry, largest=largest)
    np.testing.assert_allclose(nib.load(path).get_fdata(), codes.T * (largest / 65535), rtol=1e-6)


def test_maps_beside_label_maps_are_no_cases_of_their_own(tmp_path: Path) -> None:
    from autoseg.evaluation.pairing import label_files

    folder, *_ = members(tmp_path, uncertainty=True)
    assert sorted(label_files(folder, what="predictions")) == ["case0", "case1"]
    labels, _ = read_labels(folder / "case0.nii.gz")
    assert labels.shape == (10, 11, 12)


MANY = LabelScheme(labels=tuple(Label(name=str(value), value=value) for value in range(60)))
LIMITED = """
import sys
from pathlib import Path
import torch
from autoseg.prediction.beside import Beside
from autoseg.prediction.combining import combine
from tests.prediction.limited import at_most_more
from tests.prediction.test_combining import saved

torch.set_num_threads(1)
folder = Path(sys.argv[1])
def averaged_within(megabytes, shape, name):
    folders = [saved(folder / f"{name}{number}", shape, seed=number) for number in range(3)]
    with at_most_more(megabytes):
        return combine(folders, folder / name, beside=Beside(True, (), True))

assert not averaged_within(4000, (8, 8, 8), "warm").failed
report = averaged_within(150, (64, 96, 96), "large")
assert not report.failed, report.failed
"""


def saved(folder: Path, shape: tuple[int, int, int], *, seed: int) -> Path:
    """A folder as a prediction leaves it, with probabilities of one case that are drawn."""
    codes = np.random.default_rng(seed).integers(0, 1092, (len(MANY.labels), *shape), dtype=np.uint16)
    return kept(folder, {"case0": codes}, labels=MANY, seed=seed)


def kept(
    folder: Path,
    cases: dict[str, np.ndarray],
    *,
    labels: LabelScheme,
    seed: int,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Path:
    """A folder as a prediction leaves it, with these codes (channel, z, y, x) as the probabilities of each case."""
    found = []
    for name, codes in cases.items():
        geometry = image(np.zeros(codes.shape[1:], dtype=np.uint8), spacing=spacing_mm).geometry
        write_labels(folder / f"{name}.nii.gz", np.zeros(codes.shape[1:], dtype=np.uint8), geometry)
        write_codes(folder / f"{name}_probabilities.nii.gz", codes, geometry, largest=1.0)
        found.append(
            CasePrediction(
                id=name,
                file=f"{name}.nii.gz",
                probabilities=f"{name}_probabilities.nii.gz",
                skipped=False,
                seconds={},
                volumes_ml={},
                way=None,
                error=None,
            )
        )
    report = new_report(
        Settings(),
        models=[folder],
        configurations=[],
        folds=[],
        channels=[],
        labels=labels,
        model_digest=str(seed),
        classes=[label.name for label in labels.labels],
    )
    save(report.model_copy(update={"cases": tuple(found)}), folder / "prediction.json")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit as Linux has it")
def test_many_classes_are_averaged_under_a_limit_that_they_exceed(tmp_path: Path) -> None:
    # Sixty classes of three members take 212 MB as they are stored, 425 MB as numbers; 150 MB may be allocated.
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    mean = np.mean(
        [nib.load(tmp_path / f"large{n}" / "case0_probabilities.nii.gz").dataobj[:5, :5, :5] for n in range(3)], 0
    )
    found = np.asanyarray(nib.load(tmp_path / "large" / "case0.nii.gz").dataobj)[:5, :5, :5]
    best = np.sort(mean, axis=-1)
    clear = best[..., -1] - best[..., -2] > 1e-6
    np.testing.assert_array_equal(found[clear], mean.argmax(axis=-1)[clear])
