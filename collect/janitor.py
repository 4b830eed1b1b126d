"""Cleans up after a process, however it dies.

A janitor is a small process of its own that waits for its master's end and then kills the processes marked
with the master's token and removes its temporary folders. It is run by path, with nothing but the standard
library, so it starts in milliseconds and needs nothing of the installed package.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

MARK = "STRATHACK_RUN"
"""Environment variable that marks the processes of a run."""

PATIENCE_SECONDS = 30.0
"""How long a janitor goes on killing and removing what does not go away."""


class Janitor:
    """A janitor for this process.

    Args:
        folders: Removed at the end, with all they hold.
        token: Processes whose environment had ``STRATHACK_RUN`` at this value when they started are killed at
            the end; None for none.
    """

    def __init__(self, folders: list[Path], token: str | None = None) -> None:
        # Away from this process's group and working directory, and not under a held clock.
        unwanted = (MARK, "LD_PRELOAD", "FAKETIME", "DONT_FAKE", "PYTHON")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, token or "", *map(str, folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env=environment,
        )
        self._process.wait()  # it forks at once: Ray kills the children of its workers when they end

    def dismiss(self) -> None:
        """Lets it do its work now, and waits until it has."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.read()
        self._process.stdout.close()


def clean(token: str, folders: list[str]) -> None:
    """Kills what is marked and removes folders, again and again until nothing is left or patience is at its end.

    A dying process may still write into a folder, so both are done in turn.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        killed = _kill_marked(token) if token else 0
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        if not killed and not any(os.path.exists(folder) for folder in folders):
            return
        time.sleep(0.05)


def _kill_marked(token: str) -> int:
    """Kills every process that started with the mark; returns how many there were. Linux only."""
    mark = f"{MARK}={token}".encode()
    killed = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
                killed += 1
    return killed


def _main(arguments: list[str], standard_input: IO[bytes]) -> None:
    if os.fork():
        os._exit(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    standard_input.read()  # returns when the master has closed its end, by its own will or by its death
    clean(arguments[0], arguments[1:])


if __name__ == "__main__":
    _main(sys.argv[1:], sys.stdin.buffer)
