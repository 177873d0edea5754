import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from autoseg.cli.plan import main
from tests.data.scans import write_patient, write_picture
from tests.planning.test_nnunet_files import DATASET, FINGERPRINT
from tests.planning.test_run import raw  # noqa: F401


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path):
    (tmp_path / "fingerprint.json").write_text(json.dumps(FINGERPRINT))
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET))
    return ("--fingerprint", tmp_path / "fingerprint.json", "--dataset-json", tmp_path / "dataset.json")


def test_planning_prints_the_configurations_the_place_and_the_next_command(raw, tmp_path):  # noqa: F811
    done = run(raw, "-w", tmp_path / "ws", "--workers", 1)
    assert done.exit_code == 0, done.output
    assert "3d_fullres" in done.stdout
    assert str(tmp_path / "ws" / "Task77_Ramp" / "plan.json") in done.stdout
    assert "Next: autoseg_train 3d_fullres" in done.stdout
    again = run(raw, "-w", tmp_path / "ws", "--workers", 1)
    assert "Plan already up to date" in again.stdout


def test_a_check_prints_what_was_understood_and_makes_no_plan(raw, tmp_path):  # noqa: F811
    done = run(raw, "-w", tmp_path / "ws", "--workers", 1, "--check")
    assert done.exit_code == 0, done.output
    for text in ("4 cases to train on", "channels: MRI", "20 x 24 x 28", "organ", "No problems found"):
        assert text in done.stdout
    assert not list((tmp_path / "ws").rglob("plan.json"))


def test_a_check_of_pictures_shows_two_axes_and_says_how_to_name_labels(tmp_path):
    for index in range(3):
        picture = np.random.default_rng(index).integers(0, 255, (16, 20), dtype=np.uint8)
        write_picture(tmp_path / "cells" / "images" / f"{index}.png", picture)
        write_picture(tmp_path / "cells" / "labels" / f"{index}.png", np.uint8(255) * (picture > 128))
    done = run(tmp_path / "cells", "-w", tmp_path / "ws", "--workers", 1, "--check")
    assert done.exit_code == 0, done.output
    assert "shape (y, x; smallest / median / largest): 16 x 20 / 16 x 20 / 16 x 20" in done.stdout
    assert "spacing in mm (y, x): 1 x 1 / 1 x 1 / 1 x 1" in done.stdout
    assert "999" not in done.stdout
    assert '{"labels": {"background": 0, "NAME": 255}}' in done.stdout


def test_a_check_shows_regions_in_the_order_of_painting(tmp_path):
    names = ("_flair", "_t1", "_t1ce", "_t2")
    for index in range(2):
        files = {name: np.full((6, 8, 8), 5, np.int16) + a_volume(index) for name in names}
        write_patient(tmp_path / "raw" / f"Brats18_{index}", {**files, "_seg": a_volume(index) % 3})
    done = run(tmp_path / "raw", "-w", tmp_path / "ws", "--workers", 1, "--check")
    assert done.exit_code == 0, done.output
    assert "Trained on regions, painted in this order:" in done.stdout
    assert [line.split()[:2] for line in done.stdout.splitlines() if line[:2] in ("1 ", "2 ", "3 ")] == [
        ["1", "WT"],
        ["2", "TC"],
        ["3", "ET"],
    ]


def a_volume(seed):
    return np.random.default_rng(seed).integers(0, 9, (6, 8, 8)).astype(np.int16)


def test_a_planned_data_set_is_planned_again_by_its_name(raw, tmp_path, monkeypatch):  # noqa: F811
    assert run(raw, "-w", tmp_path / "ws", "--workers", 1, "-q").exit_code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = run("Task77_Ramp", "-w", tmp_path / "ws", "--workers", 1)
    assert again.exit_code == 0, again.output
    assert "Plan already up to date" in again.stdout
    typo = run("Task77_Rmap", "-w", tmp_path / "ws")
    assert typo.exit_code == 2
    assert "Did you mean 'Task77_Ramp'? Planned here: Task77_Ramp." in typo.stderr


def test_a_check_with_errors_lists_them_and_ends_with_code_2(raw, tmp_path):  # noqa: F811
    (raw / "labels" / "ramp_3.nii.gz").write_bytes(b"no gzip")
    done = run(raw, "-w", tmp_path / "ws", "--workers", 1, "--check")
    assert done.exit_code == 2
    assert "error: case ramp_3" in done.stdout


def test_the_result_of_a_check_is_json_for_machines(raw, tmp_path):  # noqa: F811
    done = run(raw, "-w", tmp_path / "ws", "--workers", 1, "--check", "--json")
    found = json.loads(done.stdout)
    assert found["understood"]["cases"] == 4
    assert found["problems"] == []


def test_a_plan_without_images_is_written_in_both_formats(files, tmp_path):
    done = run(*files, "-o", tmp_path / "out", "--format", "nnunet", "--gpu-memory", 11)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["gpu_memory_gb"] == 11
    written = json.loads((tmp_path / "out" / "nnUNetPlans_11GB.json").read_text())
    assert written["configurations"]["3d_fullres"]["normalization_schemes"] == ["CTNormalization"]


def test_explaining_prints_the_decisions_without_writing(files):
    done = run(*files, "--explain")
    assert done.exit_code == 0, done.output
    assert "target spacing: 1.5 x 1 x 1 mm" in done.stdout


def test_an_explanation_as_json_holds_each_decision_with_what_would_change_it(files):
    done = run(*files, "--explain", "--json")
    assert done.exit_code == 0, done.output
    found = {one["name"]: one for one in json.loads(done.stdout)["decisions"]}
    assert found["normalisation of CT"]["changes"][0]["given"] == "the channel were called MRI"
    assert set(found["target spacing"]) == {"name", "value", "because", "source", "changes", "override"}


