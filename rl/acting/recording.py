"""Takes down the games that a policy plays, in the format of any other dataset, its strategies as labels."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

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
"""Moon, day and night come from the seed in environments that are learned in."""


@dataclass(frozen=True)
class Recorder:
    """Begins to take games down; it travels to workers.

    Attributes:
        provenance: Goes into the shards.
        strategies: The policy's, a name's place being its code; none for a flat one.
        clock: What the games are played at.
    """

    provenance: Provenance
    strategies: tuple[str, ...]
    clock: Clock = LEARNING_CLOCK

    def __call__(self, seed: int, simulator: Simulator, observation: Observation) -> GameRecord:
        """Begins with the game of a seed; see :data:`strathack.rl.environments.stepping.MakeRecord`."""
        assert isinstance(simulator, NLESimulator), "checked when the recorder is made"
        return GameRecord(self, seed, simulator, observation)


class GameRecord:
    """Takes down one game; a :class:`strathack.rl.environments.stepping.Record`.

    Args:
        recorder: What is the same for all games.
        seed: The game's.
        simulator: What plays it.
        observation: Its first.
    """

    def __init__(self, recorder: Recorder, seed: int, simulator: NLESimulator, observation: Observation) -> None:
        clock = recorder.clock
        setup = Setup.of_seed(seed, simulator.env.character, clock.fixes_moon_phase)
        self._recorder, self._simulator = recorder, simulator
        self._beginning = Beginning(setup, str(clock), int(time.time()), peek_character(setup))
        self._began = time.monotonic()
        self._steps = GameRecorder(observation, recorder.provenance.observations)

    def step(self, action: int, strategy: int) -> None:
        """Takes down what is seen now, and what is about to be done."""
        code = strategy if strategy < len(self._recorder.strategies) else UNLABELLED
        self._steps.record(self._simulator.key(action), code, UNLABELLED, NO_PUBLISHED_LABEL)

    def reward(self, reward: float) -> None:
        """Takes down what followed."""
        self._steps.record_reward(reward)

    def finish(self, end: str, observation: Observation) -> bytes:
        """The game's shard."""
        self._steps.finish()
        log = read_log(self._simulator.env) if end in ("over", "success") else None
        ending = Ending(end, "no progress" if end == "abort" else "") if log is None else Ending(*logged_end(log), log)
        codes = Vocabulary(self._recorder.strategies).codes, Vocabulary(nothing="none").codes
        seconds = time.monotonic() - self._began
        blstats = np.asarray(observation["blstats"])
        game = finished_game(self._steps, self._beginning, ending, blstats, *codes, seconds=seconds)
        return encode_shard(game, self._recorder.provenance)


def recorder_of(env: str, game: GameConfig, policy: AnyConfig, simulator: Simulator, run: Path) -> Recorder:
    """What takes down a run's games.

    Args:
        env: The environment.
        game: The games' settings.
        policy: The policy that plays.
        simulator: The environment, as it was made.
        run: The run's folder, which is the demonstrator's name.

    Raises:
        InputError: If the environment is none of NLE's.
    """
    if not isinstance(simulator, NLESimulator):
        raise InputError(f"save_games: only games of NLE and MiniHack can be kept, {env} is none of theirs")
    options = {"environment": env, **to_plain(game), "fix_moon_phase": LEARNING_CLOCK.fixes_moon_phase}
    provenance = provenance_of(f"policy {run.resolve().name}", options, DEFAULT_OBSERVATIONS)
    return Recorder(provenance, policy.strategies)


def provenance_of(player: str, options: Mapping[str, object], observations: tuple[str, ...]) -> Provenance:
    """Where the games that a policy plays come from.

    Args:
        player: The policy's name.
        options: What decides the games.
        observations: Observation keys that are kept; none for the keys pressed alone.
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
    """A dataset folder that takes a policy's games in, while it is entered; several processes may at once.

    Each adds its own games, one file a game; the first alone holds the folder's lock, writes what there is once, and
    merges.

    Args:
        path: The folder; a new one, or one that such games are in.
        recorder: Takes them down.
        first: Whether this is the first of the processes.
        together: Waits for the others.

    Attributes:
        recorder: As given.

    Raises:
        InputError: If it holds other things, or another run writes to it.
    """

    def __init__(
        self, path: Path, recorder: Recorder, *, first: bool = True, together: Callable[[], None] = lambda: None
    ) -> None:
        self.recorder, provenance = recorder, recorder.provenance
        settings = {"demonstrator": provenance.demonstrator, "options": provenance.options}
        self._writer = DatasetWriter(path, settings, joins=not first)
        self._first, self._together = first, together
        there = self._writer.folder.read_settings()
        if there is not None and there.get("options") != provenance.options:
            raise InputError(f"save_games: {path} holds games of another kind; take another folder")

    @property
    def count(self) -> int:
        """How many games there are, as far as this process knows."""
        return len(self._writer.present)

    def __enter__(self) -> SavedGames:
        if self._first:
            self._writer.__enter__()
            self._writer.begin()
        self._together()
        self._writer.look()
        self._together()  # before the first game is added, which others would count
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.__exit__()

    def add(self, seed: int, shard: bytes) -> None:
        """Writes the game of a seed; one of a seed that is there already is left out."""
        self._writer.add(game_name(seed), shard)

    def merge(self) -> None:
        """Merges one-game shards into larger ones. To be called when all have added their last."""
        if self._first:
            self._writer.merge(GAMES_PER_SHARD)
