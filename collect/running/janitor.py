"""Cleans up after a process, however it dies.

A janitor is a small process of its own that waits for its master's end, then kills the processes that have a
file open in the master's temporary folders (Ray's outlive a killed driver) and removes those folders. It is run
by path, with nothing but the standard library, so it starts in milliseconds and needs nothing of the installed
package.
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
"""How long a janitor goes on killing and removing what does not go away."""


class Scratch:
    """A temporary folder for this process, with a janitor that removes it however the process ends.

    Every other process with a file open in the folder is killed then.

    Args:
        parent: Where to make it; the usual place for temporary files by default.

    Attributes:
        path: The folder.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self.path = (parent or Path(tempfile.gettempdir())) / f"strathack-{uuid.uuid4().hex[:12]}"
        # Away from this process's group and working directory, and not under a held clock.
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
        # It forks at once, since Ray kills the children of a worker that it ends. This process may be killed at any
        # point, so the folder is made only when its janitor is there.
        if self._janitor.wait():
            raise RuntimeError(f"the janitor of {self.path} could not be started (status {self._janitor.returncode})")
        self.path.mkdir(mode=0o700)

    def close(self) -> None:
        """Has the janitor do its work now, and waits until it has."""
        assert self._janitor.stdin is not None
        assert self._janitor.stdout is not None
        self._janitor.stdin.close()
        self._janitor.stdout.read()
        self._janitor.stdout.close()


def clean(master: int, folder: str, since: float) -> None:
    """Kills who uses a folder and removes it, again and again until it is gone or patience is at its end.

    A dying process may still write into the folder, so both are done in turn.

    Args:
        master: Never killed: it may be alive, having dismissed its janitor.
        folder: The folder.
        since: When the master was young, seconds since 1970.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    killed: set[int] = set()
    while time.monotonic() < deadline:
        users = [process for process in _users(folder) if process not in (master, os.getpid())]
        killed.update(users)
        dying = not all(_is_gone(process) for process in killed)  # what they shared is swept once they are gone
        for process in users:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        sweep_shared_memory(since)
        if not users and not dying and not os.path.exists(folder):
            return
        time.sleep(0.05)


def _users(folder: str) -> list[int]:
    """Processes with a file open below a folder. Linux only; elsewhere there are none."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if any(os.readlink(file).startswith(folder + "/") for file in (entry / "fd").iterdir()):
                found.append(int(entry.name))
    return found


def sweep_shared_memory(since: float) -> None:
    """Removes what libfaketime kept in shared memory for processes of ours that began since then and are gone.

    A worker unlinks its own as soon as it runs; one that is killed while it starts has not come to that.
    """
    for entry in Path("/dev/shm").glob("*faketime_s[eh]m_*"):
        process = entry.name.rpartition("_")[2]
        with suppress(OSError):
            status = entry.stat()
            ours = status.st_uid == os.getuid() and status.st_mtime >= since
            if ours and process.isdigit() and _is_gone(int(process)):
                entry.unlink()


def _is_gone(process: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its status yet. Linux only."""
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
    standard_input.read()  # returns when the master has closed its end, by its own will or by its death
    clean(master, folder, since)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.stdin.buffer)
