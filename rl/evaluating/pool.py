"""An evaluation: a player plays every seed exactly once, each game to its end, many games at a time."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import h5py
import numpy as np
import torch

from strathack.collect.running.pools import POLL_SECONDS, Failed, Finished, Outcome
from strathack.collect.running.results import GameShard
from strathack.dataset.schema import game_name, row_values
from strathack.models.cores import State
from strathack.rl.acting.inference import GroupState, Place, Player, choose, hand_out
from strathack.rl.acting.memory import Layout
from strathack.rl.acting.serving import WorkerSpec
from strathack.rl.acting.workers import Began, Ready, RolloutWorkers, Shard
from strathack.rl.environments.stepping import NOWHERE, EnvGroup, make_group

NO_SEED = -1
"""Stands in the place of a lane's next seed if there is none."""

NEXT_SEED = "next_seed"
"""The name of the array that holds the next seed of each lane, i64 [lanes]."""

STEPPING = "stepping"
"""The name of the array that holds the number of the lane which is being stepped, i64 [1]; see :class:`EnvGroup`."""


class Evaluable(Player, Protocol):
    """A player that can be evaluated.

    Attributes:
        actions: The names of its actions.
        observations: The observation keys that it needs.
        strategies: The names of its strategies; empty for a flat policy.
    """

    actions: tuple[str, ...]
    observations: tuple[str, ...]
    strategies: tuple[str, ...]


