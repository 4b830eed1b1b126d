"""Signals are noted while a run ends, and given back."""

import os
import signal
import subprocess
import sys
import threading

from strathack.dataset.signals import StopOnSignal


def test_the_first_signal_is_noted_and_further_ones_are_handed_on():
    before, further = signal.getsignal(signal.SIGTERM), []
    with StopOnSignal(on_further=further.append) as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        os.kill(os.getpid(), signal.SIGTERM)
    assert (stop.number, further) == (signal.SIGTERM, [signal.SIGTERM])
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_does_not_wait():
    code = (
        "import os, signal; from strathack.dataset.signals import StopOnSignal\n"
        "with StopOnSignal() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT); print(stop.number, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT); print('went on')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout.split() == [str(int(signal.SIGINT))]
    assert "KeyboardInterrupt" in ended.stderr


def test_in_a_thread_signals_are_the_programs():
    seen = []

    def enter():
        with StopOnSignal() as stop:
            seen.append(bool(stop))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [False]
    assert signal.getsignal(signal.SIGINT) is before
