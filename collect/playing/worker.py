"""The worker that plays seeds."""

from __future__ import annotations

from collections.abc import Callable

from strathack.collect.demonstrators import Demonstrator
from strathack.collect.options import DemonstrationOptions
from strathack.collect.playing.game import PlayedGame, play_game
from strathack.collect.running.pools import OnStep
from strathack.collect.running.results import SkippedSeed
from strathack.collect.running.workplace import Workplace
from strathack.dataset.errors import RunError
from strathack.dataset.shard import Provenance


class PlayingWorker:
    """Plays seed after seed in this process; a :class:`strathack.collect.running.pools.Worker`.

    Args:
        options: The options that determine the games.
        demonstrator: Makes the demonstrator that plays them.
        provenance: Stored in the shards.

    Raises:
        RunError: If this process does not see the games' clock.
    """

    def __init__(
        self, options: DemonstrationOptions, demonstrator: Callable[[], Demonstrator], provenance: Provenance
    ) -> None:
        if not options.clock.is_running():
            raise RunError(f"clock: this process does not see {options.clock}; was it started under libfaketime?")
        self._options = options
        self._demonstrator = demonstrator()
        self._provenance = provenance
        self._workplace = Workplace()

    def work(self, payload: int, on_step: OnStep) -> PlayedGame | SkippedSeed:
        """Plays the game of one seed; see :func:`strathack.collect.playing.game.play_game`."""
        return play_game(self._options, self._demonstrator, payload, self._provenance, on_step)

    def warm_up(self) -> None:
        """Compiles and caches what the first game would otherwise have to compile."""
        self._demonstrator.warm_up()

    def close(self) -> None:
        """Removes the scratch folder."""
        self._workplace.close()
