"""Replays keys-only games into full ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

from strathack.collect.playing.clock import default_clock
from strathack.collect.playing.environment import nle_version, peek_character
from strathack.collect.playing.game import columns_of, logged_end, progression
from strathack.collect.playing.recorder import Reached
from strathack.collect.playing.xlogfile import LogEntry
from strathack.collect.replaying.replay import Check, DepartedError, Recording, Replayed, check_replayed, replay
from strathack.collect.running.display import Report
from strathack.collect.running.jobs import Work, Workers
from strathack.collect.running.pools import Factory, OnStep
from strathack.collect.running.provenance import made_now
from strathack.collect.running.results import GameShard, JobResult, Refused, Verified
from strathack.collect.running.workplace import Workplace
from strathack.dataset.errors import InputError
from strathack.dataset.keys import keys_only
from strathack.dataset.options import WorkerOptions
from strathack.dataset.reading import Dataset, Game
from strathack.dataset.schema import (
    COMPLETENESS,
    DUNGEON_NAMES,
    DUNGEONS,
    ENDS,
    FRAME_CHUNK_STEPS,
    ORIGINS,
    text_of,
)
from strathack.dataset.shard import GameData, Provenance, encode_shard
from strathack.dataset.verify import running_digests


@dataclass(frozen=True)
class StoredKeys:
    """A game to be replayed, without any frames, and its provenance.

    Attributes:
        game: The game.
        provenance: Its provenance.
        screens: Of a game without a digest of its frames, as imported ones are, those of the terminal's arrays that are
            stored, which alone tell whether a replay is that game: key → its digests; see
            :func:`strathack.dataset.verify.running_digests`.
    """

    game: GameData
    provenance: Provenance
    screens: Mapping[str, Sequence[bytes]] = field(default_factory=dict)

    @classmethod
    def of(cls, game: Game) -> StoredKeys:
        """Those of a stored game, without its screens."""
        return cls(keys_only(game), game.provenance)

    @classmethod
    def with_screens(cls, game: Game) -> StoredKeys:
        """Those of a stored game, with its screens where nothing else tells them."""
        keys = [] if game.row["frames_sha256"] else [key for key in game.obs if key.startswith("tty_")]
        return cls(keys_only(game), game.provenance, {key: running_digests(game.obs[key]) for key in keys})

    def check(self) -> Check | None:
        """Returns a check of each step of a replay against the stored screens; None if there are none."""
        if not self.screens:
            return None
        seen, last = {key: sha256() for key in self.screens}, len(self.game.actions) - 1

        def check(step: int, observation: Mapping[str, np.ndarray]) -> None:
            number, place = divmod(step, FRAME_CHUNK_STEPS)
            for key, digests in self.screens.items():
                seen[key].update(np.ascontiguousarray(observation[key]).data)
                ends = place == FRAME_CHUNK_STEPS - 1 or step == last
                if ends and seen[key].digest() != digests[number]:
                    first = number * FRAME_CHUNK_STEPS
                    raise DepartedError(
                        first, f"the replay shows other screens, first between steps {first} and {step} ({key})"
                    )

        return check


class Expander:
    """Replays game after game; a :class:`strathack.collect.running.pools.Worker`.

    Args:
        observations: Observation keys to keep, or None to check the digest alone.
        made: The part of the provenance that is new in every run.
    """

    def __init__(self, observations: tuple[str, ...] | None, made: Mapping[str, str]) -> None:
        self._observations, self._made = observations, made
        self._workplace = Workplace()

    def work(self, payload: StoredKeys, on_step: OnStep) -> GameShard | Verified | Refused:
        """Replays one game; returns ``Refused`` if it cannot be reproduced."""
        game = payload.game
        name = game.row["game"].item().decode()
        try:
            replayed = replay(Recording.of_game(game), self._observations or (), on_step, payload.check())
            check_replayed(game, replayed)
        except (DepartedError, InputError) as error:
            return Refused(str(error))
        if self._observations is None:
            return Verified(len(game.actions))
        provenance = replace(
            payload.provenance, observations=self._observations, nle_version=nle_version(), **self._made
        )
        shard = encode_shard(expanded(game, replayed), provenance)
        return GameShard(name=name, steps=len(game.actions), shard=shard)

    def warm_up(self) -> None:
        """Does nothing: no preparations are slow."""

    def close(self) -> None:
        """Removes the scratch folder."""
        self._workplace.close()


def expanded(game: GameData, replayed: Replayed) -> GameData:
    """Returns a keys-only game with the data of its replay; this process must hold the game's clock.

    Raises:
        InputError: If the game's seed or clock is not known.
    """
    row = np.array(game.row)
    row["origin"] = ORIGINS["replayed"]
    row["frames_sha256"] = replayed.frames.frames_sha256.encode()
    attributes = dict(game.attributes)
    if row["end"] == ENDS["unknown"] and replayed.log is not None:  # the replay shows how it ended
        _end_as_logged(row, replayed.log)
        attributes["xlogfile"] = replayed.log.line
    _fill_in(row, replayed.frames.reached)
    if not row["role"]:
        for name, value in columns_of(peek_character(Recording.of_game(game).setup)).items():
            row[name] = value.encode()
    return replace(
        game,
        row=row,
        frames=replayed.frames.chunks,
        rewards=replayed.rewards,
        checkpoints=replayed.frames.checkpoints,
        attributes=attributes,
    )


def _end_as_logged(row: np.ndarray, log: LogEntry) -> None:
    end, cause = logged_end(log)
    row["end"], row["cause"], row["completeness"] = ENDS[end], text_of("cause", cause), COMPLETENESS["complete"]
    row["score"], row["turns"] = log.whole("points", -1, "score"), log.whole("turns", -1, "turns")


def _fill_in(row: np.ndarray, reached: Reached) -> None:
    """Fills in how far the game came, where that was not known."""
    if reached.max_depth >= row["max_depth"]:  # a depth that was reached with the last key is in the log only
        row["max_depth"] = reached.max_depth
        row["deepest_dungeon"] = DUNGEONS[DUNGEON_NAMES.get(reached.deepest_dungeon, "unknown")]
    row["experience_level"] = max(reached.experience_level, int(row["experience_level"]))
    if row["turns"] < 0:
        row["turns"] = reached.turns
    if np.isnan(row["progression"]):
        row["progression"] = progression(reached.places, ascended=bool(row["end"] == ENDS["ascended"]))


def replaying(
    dataset: Dataset,
    observations: tuple[str, ...] | None,
    where: WorkerOptions,
    *,
    retries: int = 2,
    quiet: bool = False,
) -> Work:
    """Returns the jobs that replay every game of a dataset, by game name.

    With 0 workers, this process is restarted under the default clock.

    Args:
        dataset: The games.
        observations: Observation keys to keep, or None to check the digest alone.
        where: How many workers replay them, and where.
        retries: How often a game is tried again after its worker died.
        quiet: Whether to print a line about each game.
    """
    factory = partial(Expander, observations, made_now())
    return work_on(dataset, factory, StoredKeys.with_screens, partial(_described, quiet), where, retries)


def work_on(
    dataset: Dataset,
    factory: Factory,
    load: Callable[[Game], Any],
    describe: Callable[[Any, JobResult], Report],
    where: WorkerOptions,
    retries: int,
) -> Work:
    """Returns one job for each game of a dataset, by game name, done under the default clock.

    With 0 workers, this process is restarted under the default clock.

    Args:
        dataset: The games.
        factory: Makes a worker.
        load: Makes what a worker needs of a game.
        describe: Describes a job's result for the display.
        where: How many workers there are, and where.
        retries: How often a game is tried again after its worker died.
    """
    clock = default_clock(here=where.workers == 0)
    return Work(
        jobs={name: name for name in dataset.names},
        by=Workers(factory, where, clock.environment()),
        describe=describe,
        load=lambda name: load(dataset[name]),
        retries=retries,
        made_of=dataset,
    )


def _described(quiet: bool, name: str, result: JobResult) -> Report:
    if isinstance(result, Refused):
        return Report(f"{name}: {result.reason}", failed=True)
    assert isinstance(result, GameShard | Verified), "games come back or not"
    return Report(f"{name}: {result.steps} steps came back" if quiet else "")
