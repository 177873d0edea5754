"""Bad input of every kind, as a user would give it: one clear message, exit code 2, and nothing lost."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from autoseg.data.readers import write_image, write_labels
from autoseg.training.observers import Unwatched
from autoseg.workspace import open_workspace
from tests.data.scans import write_nnunet
from tests.fingerprint.made_up import geometry, ramp, write_case
from tests.training.asking import train as train_model

SHAPE = (20, 24, 28)
CASES = 6
NAME = "Task77_Ramp"
SHORT = ("--iterations", "1", "--set", "training.validation_iterations=1", "--device", "cpu")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def installed(command: str, *arguments: object) -> Done:
    """Run the installed program, as a user does."""
    program = shutil.which(command, path=str(Path(sys.executable).parent))
    assert program is not None, f"{command} is not installed beside {sys.executable}"
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)
    return Done(done.returncode, done.stdout, done.stderr)


def called(command: str, *arguments: object) -> Done:
    """Run the same program in this process, which saves the seconds that importing torch takes."""
    main = import_module(f"autoseg.cli.{command.removeprefix('autoseg_')}").main
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return Done(done.exit_code, done.stdout, done.stderr)


def refused(done: Done, *words: str) -> None:
    """The command ended with code 2 and one message that holds all `words`."""
    assert done.code == 2, done.err
    assert "Traceback" not in done.out + done.err
    assert done.err.count("error: ") == 1, done.err
    message = done.err[done.err.index("error: ") :]
    for word in words:
        assert word in message, f"{word!r} is missing in: {message}"


@dataclass(frozen=True)
class Place:
    """A raw data set, and a workspace in which it is planned."""

    root: Path

    @property
    def raw(self) -> Path:
        return self.root / NAME

    @property
    def workspace(self) -> Path:
        return self.root / "ws"

    @property
    def known(self) -> Path:
        return self.workspace / NAME

    def edit_json(self, **changes: object) -> None:
        """Replace keys of the raw dataset.json; None removes one."""
        file = self.raw / "dataset.json"
        content = json.loads(file.read_text()) | changes
        file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    def plan(self, *arguments: object) -> Done:
        return called("autoseg_plan", self.raw, "-w", self.workspace, "--workers", 1, *arguments)

    def train(self, *arguments: object) -> Done:
        return called("autoseg_train", "2d", "-w", self.workspace, *SHORT, *arguments)

    def predict(self, *arguments: object) -> Done:
        return called("autoseg_predict", "-w", self.workspace, "-o", self.root / "out", "--device", "cpu", *arguments)

    @contextmanager
    def nothing_lost(self) -> Iterator[None]:
        """Every file that was there is as it was, and nothing is new but the report in `out`; nothing is half-written."""
        before = self._files()
        yield
        after = self._files()
        assert {path: after.get(path) for path in before} == before
        assert {path.name for path in set(after) - set(before)} <= {"prediction.json"}

    def _files(self) -> dict[Path, bytes]:
        files = [path for path in self.root.rglob("*") if path.is_file()]
        assert not [path for path in files if path.name.startswith(".writing-")]
        # Measurements of cases are a cache, and the lock of a fold says nothing about what was done.
        kept = (path for path in files if path.parent != self.known / "cases" and path.name != "running.lock")
        return {path: path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Place:
    """A planned data set with a trained fold; tests work on copies of it."""
    place = Place(tmp_path_factory.mktemp("made"))
    labels = (ramp(SHAPE) > 10).astype(np.uint8)
    cases = [write_case(place.raw, f"ramp_{index}", image=ramp(SHAPE), labels=labels) for index in range(CASES)]
    content = {
        "name": "Ramp",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "organ"},
        "training": [{"image": f"./{case.images[0]}", "label": f"./{case.label}"} for case in cases],
    }
    (place.raw / "dataset.json").write_text(json.dumps(content))
    assert place.plan("-q").code == 0
    assert place.train("-f", 0, "--epochs", 1, "-q").code == 0
    return place


@pytest.fixture
def place(made, tmp_path) -> Place:
    """A copy of the planned data set; the plan is made anew because it names its folder."""
    copied = Place(tmp_path)
    shutil.copytree(made.root, tmp_path, dirs_exist_ok=True)
    assert copied.plan("-q").code == 0
    return copied


def one_scan(place: Place, voxels: np.ndarray | None = None) -> Path:
    """A folder with an image to predict, called scan."""
    voxels = ramp(SHAPE)[None] if voxels is None else voxels
    write_image(place.root / "in" / "scan.nii.gz", voxels, geometry(SHAPE))
    return place.root / "in"


def cut(file: Path, share: float = 0.5) -> None:
    """Truncate a file, as a download or a full disk does."""
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


# A folder that is no data set


def test_a_folder_that_is_no_data_set_is_answered_with_each_layout_and_what_it_missed(tmp_path):
    (tmp_path / "empty").mkdir()
    done = installed("autoseg_plan", tmp_path / "empty", "-w", tmp_path / "ws")
    refused(done, f"{tmp_path / 'empty'}: not a data set", "Layouts tried, and what each missed")
    for layout, missed in (
        ("nnunet", "no dataset.json"),
        ("msd", "no dataset.json"),
        ("listing", "cases.csv"),
        ("brats", "_flair/_t1/_t1ce/_t2"),
        ("pictures", "no folder images"),
    ):
        assert any(line.strip().startswith(f"{layout}:") and missed in line for line in done.err.splitlines())
    assert "CSV" in done.err


def test_a_data_set_that_is_not_there_is_answered_with_the_nearest_name(place, monkeypatch):
    monkeypatch.setenv("AUTOSEG_RAW", str(place.root))
    refused(
        called("autoseg_plan", "Task77_Rmp", "-w", place.workspace), "no data set 'Task77_Rmp'", f"Did you mean '{NAME}'"
    )


# dataset.json


def test_a_dataset_json_that_is_not_json_is_named_with_line_and_column(place):
    (place.raw / "dataset.json").write_text('{\n "name": "Ramp",\n "labels": {"0": \n')
    with place.nothing_lost():
        done = installed("autoseg_plan", place.raw, "-w", place.workspace)
    refused(done, f"{place.raw / 'dataset.json'}: not JSON (line 4, column 1")


@pytest.mark.parametrize("key", ["modality", "labels", "training"])
def test_a_dataset_json_that_lacks_a_key_is_named_with_the_key_and_those_it_has(place, key):
    place.edit_json(**{key: None})
    with place.nothing_lost():
        refused(place.plan(), "dataset.json", f"the key '{key}' is missing", "Found: 'name'")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": [{"image": "a.nii.gz"}]}, "training.0: expected an object with 'image' and 'label'"),
        ({"test": 3}, "test: expected a list, found 3"),
        ({"modality": ["MRI"]}, "modality: expected an object, found ['MRI']"),
        ({"labels": {"0": "background"}}, "at least a background and one label are needed"),
        ({"labels": {"organ": "one"}}, "labels.organ: expected an integer or a list of integers, found 'one'"),
    ],
)
def test_a_dataset_json_with_a_value_of_the_wrong_kind_is_named_with_the_key_and_the_value(place, changes, message):
    place.edit_json(**changes)
    with place.nothing_lost():
        refused(place.plan(), "dataset.json", message)


@pytest.mark.parametrize("images", [[], [3], "imagesTr/case_000_0000.nii.gz", None])
def test_an_explicit_list_of_files_in_dataset_json_must_hold_paths(tmp_path, images):
    entry = {"images": images, "label": "labelsTr/case_000.nii.gz"}
    raw = write_nnunet(tmp_path / "raw", dataset={"case_000": entry})
    refused(called("autoseg_plan", raw, "-w", tmp_path / "ws"), "dataset.case_000: expected an object with the paths")


def test_files_that_dataset_json_names_and_that_are_not_there_are_all_listed_with_their_keys(place):
    (place.raw / "images" / "ramp_2.nii.gz").unlink()
    (place.raw / "labels" / "ramp_3.nii.gz").unlink()
    with place.nothing_lost():
        done = installed("autoseg_plan", place.raw, "-w", place.workspace)
    refused(
        done,
        "it names what is not there (2 files):",
        "training.2.image: images/ramp_2.nii.gz",
        "training.3.label: labels/ramp_3.nii.gz",
    )


# Images and label maps


def test_an_undeclared_label_value_is_named_with_its_voxels_and_its_file(place):
    labels = (ramp(SHAPE) > 10).astype(np.uint8)
    labels[3, 3, 3:10] = 7
    write_labels(place.raw / "labels" / "ramp_1.nii.gz", labels, geometry(SHAPE))
    with place.nothing_lost():
        done = place.plan()
    refused(done, "case ramp_1: labels/ramp_1.nii.gz", "undeclared label", "found 7 (7 voxels), expected one of 0, 1")


@pytest.mark.parametrize("file", ["images/ramp_1.nii.gz", "labels/ramp_1.nii.gz"])
def test_a_truncated_file_stops_the_plan_and_is_named_once(place, file):
    cut(place.raw / file)
    with place.nothing_lost():
        done = place.plan()
    refused(done, f"case ramp_1: {file}: file: found cannot be read: it is truncated", "copy or download it again")
    assert done.err.count(file) == 1


def test_a_truncated_file_is_a_problem_of_that_file_in_the_json_of_a_check(place):
    cut(place.raw / "labels" / "ramp_1.nii.gz")
    done = place.plan("--check", "--json")
    assert done.code == 2
    assert [problem["file"] for problem in json.loads(done.out)["problems"]] == ["labels/ramp_1.nii.gz"]


def test_files_of_a_case_on_different_grids_stop_the_plan_with_both_shapes(place):
    write_labels(place.raw / "labels" / "ramp_2.nii.gz", np.ones((19, 24, 28), np.uint8), geometry((19, 24, 28)))
    with place.nothing_lost():
        done = place.plan()
    refused(
        done,
        "case ramp_2: labels/ramp_2.nii.gz: shape: found 19 x 24 x 28, expected 20 x 24 x 28 as in images/ramp_2.nii.gz",
    )


def test_channels_of_a_case_on_different_grids_stop_the_plan_with_both_spacings(tmp_path):
    raw = write_nnunet(tmp_path / "raw", cases=2, channels=2)
    other = geometry((3, 4, 5), (3.0, 2.0, 1.75))
    write_image(raw / "imagesTr" / "case_001_0001.nii.gz", np.ones((1, 3, 4, 5), np.int16), other)
    refused(
        called("autoseg_plan", raw, "-w", tmp_path / "ws", "--workers", 1),
        "case case_001: imagesTr/case_001_0001.nii.gz: spacing: found 3 x 2 x 1.75, expected 3 x 2 x 1.5",
    )


def test_a_truncated_scan_is_named_by_the_prediction(place):
    scans = one_scan(place)
    cut(scans / "scan.nii.gz")
    with place.nothing_lost():
        done = place.predict("-i", scans)
    refused(done, "scan.nii.gz: cannot be read: it is truncated")


def test_a_scan_with_the_wrong_number_of_channels_is_named_by_the_prediction(place):
    scans = one_scan(place, np.stack([ramp(SHAPE)] * 4))
    refused(place.predict("-i", scans), "case scan: 4 channels found", "expected 1 (MRI)")
    assert not (place.root / "out" / "scan.nii.gz").exists()


def test_too_many_files_of_a_case_are_named_by_the_prediction(place):
    for channel in range(2):
        write_image(place.root / "in" / f"scan_000{channel}.nii.gz", ramp(SHAPE)[None], geometry(SHAPE))
    done = place.predict("-i", place.root / "in")
    refused(done, "case scan: 2 channels found (scan_0000.nii.gz, scan_0001.nii.gz)", "expects 1: MRI")


def test_a_truncated_prediction_is_named_by_the_evaluation(place):
    predictions = place.root / "predictions"
    shutil.copytree(place.raw / "labels", predictions)
    cut(predictions / "ramp_0.nii.gz")
    with place.nothing_lost():
        done = called(
            "autoseg_evaluate", "-p", predictions, "-r", place.raw / "labels", "-w", place.workspace, "--workers", 1
        )
    refused(done, f"{predictions / 'ramp_0.nii.gz'}: cannot be read: it is truncated")


# Names


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--template", "msd_task1_braintumour"), ("unknown template", "Did you mean 'msd_task01_braintumour'")),
        (("--preset", "resenc_n"), ("unknown preset 'resenc_n'", "Did you mean 'resenc_m'")),
        (("--set", "training.epoch=3"), ("unknown setting 'training.epoch'", "Did you mean 'training.epochs'")),
        (("--set", "3d_fulres.batch_size=3"), ("unknown setting '3d_fulres'", "Did you mean '3d_fullres'")),
        (("--set", "training.epochs=many"), ("training.epochs: expected a valid integer, found 'many'",)),
        (("--name", "../elsewhere"), ("name '../elsewhere'", "without slashes")),
    ],
)
def test_planning_answers_an_unknown_name_with_the_nearest(place, arguments, words):
    with place.nothing_lost():
        refused(place.plan(*arguments), *words)
    assert not (place.root / "elsewhere").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-f", "7"), ("unknown fold '7'", "Known: 0, 1, 2, 3, 4, all")),
        (("-f", "al"), ("unknown fold 'al'", "Did you mean 'all'")),
        (("-d", "Task77_Rump"), ("unknown planned data set", "Did you mean 'Task77_Ramp'")),
        (("--set", "training.epoch=3"), ("unknown setting 'training.epoch'", "Did you mean 'training.epochs'")),
        (("--set", "training.loss=dice_cc"), ("unknown loss 'dice_cc'", "Did you mean 'dice_ce'")),
        (
            ("--set", "training.loss=dice_bce"),
            ("loss 'dice_bce' does not fit a plan that trains on classes", "These do: dice_ce"),
        ),
        (("--set", "training.optimiser=sdg"), ("unknown optimiser 'sdg'", "Did you mean 'sgd'")),
        (("--set", "training.schedule=cosin"), ("unknown schedule 'cosin'", "Did you mean 'cosine'")),
        (
            ("--set", "training.augmentation=lite"),
            ("unknown augmentation policy 'lite'", "Known: brats, light, nnunet, none"),
        ),
        (("--set", "2d.network.kind=plane_unet"), ("unknown network 'plane_unet'", "Did you mean 'plain_unet'")),
        (("--set", "training.loss=no_such:loss"), ("loss 'no_such:loss': there is no module 'no_such'",)),
        (("--device", "cudda"), ("unknown device 'cudda'", "Did you mean 'cuda'")),
        (("--name", "../elsewhere"), ("name '../elsewhere'", "without slashes")),
        (("--time-budget", "20"), ("--time-budget '20'", "20m")),
    ],
)
def test_training_answers_an_unknown_name_with_the_nearest_before_it_begins_anything(place, arguments, words):
    with place.nothing_lost():
        refused(place.train("--name", "new", *arguments), *words)
    assert not (place.known / "models" / "new").exists()


def test_training_answers_an_unknown_configuration_with_the_nearest(place):
    with place.nothing_lost():
        done = installed("autoseg_train", "3d_fulres", "-w", place.workspace)
    refused(done, "unknown configuration '3d_fulres'. Did you mean '3d_fullres'? Known: 2d, 3d_fullres.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-c", "2dd"), ("unknown trained configuration '2dd'", "Did you mean '2d'")),
        (("-f", "9"), ("unknown trained fold '9'", "Known: 0")),
        (("-m", "2-d"), ("unknown model '2-d'", "Did you mean '2d'")),
        (("-i", "nowhere"), ("input nowhere: not found",)),
    ],
)
def test_prediction_answers_an_unknown_name_with_the_nearest(place, arguments, words):
    with place.nothing_lost():
        refused(place.predict("-i", place.raw / "images", *arguments), *words)
    assert not (place.root / "out").exists()


# Places that cannot be written (below a file: even the superuser cannot write there)


@pytest.mark.parametrize("command", ["autoseg_plan", "autoseg_train", "autoseg_preprocess"])
def test_a_workspace_that_cannot_be_written_is_named_with_the_option_for_another(place, command):
    argument = place.raw if command == "autoseg_plan" else "2d"
    nowhere = place.raw / "dataset.json" / "ws"
    with place.nothing_lost():
        done = (
            installed(command, argument, "-w", nowhere)
            if command == "autoseg_plan"
            else called(command, argument, "-w", nowhere)
        )
    refused(done, f"{nowhere}: cannot be written (Not a directory)", "-w DIR")


def test_an_output_that_cannot_be_written_is_noticed_before_anything_is_predicted(place):
    nowhere = place.raw / "dataset.json" / "out"
    with place.nothing_lost():
        done = place.predict("-i", place.raw / "images", "-o", nowhere)
    refused(done, f"{nowhere}: cannot be written (Not a directory)", "-o DIR")
    assert "predicting" not in done.err


def test_an_evaluation_that_cannot_be_written_is_noticed_before_anything_is_compared(place):
    nowhere = place.raw / "dataset.json" / "out"
    labels = place.raw / "labels"
    with place.nothing_lost():
        done = called("autoseg_evaluate", "-p", labels, "-r", labels, "-o", nowhere, "-w", place.workspace, "--workers", 1)
    refused(done, f"{nowhere}: cannot be written (Not a directory)", "-o DIR")
    assert "evaluate:" not in done.err


# What has changed, and what is damaged


@pytest.mark.parametrize("command", ["autoseg_train", "autoseg_preprocess"])
def test_a_plan_made_from_data_that_has_since_changed_is_refused_with_the_command_that_makes_it_anew(place, command):
    write_image(place.raw / "images" / "ramp_0.nii.gz", ramp(SHAPE)[None] + 1, geometry(SHAPE))
    with place.nothing_lost():
        done = called(command, "2d", "-w", place.workspace)
    refused(
        done,
        "1 file changed since the data set was planned: images/ramp_0.nii.gz",
        f"Make the plan anew with: autoseg_plan {place.raw}",
    )
    assert place.plan("-q").code == 0


@pytest.mark.parametrize("file", ["plan.json", "dataset.json", "fingerprint.json"])
def test_an_artefact_that_was_cut_off_is_refused_with_the_command_that_makes_it_anew(place, file):
    cut(place.known / file)
    with place.nothing_lost():
        refused(place.train("-f", 1), f"{place.known / file}: not JSON", "make it anew with: autoseg_plan")
    assert place.plan("-q").code == 0


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"dataset": null}'])
def test_a_damaged_note_of_the_data_set_planned_last_is_no_fault_of_autoseg(place, content):
    (place.workspace / "current.json").write_text(content)
    done = place.train("-f", 1)
    assert (done.code, "Traceback" in done.err) == (2, False)
    assert "autoseg_plan" in done.err or "Known: Task77_Ramp" in done.err


@pytest.mark.parametrize("share", [0.0, 0.01, 0.9])
def test_truncated_weights_are_refused_with_the_command_that_makes_them_anew(place, share):
    weights = place.known / "models" / "2d" / "fold_0" / "weights_final.safetensors"
    cut(weights, share)
    with place.nothing_lost():
        done = place.predict("-i", place.raw / "images")
    refused(done, f"{weights}: truncated or damaged", f"Make it anew with: autoseg_train 2d -d {NAME} -f 0 --restart")
    assert not (place.root / "out").exists()


def test_a_user_who_predicts_with_truncated_weights_sees_one_message(place):
    weights = place.known / "models" / "2d" / "fold_0" / "weights_final.safetensors"
    cut(weights)
    done = installed("autoseg_predict", "-i", place.raw / "images", "-o", place.root / "out", "-w", place.workspace)
    refused(done, f"{weights}: truncated or damaged")


class BrokenOffError(Exception):
    """Stands for whatever ends a process."""


class BreaksOff(Unwatched):
    """An observer that ends the training after two epochs, so that two checkpoints are there."""

    def epoch_ended(self, history):
        if len(history) == 3:
            raise BrokenOffError


@pytest.fixture
def broken_off(place) -> Path:
    """The folder of a fold whose training was broken off; the same command resumes it."""
    settings = ["training.validation_iterations=1", "training.epochs=4", "training.iterations_per_epoch=1"]
    folder = open_workspace(place.workspace).chosen(None)
    with pytest.raises(BrokenOffError):
        train_model(folder, "2d", folds=["0"], name="new", settings=settings, device="cpu", observer=BreaksOff())
    return place.known / "models" / "new" / "fold_0"


def test_training_falls_back_from_a_truncated_checkpoint_to_the_one_before_it(place, broken_off):
    cut(broken_off / "checkpoint.pt")
    done = place.train("--name", "new", "-f", 0, "--epochs", 4)
    assert done.code == 0, done.err
    assert f"{broken_off / 'checkpoint.pt'}: cannot be read" in done.err
    assert "falling back to the checkpoint before it" in done.err
    assert "; resumed at epoch" in done.err
    assert (broken_off / "weights_final.safetensors").exists()


def test_training_without_any_whole_checkpoint_is_refused_with_the_way_to_begin_anew(place, broken_off):
    for name in ("checkpoint.pt", "checkpoint_previous.pt"):
        cut(broken_off / name)
    with place.nothing_lost():
        done = place.train("--name", "new", "-f", 0, "--epochs", 4)
    refused(done, f"{broken_off / 'checkpoint.pt'}: truncated or damaged", "--restart")
    assert place.train("--name", "new", "-f", 0, "--epochs", 4, "--restart").code == 0
