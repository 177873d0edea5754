import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from autoseg.artefacts import save
from autoseg.data.dataset import Case, Dataset
from autoseg.data.readers import write_image, write_labels
from autoseg.errors import DatasetError, ImageError, LabelError, UnknownNameError
from autoseg.lock import locked
from autoseg.preprocessing.run import preprocess, relevant_settings, store_of
from autoseg.preprocessing.store import open_case
from autoseg.workspace import DatasetFolder
from tests.preprocessing.making import LABELS, configuration, geometry, plan


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    rng = np.random.default_rng(0)
    grid = geometry((6, 6, 6))
    for name in ("a", "b"):
        write_image(root / f"{name}.nii.gz", rng.normal(size=(1, 6, 6, 6)).astype(np.float32), grid)
        write_labels(root / f"{name}_seg.nii.gz", rng.choice([0, 2, 4], size=(6, 6, 6)).astype(np.uint8), grid)
    cases = tuple(Case(id=name, images=(f"{name}.nii.gz",), label=f"{name}_seg.nii.gz") for name in ("a", "b"))
    return Dataset(
        name="test", root=str(root), layout="list", template=None, channels=("channel0",), labels=LABELS, cases=cases
    )


def run(dataset, folder, config=None, **options):
    config = config or configuration(scheme="zscore")
    return preprocess(dataset, "0", plan(config, **options), config.name, folder, workers=1)


def changed_files(folder, before):
    return sorted(path.name for path, time in times(folder).items() if before.get(path) != time)


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("cases/*")}


def test_every_training_case_is_stored(dataset, tmp_path):
    manifest = run(dataset, tmp_path / "done")
    assert manifest.ids == ("a", "b")
    for name in manifest.ids:
        case = open_case(tmp_path / "done", name)
        assert case.image.shape == (1, 6, 6, 6)
        assert sorted(case.locations) == [0, 1]


def test_two_processes_store_the_same_as_one(dataset, tmp_path):
    config = configuration(scheme="zscore")
    run(dataset, tmp_path / "one")
    preprocess(dataset, "0", plan(config), config.name, tmp_path / "two", workers=2)
    for file in times(tmp_path / "one"):
        assert file.read_bytes() == (tmp_path / "two" / "cases" / file.name).read_bytes()


def test_what_is_up_to_date_is_not_made_again(dataset, tmp_path):
    first = run(dataset, tmp_path / "done")
    before = times(tmp_path / "done")
    assert run(dataset, tmp_path / "done") == first
    assert changed_files(tmp_path / "done", before) == []


def test_batch_size_does_not_make_cases_stale_but_spacing_does(dataset, tmp_path):
    run(dataset, tmp_path / "done")
    before = times(tmp_path / "done")
    run(dataset, tmp_path / "done", configuration(scheme="zscore", batch_size=7, patch_size=(4, 4, 4)))
    assert changed_files(tmp_path / "done", before) == []
    run(dataset, tmp_path / "done", configuration(scheme="zscore", spacing_mm=(2.0, 2.0, 2.0)))
    assert len(changed_files(tmp_path / "done", before)) == 8
    assert open_case(tmp_path / "done", "a").image.shape == (1, 3, 3, 3)


@pytest.mark.parametrize("options", [{"orientation": "LPS"}, {"transpose": (1, 0, 2)}])
def test_orientation_and_axis_order_are_relevant(options):
    config = configuration()
    assert relevant_settings(plan(config), config) != relevant_settings(plan(config, **options), config)


def test_only_the_case_whose_file_changed_is_made_again(dataset, tmp_path):
    run(dataset, tmp_path / "done")
    before = times(tmp_path / "done")
    os.utime(dataset.folder / "b.nii.gz", ns=(1, 1))
    run(dataset, tmp_path / "done")
    assert {name.split(".")[0] for name in changed_files(tmp_path / "done", before)} == {"b"}


def test_a_half_stored_case_is_made_again(dataset, tmp_path):
    run(dataset, tmp_path / "done")
    before = times(tmp_path / "done")
    (tmp_path / "done" / "cases" / "a.classes.npy").write_bytes(b"short")
    run(dataset, tmp_path / "done")
    assert {name.split(".")[0] for name in changed_files(tmp_path / "done", before)} == {"a"}
    open_case(tmp_path / "done", "a")


def test_an_undeclared_label_names_its_case(dataset, tmp_path):
    write_labels(dataset.folder / "b_seg.nii.gz", np.full((6, 6, 6), 3, np.uint8), geometry((6, 6, 6)))
    with pytest.raises(LabelError, match=r"case b: undeclared label value 3 \(216 voxels\)"):
        run(dataset, tmp_path / "done")


def test_labels_on_another_grid_name_their_case(dataset, tmp_path):
    write_labels(dataset.folder / "b_seg.nii.gz", np.zeros((5, 6, 6), np.uint8), geometry((5, 6, 6)))
    with pytest.raises(ImageError, match=r"case b: .*\(5, 6, 6\), its image \(6, 6, 6\)"):
        run(dataset, tmp_path / "done")


def test_a_file_that_is_gone_names_its_case(dataset, tmp_path):
    (dataset.folder / "a.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"case a: .*a\.nii\.gz cannot be found"):
        run(dataset, tmp_path / "done")


def test_an_unknown_configuration_is_refused(dataset, tmp_path):
    config = configuration()
    with pytest.raises(UnknownNameError, match=r"unknown configuration 'tset'\. Did you mean 'test'"):
        preprocess(dataset, "0", plan(config), "tset", tmp_path, workers=1)


def test_a_second_process_waits_for_the_first_and_finds_its_cases(dataset, tmp_path, caplog):
    folder = tmp_path / "done"
    run(dataset, folder)
    before = times(folder)
    (folder / "cases" / ".writing-abc.npy").write_bytes(b"left by a run that was killed")
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.INFO):
        with locked(folder):
            second = pool.submit(run, dataset, folder)
            time.sleep(0.5)
            assert not second.done()
        assert second.result(timeout=20).ids == ("a", "b")
    assert f"waiting for process {os.getpid()}" in caplog.text
    assert changed_files(folder, before) == []
    assert not list(folder.rglob(".writing-*"))


def test_values_set_by_hand_that_change_the_cases_have_a_folder_of_their_own(tmp_path):
    folder = DatasetFolder(tmp_path)
    config = configuration(scheme="zscore")
    planned = plan(config)
    save(planned, folder.plan_file)
    other = config.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})
    changed = planned.model_copy(update={"configurations": {config.name: other}})
    larger = planned.model_copy(update={"configurations": {config.name: config.model_copy(update={"batch_size": 9})}})
    plain = folder.preprocessed(config.name)
    assert store_of(folder, planned, config.name) == store_of(folder, larger, config.name) == plain
    assert store_of(folder, changed, config.name).name.startswith(f"{config.name}-")
