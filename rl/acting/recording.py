"""Records the games that a policy plays, in the format of any other dataset, with its strategies as labels."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from strathack.collect.playing.characters import CharacterWish
from strathack.collect.playing.clock import Clock
from strathack.collect.playing.environment import Setup, nle_version, peek_character, read_log
from strathack.collect.playing.game import Beginning, Ending, finished_game, logged_end
from strathack.collect.playing.recorder import GameRecorder
from strathack.collect.running.provenance import made_now
from strathack.dataset.codec import to_plain
from strathack.dataset.errors import InputError
from strathack.dataset.labels import NO_PUBLISHED_LABEL, UNLABELLED, Vocabulary
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, GAMES_PER_SHARD, game_name
from strathack.dataset.shard import Provenance, encode_shard
from strathack.dataset.writer import DatasetWriter
from strathack.models.cleaved import AnyConfig
from strathack.rl.config import GameConfig
from strathack.rl.environments.simulators import NLESimulator, Observation, Simulator

LEARNING_CLOCK = Clock("seed")
"""The clock of environments that are learned in: moon, day and night come from the seed."""


_CAUSES: Mapping[str, str] = {"abort": "no progress", "demonstrator_error": "no answer"}
"""End → its cause, where nothing of the game tells one."""


@dataclass(frozen=True)
class Recorder:
    """Begins the records of games; it is sent to rollout workers.

    Attributes:
        provenance: The provenance that is written to the shards.
        strategies: The policy's strategies; a name's index is its code. Empty for a flat policy.
        clock: The clock that the games are played at.
    """

    provenance: Provenance
    strategies: tuple[str, ...]
    clock: Clock = LEARNING_CLOCK

    def __call__(self, seed: int, simulator: Simulator, observation: Observation) -> GameRecord:
        """Begins the record of a seed's game; see :data:`strathack.rl.environments.stepping.MakeRecord`."""
        assert isinstance(simulator, NLESimulator), "checked when the recorder is made"
        return GameRecord(self, seed, simulator, observation)


class GameRecord:
    """Records one game; a :class:`strathack.rl.environments.stepping.Record`.

    Args:
        recorder: What all games have in common.
        seed: The game's seed.
        simulator: The simulator that plays the game.
        observation: The game's first observation.
    """

    def __init__(self, recorder: Recorder, seed: int, simulator: NLESimulator, observation: Observation) -> None:
        clock = recorder.clock
        setup = Setup.of_seed(seed, simulator.env.character, clock.fixes_moon_phase)
        self._recorder, self._simulator = recorder, simulator
        self._beginning = Beginning(setup, str(clock), int(time.time()), peek_character(setup))
        self._began = time.monotonic()
        self._steps = GameRecorder(observation, recorder.provenance.observations)

    def step(self, action: int, strategy: int) -> None:
        """Records what is seen now, and the action and strategy that are about to be taken."""
        code = strategy if strategy < len(self._recorder.strategies) else UNLABELLED
        self._steps.record(self._simulator.key(action), code, UNLABELLED, NO_PUBLISHED_LABEL)

    def reward(self, reward: float) -> None:
        """Records the reward that followed."""
        self._steps.record_reward(reward)

    def finish(self, end: str, observation: Observation) -> bytes:
        """Returns the game's shard."""
        self._steps.finish()
        log = read_log(self._simulator.env) if end in ("over", "success") else None
        ending = Ending(end, _CAUSES.get(end, "")) if log is None else Ending(*logged_end(log), log)
        codes = Vocabulary(self._recorder.strategies).codes, Vocabulary(nothing="none").codes
        seconds = time.monotonic() - self._began
        blstats = np.asarray(observation["blstats"])
        game = finished_game(self._steps, self._beginning, ending, blstats, *codes, seconds=seconds)
        return encode_shard(game, self._recorder.provenance)


def recorder_of(env: str, game: GameConfig, policy: AnyConfig, simulator: Simulator, run: Path) -> Recorder:
    """Returns the recorder of a run's games.

    Args:
        env: The environment.
        game: The games' settings.
        policy: The policy that plays.
        simulator: The simulator of the environment.
        run: The run's folder, whose name becomes part of the demonstrator's name.

    Raises:
        InputError: If the environment is not one of NLE or MiniHack.
    """
    if not isinstance(simulator, NLESimulator):
        raise InputError(f"save_games: only games of NLE and MiniHack can be kept, {env} is none of theirs")
    # Datasets keep the name that this setting had when the first of them were recorded.
    settings = {"keys" if name == "actions" else name: value for name, value in to_plain(game).items()}
    options = {"environment": env, **settings, "fix_moon_phase": LEARNING_CLOCK.fixes_moon_phase}
    provenance = provenance_of(f"policy {run.resolve().name}", options, DEFAULT_OBSERVATIONS)
    return Recorder(provenance, policy.strategies)


def provenance_of(player: str, options: Mapping[str, object], observations: tuple[str, ...]) -> Provenance:
    """Returns the provenance of the games that a policy plays.

    Args:
        player: The policy's name.
        options: The settings that decide the games.
        observations: Observation keys that are kept; none to keep only the keys pressed.
    """
    return Provenance(
        observations=observations,
        demonstrator=player,
        demonstrator_version=metadata.version("strathack"),
        nle_version=nle_version(),
        options=json.dumps(options),
        **made_now(),
    )


class SavedGames(AbstractContextManager["SavedGames"]):
    """A dataset folder that a policy's games are added to while it is entered, by several processes at once if need be.

    Each process adds its own games, one file per game. Only the first process holds the folder's lock, writes the
    files that exist once, and merges shards.

    Args:
        path: The folder; a new one, or one with games of the same kind.
        recorder: Records the games.
        first: Whether this is the first of the processes.
        together: Waits for the other processes.

    Attributes:
        recorder: As given.

    Raises:
        InputError: If the folder holds other things, or another run writes to it.
    """

    def __init__(
        self, path: Path, recorder: Recorder, *, first: bool = True, together: Callable[[], None] = lambda: None
    ) -> None:
        self.recorder, provenance = recorder, recorder.provenance
        settings = {"demonstrator": provenance.demonstrator, "options": provenance.options}
        self._writer = DatasetWriter(path, settings, joins=not first)
        self._first, self._together = first, together
        there = self._writer.folder.read_settings()
        if there is not None and not _alike(str(there.get("options")), provenance.options):
            raise InputError(f"save_games: {path} holds games of another kind; take another folder")

    @property
    def count(self) -> int:
        """The number of games in the folder, as far as this process knows."""
        return len(self._writer.present)

    def __enter__(self) -> SavedGames:
        if self._first:
            self._writer.__enter__()
            try:
                self._writer.begin()
            except BaseException:
                self._writer.__exit__()
                raise
        self._together()
        self._writer.look()
        self._together()  # before any process adds a game, which others would count
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.__exit__()

    def add(self, seed: int, shard: bytes) -> None:
        """Writes the game of a seed, unless the folder already has a game of that seed."""
        self._writer.add(game_name(seed), shard)

    def merge(self) -> None:
        """Merges one-game shards into larger ones; to be called when all processes have added their last game."""
        if self._first:
            self._writer.merge(GAMES_PER_SHARD)


def _alike(one: str, other: str) -> bool:
    """Whether two datasets' options are the same; earlier releases kept the character as the user had typed it."""
    try:
        both = [json.loads(text) for text in (one, other)]
    except json.JSONDecodeError:
        return False
    for options in both:
        options["character"] = options.get("character") and CharacterWish.parse(options["character"])
    return bool(both[0] == both[1])
