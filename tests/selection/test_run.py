"""Selection on trained models: tiny networks on cubes, so that every candidate is predicted in a moment."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from autoseg.artefacts import load, save
from autoseg.cli.predict import main as predict_main
from autoseg.cli.select import main
from autoseg.data.readers import read_labels
from autoseg.errors import SelectionError
from autoseg.planning.run import plan
from autoseg.prediction.postprocessing import Rule
from autoseg.selection.candidates import candidates
from autoseg.selection.chosen import selected
from autoseg.selection.run import select
from autoseg.selection.selection import Selection
from autoseg.training.cases import load_splits
from autoseg.training.model_folder import open_model
from autoseg.validation import WholeCases
from autoseg.workspace import open_workspace
from tests.training.asking import train_with_first_stage as train
from tests.training.test_run import SHORT, write_dataset


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Models "a" (folds 0 and 1) and "b" (fold 0 alone) of one plan, and "c", trained on everything."""
    root = tmp_path_factory.mktemp("selection")
    workspace = open_workspace(root / "workspace")
    raw = write_dataset(root / "Dataset001_Cubes")
    found = plan(raw, workspace=workspace, workers=1)
    folder = workspace.dataset(found.dataset)
    stages = len(found.configurations["3d_fullres"].network.strides)
    settings = [*SHORT, f"3d_fullres.network.features={','.join(['4'] * stages)}"]
    judge = WholeCases(folder, workers=1)
    for name, folds, seed in (("a", ("0", "1"), 1), ("b", ("0",), 2), ("c", ("all",), 3)):
        train(
            folder,
            "3d_fullres",
            folds=folds,
            name=name,
            settings=[*settings, f"training.seed={seed}"],
            workers=1,
            device="cpu",
            judge=judge,
        )
    return SimpleNamespace(folder=folder, workspace=workspace, raw=raw)


def test_all_are_judged_by_the_folds_they_share_and_what_is_missing_is_a_note(trained):
    found, notes = candidates(trained.folder)
    assert [one.name for one in found] == ["a", "b", "a+b"]
    assert {one.folds for one in found} == {("0",)}
    assert "b: fold 1, 2, 3, 4 not trained" in notes
    assert any(note.startswith("c: left out") for note in notes)


def test_the_best_is_chosen_and_the_command_predicts_with_it(trained, tmp_path):
    selection = select(trained.folder, workers=1, device="cpu")
    (case,) = load_splits(trained.folder).fold("0")[1]
    assert selection.cases == 1
    by_dice = {one.name: one.dice for one in selection.judged}
    assert by_dice[selection.chosen] == max(by_dice.values())
    assert load(Selection, trained.folder.selection_file, remake="") == selection
    corrected = f"--selection {selection.dataset}"
    assert (corrected in selection.command) == bool(selection.rules)
    structure = next(iter(open_model(selected(trained.folder).models[0]).plan.labels.structures))
    rule = Rule(kind="minimum_component", structure=structure, volume_ml=1e6)
    save(selection.model_copy(update={"rules": (rule,)}), trained.folder.selection_file)
    image = next((trained.raw / "imagesTr").glob(f"{case}*"))
    words = ["-i", image, "-o", tmp_path / "alone", "-w", trained.workspace.root, "--device", "cpu"]
    alone = CliRunner().invoke(predict_main, [str(word) for word in words])
    assert alone.exit_code == 0, alone.output
    assert f"taking what autoseg_select chose for {selection.dataset}" in alone.stderr
    named = [*selection.command.removesuffix(corrected).split()[1:], *corrected.split()]
    words = ["-i", image, "-o", tmp_path / "named", "-w", trained.workspace.root, "--device", "cpu", *named[4:]]
    assert CliRunner().invoke(predict_main, [str(word) for word in words]).exit_code == 0
    (first,), (second,) = ([read_labels(path)[0] for path in (tmp_path / n).glob("*.nii.gz")] for n in ("alone", "named"))
    np.testing.assert_array_equal(first, second)


def test_what_was_predicted_is_kept_for_the_next_time(trained):
    select(trained.folder, workers=1, device="cpu", corrections=False)
    files = {path: path.stat().st_mtime_ns for path in (trained.folder.selection / "a+b").glob("*.nii.gz")}
    select(trained.folder, workers=1, device="cpu", corrections=False, criterion="brats")
    assert files
    assert all(path.stat().st_mtime_ns == before for path, before in files.items())


def test_the_command_shows_the_table_and_where_differences_are_noise(trained):
    words = ["-w", str(trained.workspace.root), "--workers", "1", "--device", "cpu", "--most", "1", "--json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    judged = {one["name"]: one for one in json.loads(done.stdout)["judged"]}
    assert set(judged) == {"a", "b"}
    done = CliRunner().invoke(main, words[:-1])
    assert "autoseg_predict -i IN -o OUT" in done.stdout
    assert f"-w {trained.workspace.root}" in done.stdout
    assert "too few cases" in done.stdout
    assert "1 held-out cases are too few to tell a difference from noise" in done.stdout


def test_a_selection_whose_models_changed_is_refused_with_the_remedy(trained):
    select(trained.folder, workers=1, device="cpu", most_members=1, corrections=False)
    (path,) = selected(trained.folder).models
    weights = path / "fold_0" / "weights_final.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-4] + b"\x00\x01\x02\x03")
        with pytest.raises(SelectionError, match=r"fold 0 of \w was trained anew since. Select again: autoseg_select"):
            selected(trained.folder)
    finally:
        weights.write_bytes(whole)


def test_without_held_out_cases_there_is_nothing_to_choose(trained, tmp_path):
    empty = open_workspace(tmp_path).dataset("none")
    empty.dataset_file.parent.mkdir(parents=True)
    empty.dataset_file.write_bytes(trained.folder.dataset_file.read_bytes())
    with pytest.raises(SelectionError, match=r"no model has a finished fold .* autoseg_train 3d_fullres -f 0"):
        select(empty)
