import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from autoseg.benchmark.exporting import ExportWork, measure_export, random_scores
from autoseg.benchmark.report import turns_lines
from autoseg.benchmark.spent import Side, Spent, Turns, spent_by
from autoseg.benchmark.timing import Machine
from autoseg.benchmark.whole_command import agreement
from autoseg.cli.benchmark import main
from autoseg.errors import BenchmarkError
from tests.prediction import small

MIB = 2**20
WORK = ExportWork(shape=(12, 20, 20), spacing_mm=(1.5, 0.8, 0.8), network_spacing_mm=1.5, classes=4)


def run(seconds: float, processor_s: float) -> Spent:
    return Spent(seconds=seconds, processor_s=processor_s, peak_bytes=2**30)


def test_a_commands_processor_time_and_memory_are_its_own(tmp_path: Path) -> None:
    code = "block = bytearray(300 * 2**20); import sys; sys.stdout.write(sys.stdin.read() * 2)"
    spent, printed = spent_by([sys.executable, "-c", code], name="it", folder=tmp_path, environment={}, request="ab")
    assert printed == "abab"
    assert 0 < spent.processor_s < 60
    assert spent.seconds > 0
    assert spent.peak_bytes > 300 * MIB


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    code = "import sys; sys.stderr.write('first\\nthe last line\\n'); sys.exit(3)"
    with pytest.raises(BenchmarkError, match=r"it failed with exit code 3: the last line"):
        spent_by([sys.executable, "-c", code], name="it", folder=tmp_path, environment={})
    with pytest.raises(BenchmarkError, match="cannot be run"):
        spent_by([str(tmp_path / "none")], name="it", folder=tmp_path, environment={})


def test_runs_are_compared_pair_by_pair() -> None:
    turns = Turns(
        what="work",
        machine=Machine(processor="p", threads=2, device="cpu", torch="2"),
        ours=Side(name="autoseg", runs=(run(2, 1), run(1, 1))),
        theirs=Side(name="nnU-Net", runs=(run(8, 6), run(6, 4))),
        agreement={"1": 0.5},
    )
    assert (turns.ratios, turns.processor_ratios) == ([4.0, 6.0], [6.0, 4.0])
    lines = turns_lines(turns)
    assert "| autoseg | 2 | 1.5 (1.0 to 2.0) | 1.0 (1.0 to 1.0) | 1.00 GiB |" in lines
    assert lines[-2].startswith(
        "autoseg is 5.00 times as fast (4.00 to 6.00; pairs: 4.00, 6.00); by seconds of the processor 5.00"
    )
    assert lines[-1] == "Agreement: 1: 0.50000"


def test_agreement_is_the_mean_over_the_cases_that_have_a_label(tmp_path: Path) -> None:
    one = np.zeros((2, 3, 3), np.uint8)
    one[0] = 1
    other = one.copy()
    other[1] = 1  # twice as many: 2 * 9 / (9 + 18)
    for name, (ours, theirs) in {"a": (one, one), "b": (one, other), "c": (one * 0, one * 0)}.items():
        small.write_nifti(tmp_path / "ours" / f"{name}.nii.gz", ours)
        small.write_nifti(tmp_path / "theirs" / f"{name}.nii.gz", theirs)
    assert agreement(tmp_path / "ours", tmp_path / "theirs") == {"1": pytest.approx((1 + 2 / 3) / 2)}


def test_random_scores_lie_on_their_own_grid_and_speak_for_several_classes() -> None:
    scores = random_scores(WORK)
    assert scores.shape == (4, 12, 11, 11)
    assert len(np.unique(scores.argmax(0))) > 1
    assert np.array_equal(scores, random_scores(WORK))


def test_an_export_is_measured_in_processes_of_its_own(tmp_path: Path) -> None:
    found = measure_export(WORK, tmp_path, python=None, pairs=1, threads=1)
    assert found.theirs is None
    assert len(found.ours.runs) == 1
    assert 0 < found.agreement["voxels whose neighbour has another label"] < 1
    assert (tmp_path / "autoseg.nii.gz").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["export", "--peer", "nnunet"], "name the interpreter of its environment"),
        (["export", "--python", "x"], "say which with --peer nnunet"),
        (["export", "--shape", "3,4"], "--shape 3,4: expected three numbers"),
        (["export", "--peer", "nnunt", "--python", "x"], "Did you mean 'nnunet'"),
        (["command", "nowhere", "-i", "nowhere"], "nowhere: not found"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_a_sentence(arguments: list[str], complaint: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert complaint in " ".join(done.stderr.split())
