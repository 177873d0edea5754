import shutil

import pytest

from autoseg.training import self_test
from autoseg.training.self_test import COMPILING_PAYS_S, MANY_STEPS, Timing, fastest
from autoseg.training.trial import Stopwatch
from autoseg.training.variants import VARIANTS

PLAIN = VARIANTS["plain"]
LONG = 2 * COMPILING_PAYS_S
"""Steps of a second that a training has in which compiling is tried."""


def taking(seconds, ready=None):
    """What times variants: `seconds` of a step by the variant's name, and more of the whole trial in `ready`."""
    return lambda variant: Timing(seconds[str(variant)], 3 + (ready or {}).get(str(variant), 0.0))


def steps(found):
    return {one.variant: one.step_s for one in found.tried}


@pytest.fixture
def compiler(monkeypatch):
    """A machine with a compiler, whatever this one has."""
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/" + name)
    monkeypatch.setattr(self_test.sys, "platform", "linux")


def test_a_short_training_tries_nothing_and_says_why():
    found = fastest(PLAIN, steps=MANY_STEPS - 1, time_of=lambda variant: pytest.fail("tried"))
    assert (found.taken, found.tried) == ("plain", ())
    assert "too few steps (999)" in found.because


def test_the_fastest_variant_is_taken_change_by_change_and_what_was_tried_is_recorded():
    seconds = {"plain": 1.0, "channels_last": 0.8, "channels_last_fused": 0.5}
    found = fastest(PLAIN, steps=MANY_STEPS, time_of=taking(seconds))
    assert found.taken == "channels_last_fused"
    assert steps(found) == seconds | {"compiled_channels_last_fused": None}
    assert found.because == "the fastest of what was tried, over 1000 steps"


def test_what_is_hardly_faster_is_not_taken():
    found = fastest(PLAIN, steps=MANY_STEPS, time_of=taking({"plain": 1.0, "channels_last": 0.97, "fused": 0.96}))
    assert found.taken == "plain"
    assert found.because.startswith("nothing that was tried")


def test_what_cannot_be_computed_here_is_left_out_with_the_reason():
    def time_of(variant):
        if variant.channels_last:
            raise RuntimeError("no such layout\nand more")
        return Timing(0.5 if variant.fused else 1.0, 3.0)

    found = fastest(PLAIN, steps=MANY_STEPS, time_of=time_of)
    assert found.taken == "fused"
    assert found.tried[1].left_out == "not possible here: no such layout"


def test_compiling_is_tried_in_a_long_training_and_taken_where_it_pays(compiler):
    seconds = {"plain": 1.0, "channels_last": 1.0, "fused": 1.0, "compiled": 0.5}
    found = fastest(PLAIN, steps=LONG, time_of=taking(seconds, {"compiled": 60.0}))
    assert found.taken == "compiled"
    assert (found.tried[-1].step_s, found.tried[-1].ready_s) == (0.5, 60.0)
    assert str(found.tried[-1]) == "compiled 0.5 s and 60 s to get ready"


def test_the_time_of_compiling_is_shared_out_among_the_steps(compiler):
    seconds = {"plain": 1.0, "channels_last": 1.0, "fused": 1.0, "compiled": 0.9}
    dear = {"compiled": 0.1 * LONG}
    assert fastest(PLAIN, steps=LONG, time_of=taking(seconds, dear)).taken == "plain"
    assert fastest(PLAIN, steps=LONG, time_of=taking(seconds, {"compiled": 60.0})).taken == "compiled"


def test_compiling_is_left_out_where_the_training_is_too_short_for_it(compiler):
    found = fastest(PLAIN, steps=2000, time_of=taking({"plain": 0.3, "channels_last": 0.3, "fused": 0.3}))
    assert found.tried[-1].left_out == "compiling pays in trainings of 60 min and more, this one has 10"


def test_without_a_compiler_compiling_is_left_out_with_the_reason(compiler, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = fastest(PLAIN, steps=LONG, time_of=taking({"plain": 1.0, "channels_last": 1.0, "fused": 1.0}))
    assert found.tried[-1].left_out == "no C++ compiler found (c++, g++, clang++)"


def test_the_first_step_warms_up_and_the_fastest_of_the_others_counts():
    watch = Stopwatch()
    watch.ended_s += [10.0, 12.0, 13.5]
    assert watch.fastest_s == 1.5
