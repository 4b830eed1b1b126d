"""The clock: the time of day that games see.

NetHack reads the clock: at a full or new moon, on a Friday 13th and at night, a seed gives a different game than at
other times, and a shopkeeper's name depends on the second in which the game began. Therefore libfaketime holds the
clock in the processes that play; where it does not, NLE can at least derive the moon and the night from the seed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from strathack.dataset.codec import TextValue
from strathack.dataset.errors import InputError, RunError

_REAL_TIME = "STRATHACK_REAL_MINUS_MONOTONIC"
_LIBRARY = "vendor", "libfaketime", "src", "libfaketime.so.1"


@dataclass(frozen=True)
class Clock(TextValue):
    """The time of day that games see.

    Attributes:
        kind: ``held`` (at an instant), ``seed`` (NLE derives moon, day and night from the seed; the rest follows
            the real clock) or ``system`` (the real clock).
        instant: The instant of a held clock, in UTC and without a time zone; None for other kinds.
    """

    kind: str
    instant: datetime | None = None

    @classmethod
    def parse(cls, text: str) -> Clock:
        """Reads ``seed``, ``system`` or an instant (ISO 8601; UTC where no zone is given).

        Raises:
            InputError: If the text is none of these.
        """
        if text in ("seed", "system"):
            return cls(text)
        try:
            instant = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            raise InputError(
                f"{text!r} is neither an instant like 2023-10-23T12:00:00 nor 'seed' nor 'system'"
            ) from None
        if instant.tzinfo is not None:
            instant = instant.astimezone(timezone.utc).replace(tzinfo=None)
        return cls("held", instant.replace(microsecond=0))

    def __str__(self) -> str:
        """Returns the text that is stored with every game: the instant, ``seed`` or ``system``."""
        return self.instant.isoformat() if self.instant else self.kind

    @property
    def fixes_moon_phase(self) -> bool:
        """Whether NLE derives the moon, Friday 13th and night from the seed."""
        return self.kind == "seed"

    def environment(self) -> Mapping[str, str]:
        """Returns the environment variables that a process must be started with to play at this clock.

        The monotonic clock and file times stay real: Ray, progress displays and numba's cache need them. The last
        variable makes libfaketime look up the time to show at every call, so that :meth:`hold` works.

        Raises:
            InputError: If the clock is to be held and libfaketime is not installed, or lies at a path that
                ``LD_PRELOAD`` cannot hold.
        """
        if self.instant is None:
            return {}
        preload = os.environ.get("LD_PRELOAD", "")
        library = str(find_library())
        return {
            "LD_PRELOAD": preload if library in preload else f"{library}:{preload}".rstrip(":"),
            "FAKETIME": _faketime(self.instant),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "TZ": "UTC",
            "FAKETIME_NO_CACHE": "1",
        }

    def hold(self) -> None:
        """Makes this process see this clock from now on; the process must have been started under a held clock.

        Raises:
            RunError: If the process was not started under a held clock.
        """
        assert self.instant is not None, "only an instant can be held"
        os.environ["FAKETIME"] = _faketime(self.instant)
        if not self.is_running():
            raise RunError(f"clock: this process does not see {self}; was it started under libfaketime?")

    def is_running(self) -> bool:
        """Returns whether this process sees this clock."""
        if self.instant is None:
            return True
        return int(time.time()) == int(self.instant.replace(tzinfo=timezone.utc).timestamp())


DEFAULT_CLOCK = Clock("held", datetime(2023, 10, 23, 12))
"""Noon on a day that has no special moon and is no Friday 13th; the published HiHack games are consistent with it."""


def _faketime(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S")


def at_second(seconds: int) -> Clock:
    """Returns the clock held at a time that is given in seconds since 1970."""
    return Clock("held", datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None))


def find_library() -> Path:
    """Finds libfaketime's shared library in its Python package.

    Raises:
        InputError: If it is not installed, or its path is one that ``LD_PRELOAD`` cannot hold; the message names the
            clocks that do not need it.
    """
    others = "use --clock seed (moon and night from the seed) or --clock system (the real clock) instead"
    spec = importlib.util.find_spec("libfaketime")
    path = Path(spec.origin).parent.joinpath(*_LIBRARY) if spec is not None and spec.origin is not None else None
    if path is None or not path.is_file():
        raise InputError(
            f"clock: holding it needs libfaketime (Linux, pip install libfaketime), which was not found; {others}"
        )
    if re.search(r"[\s:]", str(path)):
        raise InputError(
            f"clock: holding it needs libfaketime at a path without spaces and colons, but it is {path}; {others}"
        )
    return path


def restart_under(clock: Clock) -> None:
    """Restarts this process with the same command under a held clock; does not return.

    Raises:
        InputError: If libfaketime is not installed.
    """
    environment = {**os.environ, **clock.environment(), _REAL_TIME: repr(time.time() - time.monotonic())}
    environment.pop("FAKETIME_SHARED", None)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, sys.orig_argv, environment)


def hold_here(clock: Clock) -> None:
    """Makes this process play games at a clock; restarts the process under the clock if it does not see it yet.

    Raises:
        InputError: If libfaketime is not installed, or this process runs another program, which is never restarted.
        RunError: If the process was restarted already, and still does not see the clock.
    """
    if clock.is_running():
        return
    if clock.environment().items() <= os.environ.items():
        raise RunError(f"clock: this process does not see {clock}, though it was started under libfaketime")
    if not _is_ours():
        raise InputError(
            "clock: to be held in this process, the program would be started again; "
            "play in processes of their own (workers above 0), or use --clock seed"
        )
    restart_under(clock)


def _is_ours() -> bool:
    """Returns whether this process runs our command line, not another program that calls it."""
    program = sys.modules["__main__"]
    name = getattr(getattr(program, "__spec__", None), "name", None) or Path(getattr(program, "__file__", "")).name
    return str(name).split(".")[0] == "strathack"


def default_clock(*, here: bool) -> Clock:
    """Returns the default clock, for games that are played again.

    Args:
        here: Whether they are played in this process, which is restarted under the clock if it does not see it yet.
    """
    if here:
        hold_here(DEFAULT_CLOCK)
    return DEFAULT_CLOCK


def real_time() -> datetime:
    """Returns the real UTC time, also in a process that was restarted under a held clock."""
    difference = os.environ.get(_REAL_TIME)
    now = time.time() if difference is None else float(difference) + time.monotonic()
    return datetime.fromtimestamp(now, timezone.utc)


def release_shared_memory() -> None:
    """Unlinks the two names that libfaketime keeps in shared memory for this process.

    libfaketime goes on using its mappings; if the process were killed, the names would otherwise be left behind.
    """
    for name in os.environ.get("FAKETIME_SHARED", "").split():
        for prefix in ("", "sem."):
            with suppress(OSError):
                os.unlink(f"/dev/shm/{prefix}{name.lstrip('/')}")
