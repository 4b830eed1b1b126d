"""What every process that runs the simulator needs, whether a Ray worker or the command's own process."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import tempfile

from strathack.collect.playing.clock import release_shared_memory
from strathack.collect.running.janitor import Scratch

_PR_SET_PDEATHSIG = 1


def usable_cores() -> int:
    """Returns how many cores this process may run on, which are fewer than there are where a scheduler allots some."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workplace:
    """Puts NLE's temporary folders into a scratch folder, which a janitor removes however the process ends.

    Attributes:
        scratch: The scratch folder.
    """

    def __init__(self) -> None:
        release_shared_memory()
        logging.getLogger("nle").setLevel(logging.WARNING)
        self._before = tempfile.tempdir
        self._scratch = Scratch()
        self.scratch = self._scratch.path
        tempfile.tempdir = str(self.scratch)

    def close(self) -> None:
        """Removes the scratch folder."""
        tempfile.tempdir = self._before
        self._scratch.close()


def die_with_parent(parent: int | None) -> None:
    """Has the kernel kill this process when its parent dies.

    Args:
        parent: The parent's process id, by which this process detects that its parent has died already; in a container
            it may be 1. None if it is not known.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if parent is not None and os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def die_with_raylet() -> None:
    """Has the kernel kill this Ray worker when its raylet dies, which the worker would otherwise outlive."""
    raylet = os.environ.get("RAY_RAYLET_PID", "")
    die_with_parent(int(raylet) if raylet.isdigit() else None)
