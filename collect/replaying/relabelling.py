"""Plays imported AutoAscend games again to record their true strategies.

The instrumented bot plays the recorded seed at the recorded clock, and every key that it presses is compared with the
recording. If all keys agree, the labels of the played game are also those of the recorded game.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from strathack.collect.demonstrators import Demonstrator, choose_demonstrator, make_demonstrator
from strathack.collect.demonstrators.base import played_by
from strathack.collect.options import AUTOASCEND
from strathack.collect.playing.environment import challenge, nle_version, read_log
from strathack.collect.playing.game import let_play
from strathack.collect.playing.recorder import GameRecorder
from strathack.collect.playing.session import Session
from strathack.collect.playing.tracker import LabelTracker
from strathack.collect.replaying.expanding import StoredKeys, expanded, work_on
from strathack.collect.replaying.replay import DepartedError, Recording, Replayed, check_replayed
from strathack.collect.running.display import Report
from strathack.collect.running.jobs import Work
from strathack.collect.running.pools import OnStep
from strathack.collect.running.provenance import made_now
from strathack.collect.running.results import GameShard, JobResult, Refused
from strathack.collect.running.workplace import Workplace
from strathack.dataset.copying import one_game_shard
from strathack.dataset.errors import InputError
from strathack.dataset.options import WorkerOptions
from strathack.dataset.reading import Dataset, Game
from strathack.dataset.schema import ORIGINS
from strathack.dataset.shard import GameData, Provenance, encode_shard, with_attributes

NOTE = "relabel_note"
"""The attribute of a game that tells why it could not be relabelled."""


class FollowedSession(Session):
    """A session that ends when the demonstrator presses another key than the recorded one, or after the last key.

    Attributes:
        parted: The step at which the demonstrator pressed another key, or None.
    """

    def __init__(self, *args: Any, actions: np.ndarray, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parted: int | None = None
        self._followed: list[int] = actions.tolist()

    def step(self, action: int) -> tuple[Mapping[str, np.ndarray], float, bool]:
        """Plays one action if it is the recorded one; see :meth:`Session.step`."""
        goes_on = self.end is None and self.steps < len(self._followed)
        if goes_on and action != self._followed[self.steps]:
            self.parted = self.steps
            self.end = "parted"
            return self.observation, 0.0, True
        observation, reward, done = super().step(action)
        if not done and self.steps == len(self._followed):
            self.end = "recording_cut"
            done = True
        return observation, reward, done


@dataclass(frozen=True)
class RelabelJob:
    """A recorded game: what is needed to play it again, and its shard, unchanged."""

    stored: StoredKeys
    shard: bytes

    @classmethod
    def of(cls, game: Game) -> RelabelJob:
        """The job of a stored game."""
        return cls(StoredKeys.of(game), one_game_shard(game))


class Relabeller:
    """Plays recorded games again; a :class:`strathack.collect.running.pools.Worker`.

    Args:
        observations: Observation keys to keep.
        made: The part of the provenance that is new in every run.
    """

    def __init__(self, observations: tuple[str, ...], made: Mapping[str, str]) -> None:
        self._observations, self._made = observations, made
        self._demonstrator = make_demonstrator(AUTOASCEND)
        self._workplace = Workplace()

    def work(self, payload: RelabelJob, on_step: OnStep) -> GameShard:
        """Plays one game again; if it cannot be reproduced, returns it unchanged with a note."""
        game = payload.stored.game
        name, steps = game.row["game"].item().decode(), len(game.actions)
        try:
            labelled = played_by(
                self._demonstrator, lambda player: relabelled(game, player, self._observations, on_step)
            )
        except (DepartedError, InputError) as error:
            shard = with_attributes(payload.shard, name, {NOTE: str(error)})
            return GameShard(name=name, steps=steps, shard=shard, note=str(error))
        provenance = Provenance(
            observations=self._observations,
            demonstrator=self._demonstrator.name,
            demonstrator_version=self._demonstrator.version,
            nle_version=nle_version(),
            options=payload.stored.provenance.options,
            **self._made,
        )
        return GameShard(name=name, steps=steps, shard=encode_shard(labelled, provenance))

    def warm_up(self) -> None:
        """Compiles and caches what the first game would otherwise have to compile."""
        self._demonstrator.warm_up()

    def close(self) -> None:
        """Removes the scratch folder."""
        self._workplace.close()


def relabelled(game: GameData, demonstrator: Demonstrator, observations: tuple[str, ...], on_step: OnStep) -> GameData:
    """Plays a recorded game again and returns it with the demonstrator's labels.

    ``hihack_strategy`` is kept from the recording, if the recording has it.

    Args:
        game: The recorded game.
        demonstrator: The demonstrator that played it.
        observations: Observation keys to keep.
        on_step: Called after each step with the number of steps so far.

    Raises:
        DepartedError: If the demonstrator presses another key, the game is over before the recording's last key, or
            the published labels differ.
        PlayAgainError: If another demonstrator has to play the game.
        InputError: If the game has no keys, seed or clock.
    """
    recording = Recording.of_game(game)
    recording.clock.hold()
    with challenge(recording.setup) as (env, observation):
        recorder, labels = GameRecorder(observation, observations), demonstrator.make_labels()
        seed = recording.setup.core
        session = FollowedSession(env, observation, seed, recorder, labels, actions=recording.actions, on_step=on_step)
        let_play(demonstrator, session)
        recorder.finish()
        _check_followed(session, recorder, game)
        played = Replayed(recorder, recorder.rewards, read_log(env))
    check_replayed(game, played)
    return _with_labels(expanded(game, played), recorder, labels, demonstrator.bot)


def _check_followed(session: FollowedSession, recorder: GameRecorder, game: GameData) -> None:
    if session.parted is not None:
        raise DepartedError(session.parted, f"the bot presses another key at step {session.parted}")
    steps = len(game.actions)
    if recorder.steps != steps:
        raise DepartedError(recorder.steps, f"the bot's game is over after {recorder.steps} of {steps} keys")
    differs = (game.hihack_strategy >= 0) & (game.hihack_strategy != recorder.published)
    if differs.any():
        step = int(np.argmax(differs))
        raise DepartedError(step, f"the published label at step {step} is not what its rule gives")


def _with_labels(game: GameData, recorder: GameRecorder, labels: LabelTracker, bot: str) -> GameData:
    row = np.array(game.row)
    row["origin"] = ORIGINS["played"]
    published = game.hihack_strategy if (game.hihack_strategy >= 0).any() else recorder.published
    return replace(
        game,
        row=row,
        strategy=recorder.strategy,
        substrategy=recorder.substrategy,
        hihack_strategy=published,
        strategy_codes=labels.strategy_codes,
        substrategy_codes=labels.substrategy_codes,
        attributes={name: text for name, text in game.attributes.items() if name != NOTE} | {"bot": bot},
    )


def relabelling(
    dataset: Dataset, observations: tuple[str, ...], where: WorkerOptions, *, retries: int = 2, quiet: bool = False
) -> Work:
    """Returns the jobs that play every game of a dataset again, by game name.

    With 0 workers, this process is restarted under the default clock.

    Args:
        dataset: The games.
        observations: Observation keys to keep.
        where: How many workers play them, and where.
        retries: How often a game is tried again after its worker died.
        quiet: Whether to print a line about each game.

    Raises:
        InputError: If AutoAscend is not installed.
    """
    choose_demonstrator(AUTOASCEND)  # raises before anything starts
    factory = partial(Relabeller, observations, made_now())
    return work_on(dataset, factory, RelabelJob.of, partial(_described, quiet), where, retries)


def _described(quiet: bool, name: str, game: JobResult) -> Report:
    if isinstance(game, Refused):
        return Report(f"{name}: {game.reason}", failed=True)
    assert isinstance(game, GameShard), "a game that cannot be relabelled stays as it was"
    if game.note:
        return Report(f"{name}: published labels only, {game.note}", failed=True)
    return Report(f"{name}: {game.steps} steps relabelled" if quiet else "")
