"""Ends the game of a demonstrator that has stopped acting: AutoAscend occasionally loops without an action."""

from __future__ import annotations

import ctypes
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType

from strathack.collect.playing.session import Session

STUCK_SECONDS = 300.0
"""Seconds without an action after which a demonstrator counts as stuck; AutoAscend's longest pauses last a few."""


class StuckError(SystemExit):
    """A demonstrator has stopped acting. A ``SystemExit``, since bots that catch all errors still let an exit pass."""


class Watchdog(AbstractContextManager["Watchdog"]):
    """Watches a demonstrator that plays in the thread that made the watchdog, and interrupts it if it stops acting.

    Only Python code can be interrupted: a demonstrator that sleeps or computes in a library is interrupted when that
    call returns.

    Args:
        session: The game.
        seconds: Seconds without an action that are tolerated.

    Attributes:
        error: The error that interrupted the demonstrator; None if it was not interrupted.
    """

    def __init__(self, session: Session, seconds: float = STUCK_SECONDS) -> None:
        self.error: StuckError | None = None
        self._session, self._seconds = session, seconds
        self._watched = ctypes.c_ulong(threading.get_ident())
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="strathack-watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._ended.set()
            # An interrupt that was sent but has not arrived yet must not arrive later. Where none was sent, nothing is
            # taken back: on CPython 3.11 the call sets a flag that a traced thread waits for without end.
            if self.error is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(self._watched, None)
        self._thread.join()

    def _watch(self) -> None:
        interval = min(1.0, self._seconds / 10)
        steps, idle, polled = self._session.steps, 0.0, time.monotonic()
        while not self._ended.wait(interval):
            # Time during which the process was suspended does not count as idle.
            waited, polled = min(time.monotonic() - polled, 2 * interval), time.monotonic()
            if self._session.steps != steps:
                steps, idle = self._session.steps, 0.0
                continue
            idle += waited
            if self._session.is_late():
                self._interrupt(StuckError(f"no action since the time limit, after {steps} steps"))
            elif idle > self._seconds:
                self._interrupt(StuckError(f"no action for {self._seconds:g} seconds, after {steps} steps"))

    def _interrupt(self, error: StuckError) -> None:
        with self._lock:
            if not self._ended.is_set():
                self.error = error
                ctypes.pythonapi.PyThreadState_SetAsyncExc(self._watched, ctypes.py_object(StuckError))
