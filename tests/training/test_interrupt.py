import os
import signal
import threading

import pytest

from autoseg.training.interrupt import held_back


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_instead_of_ending_the_program(number):
    before = signal.getsignal(number)
    with held_back() as came:
        assert not came()
        os.kill(os.getpid(), number)
        assert came()
    assert signal.getsignal(number) is before


def test_a_second_interrupt_acts_at_once_unless_it_is_the_first_one_passed_on():
    seconds = 0.0
    with held_back(lambda: seconds) as came:
        signal.raise_signal(signal.SIGINT)
        assert came()
        seconds = 0.5
        signal.raise_signal(signal.SIGINT)
        seconds = 1.5
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_outside_the_main_thread_nothing_is_held_back():
    said = []

    def work():
        with held_back() as came:
            said.append(came())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == [False]
