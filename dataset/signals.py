"""Ctrl-C and SIGTERM: noted instead of obeyed at once, so that what runs ends with everything saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def in_main_thread() -> bool:
    """Whether this is the main thread; in others of a program, signals are that program's."""
    return threading.current_thread() is threading.main_thread()


def ctrl_c_does_not_wait(number: int) -> None:
    """For the first signal: after a Ctrl-C, the next one ends the process as it would without us."""
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class StopOnSignal:
    """Notes SIGINT and SIGTERM while it is entered. As a condition it is true once one has come.

    In a thread of a program it does nothing.

    Args:
        on_first: Called with the first signal's number.
        on_further: Called with those that come while the first is being obeyed.

    Attributes:
        number: The first signal's number; 0 before.
        on_further: As given; it may be set anew.
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
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            self.on_further(number)
        else:
            self.number = number
            self._on_first(number)
