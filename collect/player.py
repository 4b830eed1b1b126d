"""What plays games in a process, be it a Ray worker or the command's own."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable

from strathack.collect.clock import release_shared_memory
from strathack.collect.config import GameOptions
from strathack.collect.demonstrators import Demonstrator
from strathack.collect.game import PlayedGame, SkippedSeed, play_game
from strathack.collect.janitor import Scratch
from strathack.dataset.errors import RunError
from strathack.dataset.shard import Provenance

_PR_SET_PDEATHSIG = 1


class Player:
    """Plays seed after seed in this process.

    NLE's temporary folders go into a scratch folder that a janitor removes, however the process ends.

    Args:
        options: What decides the games.
        demonstrator: Plays them.
        provenance: Goes into the shards.

    Raises:
        RunError: If this process does not run at the games' clock.
    """

    def __init__(self, options: GameOptions, demonstrator: Demonstrator, provenance: Provenance) -> None:
        release_shared_memory()
        if not options.clock.is_running():
            raise RunError(f"clock: this process does not see {options.clock}; was it started under libfaketime?")
        logging.getLogger("nle").setLevel(logging.WARNING)
        self._options = options
        self._demonstrator = demonstrator
        self._provenance = provenance
        self._before = tempfile.tempdir
        self._scratch = Scratch()
        tempfile.tempdir = str(self._scratch.path)

    def play(self, seed: int, on_step: Callable[[int], None] | None = None) -> PlayedGame | SkippedSeed:
        """Plays the game of one seed; see :func:`strathack.collect.game.play_game`."""
        return play_game(self._options, self._demonstrator, seed, self._provenance, on_step)

    def warm_up(self) -> None:
        """Compiles and caches what a first game would compile."""
        self._demonstrator.warm_up()

    def close(self) -> None:
        """Removes the scratch folder."""
        tempfile.tempdir = self._before
        self._scratch.close()


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent dies; a Ray worker outlives its raylet otherwise."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it died before
            os.kill(os.getpid(), signal.SIGKILL)