def uniforms(seeds: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Returns numbers that decide a game's draws; they depend on its seed and step alone, not on other games.

    The finaliser of SplitMix64 computes them (Steele et al., "Fast Splittable Pseudorandom Number Generators", 2014).

    Args:
        seeds: i64 [B].
        steps: i64 [B].

    Returns:
        Two numbers from [0, 1) for each game, multiples of 2⁻²³, f32 [B, 2].
    """
    with np.errstate(over="ignore"):
        streams = _mixed(seeds.astype(np.uint64))[:, None]
        counts = 2 * steps.astype(np.uint64)[:, None] + np.array([1, 2], np.uint64)
        bits = _mixed(streams + counts * np.uint64(0x9E3779B97F4A7C15))
    return (bits >> np.uint64(41)).astype(np.float32) * np.float32(2.0**-23)


def _mixed(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class _HandedOut:
    """Iterates over the seeds handed out to a lane; stops while there is none, continues once there is another."""

    def __init__(self, place: np.ndarray) -> None:
        self._place = place

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        seed = int(self._place[0])
        if seed == NO_SEED:
            raise StopIteration
        self._place[0] = NO_SEED
        return seed


@dataclass(frozen=True)
class EvaluationSpec(WorkerSpec):
    """What a rollout worker does in an evaluation: its lanes play the seeds that are handed out to them."""

    @property
    def layout(self) -> Layout:
        """The layout of an env group's arrays: a slot of two rows, written in turn; next seeds; the lane at work."""
        return {**super().layout, NEXT_SEED: ((self.envs,), np.dtype("<i8")), STEPPING: ((1,), np.dtype("<i8"))}

    def make_group(self, place: tuple[int, ...], arrays: Mapping[str, np.ndarray]) -> EnvGroup:
        """See :class:`strathack.rl.acting.serving.WorkerSpec`."""
        arrays = dict(arrays)
        places, stepping = arrays.pop(NEXT_SEED), arrays.pop(STEPPING)
        seeds = [_HandedOut(places[lane : lane + 1]) for lane in range(self.envs)]
        return make_group(self.lane, seeds, arrays, self.make_record, stepping)


@dataclass(frozen=True, kw_only=True)
class EvaluatedGame(GameShard):
    """A game that was played to its end.

    Attributes:
        info: The game's row of ``/games``, as plain values.
    """

    info: Mapping[str, Any]

    @classmethod
    def of_seed(cls, seed: int, shard: bytes) -> EvaluatedGame:
        """Makes the game of a seed, with its info read from its shard."""
        with h5py.File(io.BytesIO(shard), "r") as file:
            info = row_values(file["games"][0])
        return cls(name=game_name(seed), steps=int(info["steps"]), shard=shard, info=info)


class GroupOfSeeds(GroupState):
    """The state of an env group, with its seeds.

    Args:
        arrays: The env group's arrays.
        state: The player's state before a game.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], state: State) -> None:
        super().__init__({name: array for name, array in arrays.items() if name not in (NEXT_SEED, STEPPING)}, state)
        self.next_seeds, self.stepping = arrays[NEXT_SEED], arrays[STEPPING]
        self.next_seeds[:], self.stepping[:] = NO_SEED, NOWHERE
        self.seeds = np.full(self.lanes, NO_SEED, np.int64)
        self.played = np.zeros(self.lanes, np.int64)
        self.parked: int | None = None


class SeedPool(ABC):
    """Plays seeds with rollout workers; a :class:`strathack.collect.running.pools.Pool`, whose jobs are seeds.

    Args:
        workers: The rollout workers, which step the games.
        initial_state: The player's state before a game, of as many lanes as an env group has.
    """

    def __init__(self, workers: RolloutWorkers, initial_state: State) -> None:
        self._workers, self._initial_state = workers, initial_state
        self._lanes = len(workers.arrays) * workers.spec.envs
        self._groups: dict[int, GroupOfSeeds] = {}
        self._waiting: deque[int] = deque()
        self._playing: set[int] = set()
        self._steps = 0

    @property
    def running(self) -> int:
        """The number of games that are under way or about to begin."""
        return len(self._playing) + len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether another seed can be queued; the queue is long enough that no lane has to wait for a seed."""
        return len(self._waiting) < self._lanes

    def submit(self, job: Any, payload: Any) -> None:
        """Queues a seed."""
        self._waiting.append(job)

    @abstractmethod
    def poll(self) -> Sequence[Outcome]:
        """Plays on for a moment; returns the games that ended or failed.

        Raises:
            RunError: If the rollout workers cannot go on.
        """

    def heard(self, timeout: float, wanted: int) -> tuple[list[Outcome], list[Place]]:
        """Hears what the rollout workers have done, and hands out seeds.

        Args:
            timeout: Seconds to wait for the first news.
            wanted: Env groups to wait for a few milliseconds longer.

        Returns:
            The games that ended or failed, and the rows to act on.

        Raises:
            RunError: If the rollout workers cannot go on.
        """
        outcomes: list[Outcome] = []
        ready = []
        for event in self._workers.gathered(timeout, wanted):
            if isinstance(event, Ready):
                ready.append((event.index, event.row))
            elif isinstance(event, Shard):
                self._playing.discard(event.seed)
                outcomes.append(Finished(event.seed, EvaluatedGame.of_seed(event.seed, event.content)))
            elif isinstance(event, Began):
                outcomes += self._begin(event)
        if self._waiting:
            ready += [(index, one.parked) for index, one in self._groups.items() if one.parked is not None]
        places = [Place(index, self._groups[index], 0, row) for index, row in ready]
        return outcomes, [place for place in places if self._goes_on(self._groups[place.index], place.row)]

    def _begin(self, began: Began) -> list[Outcome]:
        """Lets a worker's env groups begin; returns what failed with the worker that it replaces, see :meth:`_lost`."""
        failed = self._lost([self._groups[index] for index in began.groups if index in self._groups], began.lost)
        for index in began.groups:
            one = GroupOfSeeds(self._workers.arrays[index], self._initial_state)
            self._groups[index] = one
            self._hand_out(one, np.arange(one.lanes))
            self._workers.begin(index, 0)
        return failed

    def _lost(self, groups: Sequence[GroupOfSeeds], why: str) -> list[Outcome]:
        """Returns as failed the games that were being stepped when their worker was lost; queues the others again.

        If none was being stepped, all count as failed, since any of them may be the cause.
        """
        lost, failed = [], []
        for one in groups:
            playing = [int(seed) for seed in one.seeds if int(seed) in self._playing]
            lane = int(one.stepping[0])
            lost += playing
            if lane != NOWHERE and int(one.seeds[lane]) in playing:
                failed.append(int(one.seeds[lane]))
        if failed:
            self._workers.excuse()
        failed = failed or lost
        self._playing -= set(lost)
        self._waiting.extendleft(seed for seed in reversed(lost) if seed not in failed)
        return [Failed(seed, f"what played it {why}") for seed in failed]

    def _hand_out(self, one: GroupOfSeeds, lanes: np.ndarray) -> None:
        for lane in lanes:
            seed = self._waiting.popleft() if self._waiting else NO_SEED
            one.seeds[lane] = one.next_seeds[lane] = seed
            if seed != NO_SEED:
                self._playing.add(seed)

    def _goes_on(self, one: GroupOfSeeds, row: int) -> bool:
        """Hands out seeds to lanes without a game; returns whether any lane has a game to play."""
        acted = one.arrays["acted"][0, row]
        one.played = np.where(one.arrays["first"][0, row], 0, one.played + acted)
        self._hand_out(one, np.flatnonzero(~acted))
        goes_on = bool((one.seeds != NO_SEED).any())
        one.parked = None if goes_on else row
        return goes_on

    def step(self, place: Place) -> None:
        """Lets an env group take the actions that are written in its row."""
        self._steps += int(place.group.arrays["acted"][0, place.row].sum())
        self._workers.step(place.index, place.slot, place.row)

    def steps(self) -> int:
        """Returns the number of steps so far."""
        return self._steps

    def close(self) -> None:
        """Ends the rollout workers."""
        self._workers.close()


class EvaluationPool(SeedPool):
    """Plays seeds with a player that chooses for many games at once.

    Draws depend on a game's seed and step alone, so a game does not depend on the games beside it, except through the
    rounding of sums whose order depends on the batch.

    Args:
        workers: The rollout workers, which step the games.
        player: The player that is evaluated.
    """

    def __init__(self, workers: RolloutWorkers, player: Evaluable) -> None:
        super().__init__(workers, player.initial_state(workers.spec.envs))
        self._player = player

    def poll(self) -> Sequence[Outcome]:
        """See :class:`SeedPool`."""
        outcomes, places = self.heard(POLL_SECONDS, max(1, len(self._groups) // 2))
        if places:
            self._act(places)
        return outcomes

    def _act(self, places: Sequence[Place]) -> None:
        groups = [self._groups[place.index] for place in places]
        seeds = np.concatenate([one.seeds for one in groups])
        played = np.concatenate([one.played for one in groups])
        draws = torch.from_numpy(uniforms(seeds, played)).to(self._player.device)
        for place, _ in hand_out(places, choose(places, self._player, draws)):
            self.step(place)
