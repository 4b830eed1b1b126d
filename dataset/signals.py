"""Records Ctrl-C and SIGTERM instead of ending at once, so that a command can save everything before it ends."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def in_main_thread() -> bool:
    """Returns whether this is the main thread; in other threads, signals are left to the surrounding program."""
    return threading.current_thread() is threading.main_thread()


def ctrl_c_does_not_wait(number: int) -> None:
    """Handles the first signal: if it is a Ctrl-C, the next Ctrl-C ends the process in Python's usual way."""
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Interrupted(BaseException):
    """A signal has ended a command before it could tell what there is to go on from.

    Args:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def interrupted_by(number: int) -> int:
    """Says that a command was interrupted, and may be given again; returns its exit status, 128 + the signal."""
    print("interrupted: what is there is valid; the same command goes on from here", file=sys.stderr)
    return 128 + number


class StopOnSignal:
    """Records SIGINT and SIGTERM while its context is entered. Its truth value is True once a signal has come.

    Outside the main thread it does nothing.

    Args:
        on_first: Called with the first signal's number.
        on_further: Called with the number of each further signal.

    Attributes:
        number: The first signal's number; 0 before a signal has come.
        on_further: As given; may be replaced.
    """

    def __init__(
        self,
        on_first: Callable[[int], None] = ctrl_c_does_not_wait,
        on_further: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.number = 0
        self._on_first, self.on_further = on_first, on_further
        self._before: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.number != 0

    def __enter__(self) -> StopOnSignal:
        if in_main_thread():
            self._before = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Restores the signal handlers from before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            self.on_further(number)
        else:
            self.number = number
            self._on_first(number)