def test_comparing_prints_what_differs_and_ends_with_code_0(files, tmp_path):
    for name, memory in (("small", 4), ("large", 40)):
        assert run(*files, "-o", tmp_path / name, "--gpu-memory", memory, "-q").exit_code == 0
    plans = (tmp_path / "small" / "plan.json", tmp_path / "large")
    done = run("--compare", *plans, "-w", tmp_path / "ws")
    assert done.exit_code == 0, done.output
    assert "gpu_memory_gb" in done.stdout
    machine = json.loads(run("--compare", *plans, "-w", tmp_path / "ws", "--json").stdout)
    assert {"key": "gpu_memory_gb", "first": "4", "second": "40"} in machine["differences"]
    same = run("--compare", plans[0], plans[0], "-w", tmp_path / "ws")
    assert (same.exit_code, "are the same plan" in same.stdout) == (0, True)


def test_comparing_with_a_plan_that_is_not_there_is_code_2(tmp_path):
    done = run("--compare", "Brain", "Liver", "-w", tmp_path / "ws")
    assert done.exit_code == 2
    assert "unknown planned data set" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "resenc"], "unknown preset 'resenc'. Did you mean 'resenc_"),
        (["--gpu-memory", "0.001"], "The least that would do is"),
        (["--gpu-memory", "-8"], "expected a positive number of GB"),
        (["--gpu-memory", "nan"], "expected a positive number of GB"),
        (["--set", "training.epoch=3"], "Did you mean 'training.epochs'"),
        (["--set", "3d_fulres.batch_size=3"], "Did you mean '3d_fullres'"),
        (["--set", "training.loss=dicece"], "unknown loss 'dicece'. Did you mean 'dice_ce'"),
        (["--set", "3d_fullres.network.norm=layer"], "expected 'instance', 'batch' or 'group'"),
        (["--set", "2d.patch_size=33,33"], "The nearest that fit"),
        ([], "name a folder for the plan with -o DIR"),
    ],
)
def test_bad_input_is_one_message_and_code_2(files, arguments, message):
    done = run(*files, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def intensities(**changes):
    return {**FINGERPRINT["foreground_intensity_properties_per_channel"]["0"], **changes}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("spacings", None, "fingerprint.json: spacings: missing"),
        ("spacings", [[1.0, 1.0, 0.0], [2.0, 1.0, 1.0]], "the spacing of case 1 is 1 x 1 x 0. Expected three positive mm"),
        ("spacings", [[1.0, 1.0, 1.0], [2.0, -1.0, 1.0]], "the spacing of case 2 is 2 x -1 x 1"),
        ("spacings", [[1.0, 1.0, 1.0], [2.0, float("nan"), 1.0]], "the spacing of case 2 is 2 x nan x 1"),
        ("spacings", [], "the fingerprint holds no case"),
        ("spacings", [[], [1.0, 1.0, 1.0]], "spacings: expected three numbers (z, y, x) per case, found []"),
        ("spacings", [5, [1.0, 1.0, 1.0]], "spacings: expected three numbers (z, y, x) per case, found 5"),
        ("shapes_after_crop", None, "fingerprint.json: shapes_after_crop: missing"),
        ("shapes_after_crop", [[30, 40, 50], [30, 0, 60]], "the shape after cropping of case 2 is 30 x 0 x 60"),
        ("shapes_after_crop", [[30, 40, 50], [30, float("inf"), 60]], "shapes_after_crop: expected whole numbers"),
        ("median_relative_size_after_cropping", float("nan"), "median_relative_size_after_cropping: expected a number"),
        ("foreground_intensity_properties_per_channel", None, "properties_per_channel: missing"),
        ("foreground_intensity_properties_per_channel", {"0": intensities(std=-1.0)}, "std: expected 0 or more, found -1"),
        ("foreground_intensity_properties_per_channel", {"0": intensities(mean=float("nan"))}, "mean: expected a number"),
        ("foreground_intensity_properties_per_channel", {"0": 7}, "expected an object with mean, median"),
        (
            "foreground_intensity_properties_per_channel",
            {"0": intensities(), "1": intensities()},
            "expected an entry for each channel of dataset.json (0 = CT), found 0, 1",
        ),
        ("foreground_intensity_properties_per_channel", {"PET": intensities()}, "dataset.json (0 = CT), found PET"),
    ],
)
def test_a_fingerprint_that_makes_no_sense_is_one_message_and_code_2(files, tmp_path, key, value, message):
    content = {**FINGERPRINT, key: value}
    if value is None:
        del content[key]
    (tmp_path / "fingerprint.json").write_text(json.dumps(content))
    done = run(*files, "-o", tmp_path / "out")
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_budget_that_is_named_as_the_least_does(files, tmp_path):
    refused = run(*files, "-o", tmp_path / "out", "--gpu-memory", "0.0001")
    assert refused.exit_code == 2
    least = refused.stderr.split("--gpu-memory ")[1].split(")")[0]
    assert run(*files, "-o", tmp_path / "out", "--gpu-memory", least).exit_code == 0


def test_a_command_without_data_set_says_what_to_name():
    done = run()
    assert done.exit_code == 2
    assert "autoseg_plan DATASET" in done.stderr


def test_planning_without_images_is_quick_and_imports_no_heavy_library(files, tmp_path):
    code = (
        "import sys\n"
        f"sys.argv = ['autoseg_plan', *{[str(part) for part in files]!r}, '-o', {str(tmp_path)!r}]\n"
        "from autoseg.cli.plan import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'scipy', 'sklearn', 'SimpleITK', 'nibabel', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import time; print(time.process_time())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Seconds of the processor: tests may share the machine with other work.
    assert float(done.stdout.split()[-1]) < 1
