import pytest

from autoseg.benchmark.report import ratio_line, step_lines
from autoseg.benchmark.step import StepBenchmark
from autoseg.benchmark.timing import Machine, Pair, Times, joined

OURS = Times(seconds=(1.0, 2.0, 3.0), waited=(0.1, 0.2, 0.3))
THEIRS = Times(seconds=(4.0, 6.0, 8.0), waited=(0.0, 0.0, 0.0))


def test_the_share_of_waiting_is_of_the_whole_time():
    assert OURS.waiting_share == pytest.approx(0.1)


def test_quartiles_of_one_step_are_that_step():
    assert Times(seconds=(2.0,), waited=(0.0,)).quartiles_s == (2.0, 2.0)
    assert OURS.quartiles_s == (1.5, 2.5)


def test_a_pair_compares_medians():
    assert Pair(ours=OURS, theirs=THEIRS).ratio == 3.0


def test_joined_runs_hold_all_steps():
    assert joined([OURS, THEIRS]).seconds == (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)


def test_the_ratio_is_shown_with_its_spread():
    assert ratio_line([2.0, 4.0, 3.0]) == "autoseg is 3.00 times as fast (2.00 to 4.00; pairs: 2.00, 4.00, 3.00)"


def test_the_table_of_steps_names_machine_peer_and_loaders():
    found = StepBenchmark(
        dataset="Heads",
        configuration="3d_fullres",
        patch_size=(8, 8, 8),
        batch_size=2,
        precision="bf16",
        variant="channels_last",
        machine=Machine(processor="EPYC", threads=2, device="cpu", torch="2.13.0"),
        ours=OURS,
        theirs=THEIRS,
        peer="nnU-Net 2.8.1",
        loaders=0,
        loader_trials={"0": 6.0, "1": 7.0},
        pairs=(Pair(ours=OURS, theirs=THEIRS),),
    )
    text = "\n".join(step_lines(found))
    assert "EPYC, 2 threads" in text
    assert "| autoseg (bf16, channels_last) | 3 | 2.00 (1.50 to 2.50) | 0.500 | 10.0% |" in text
    assert "| nnU-Net 2.8.1, 0 loader processes | 3 | 6.00 (5.00 to 7.00) | 0.167 | 0.0% |" in text
    assert "3.00 times" in text
