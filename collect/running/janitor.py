"""Cleans up after a process, however it dies.

A janitor is a small separate process that waits until its master ends, then kills the processes that have a file
open in the master's temporary folder (Ray's processes outlive a killed driver) and removes the folder. It is run by
path and uses only the standard library, so it starts in milliseconds and does not need the installed package.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO

PATIENCE_SECONDS = 30.0
"""How long a janitor keeps trying to kill processes and to remove the folder."""

_SOCKET_PATH_LIMIT, _OWN_NAME = 107, len("/strathack-0123456789ab")
"""The longest path of a Unix socket, and what a scratch folder's own name takes of it."""


class Scratch:
    """A temporary folder for this process, with a janitor that removes it however the process ends.

    When the folder is removed, every other process with a file open in it is killed.

    Args:
        parent: Where to make it; the usual place for temporary files by default.

    Attributes:
        path: The folder.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self.path = (parent or Path(tempfile.gettempdir())) / f"strathack-{uuid.uuid4().hex[:12]}"
        # The janitor runs outside this process's group and working directory, and not under a held clock.
        unwanted = ("LD_PRELOAD", "FAKETIME", "DONT_FAKE", "PYTHON")
        self._janitor = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={key: value for key, value in os.environ.items() if not key.startswith(unwanted)},
        )
        # The janitor forks at once, since Ray kills the children of a worker that it ends. This process may be killed
        # at any point, so the folder is made only when its janitor is running.
        if self._janitor.wait():
            raise RuntimeError(f"the janitor of {self.path} could not be started (status {self._janitor.returncode})")
        self.path.mkdir(mode=0o700)

    def close(self) -> None:
        """Has the janitor clean up now, and waits until it has finished."""
        assert self._janitor.stdin is not None
        assert self._janitor.stdout is not None
        self._janitor.stdin.close()
        self._janitor.stdout.read()
        self._janitor.stdout.close()


def scratch_for_sockets(below: int) -> Scratch:
    """Makes a temporary folder whose path is short enough for the Unix sockets in it.

    Args:
        below: Characters of a socket's path below the folder.
    """
    usual = Path(tempfile.gettempdir())
    return Scratch(usual if len(str(usual)) + _OWN_NAME + below <= _SOCKET_PATH_LIMIT else Path("/tmp"))


def clean(master: int, folder: str, since: float) -> None:
    """Kills the processes that use a folder and removes it, repeatedly, until it is gone or the time is up.

    A dying process may still write into the folder, so killing and removing take turns.

    Args:
        master: A process that is never killed; it is still alive if it closed its janitor itself.
        folder: The folder.
        since: When the janitor started, in seconds since 1970.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    killed: set[int] = set()
    while time.monotonic() < deadline:
        users = [process for process in _users(folder) if process not in (master, os.getpid())]
        killed.update(users)
        dying = not all(_is_gone(process) for process in killed)  # their shared memory is removed when they are gone
        for process in users:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        sweep_shared_memory(since)
        if not users and not dying and not os.path.exists(folder):
            return
        time.sleep(0.05)


def _users(folder: str) -> list[int]:
    """Returns the processes with a file open below a folder. Linux only; elsewhere it finds none."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended, or is another user's
            if any(os.readlink(file).startswith(folder + "/") for file in (entry / "fd").iterdir()):
                found.append(int(entry.name))
    return found


def sweep_shared_memory(since: float) -> None:
    """Removes libfaketime's shared memory of our processes that began after ``since`` and have ended.

    A worker unlinks its own as soon as it runs; a worker that is killed while it starts does not get that far.
    """
    for entry in Path("/dev/shm").glob("*faketime_s[eh]m_*"):
        process = entry.name.rpartition("_")[2]
        with suppress(OSError):
            status = entry.stat()
            ours = status.st_uid == os.getuid() and status.st_mtime >= since
            if ours and process.isdigit() and _is_gone(int(process)):
                entry.unlink()


def _is_gone(process: int) -> bool:
    """Returns whether a process has ended, even if its parent has not read its exit status yet. Linux only."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def _main(master: int, folder: str, standard_input: IO[bytes]) -> None:
    since = time.time() - 1
    if os.fork():
        os._exit(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    standard_input.read()  # returns when the master has closed its end or has died
    clean(master, folder, since)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.stdin.buffer)
