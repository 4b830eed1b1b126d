"""Steps env groups, in the process of a rollout worker."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from strathack.dataset.actions import NO_ACTION
from strathack.dataset.errors import RunError
from strathack.dataset.schema import BLStat
from strathack.rl.acting.memory import ABOUT_STEPS
from strathack.rl.config import GameConfig
from strathack.rl.environments.simulators import End, Observation, Simulator, make_simulator

FRESH_SEEDS = 2**30, 2**31
"""The range that fresh seeds are drawn from, far from the seeds of demonstrations and evaluations."""


@dataclass(frozen=True)
class EndedGame:
    """A game that has ended.

    Attributes:
        seed: The game's seed.
        steps: The number of its steps.
        reward: Sum of its rewards, with ``penalty_death`` taken off.
        score: NetHack's score before the last step, since none is shown after a death; None if no score is shown.
        end: How the game ended.
    """

    seed: int
    steps: int
    reward: float
    score: int | None
    end: str


class Record(Protocol):
    """Records one game."""

    def step(self, action: int, strategy: int) -> None:
        """Records what is seen now, and the action and strategy that are about to be taken."""

    def reward(self, reward: float) -> None:
        """Records the reward that followed."""

    def finish(self, end: str, observation: Observation) -> bytes:
        """Returns the game's shard, given how it ended (as in ``/games``, or ``over``) and its last observation."""


MakeRecord = Callable[[int, Simulator, Observation], Record]
"""Begins the record of a seed's game, given the seed, the simulator and the first observation."""


@dataclass(frozen=True)
class LaneSpec:
    """What a lane plays; it is sent to rollout workers.

    Attributes:
        env: The environment.
        game: The games' settings.
        observations: Observation keys that the environment is to show.
        entropy: Numbers that, together with a lane's place, decide the seeds of its games.
        recorded: Observation keys that are kept of games that are recorded.
        fix_moon_phase: Whether NLE derives moon, day and night from the seed.
    """

    env: str
    game: GameConfig
    observations: tuple[str, ...]
    entropy: tuple[int, ...]
    recorded: tuple[str, ...] = ()
    fix_moon_phase: bool = True

    def seeds(self, *place: int) -> Iterator[int]:
        """Yields the seeds of one lane without end, by its place: fresh seeds, or seeds drawn from ``game.seeds``."""
        rng = np.random.default_rng([*self.entropy, *place])
        known = self.game.seeds
        while True:
            yield int(rng.integers(*FRESH_SEEDS)) if not known else known[int(rng.integers(len(known)))]


NOWHERE = -1
"""Stands for no lane."""


class Lane:
    """Plays one game after another in one environment, and cuts games that go on for too long.

    Args:
        spec: What is played.
        seeds: The games' seeds.
        make_record: Begins the record of a game; None records no games.

    Attributes:
        observation: The current observation.
        idle: Whether the lane has no game because no seed was left.
        finished: Seeds and shards of games that were recorded; whoever reads the list clears it.
    """

    def __init__(self, spec: LaneSpec, seeds: Iterator[int], make_record: MakeRecord | None = None) -> None:
        # The numbers of the bottom lines, too, by which games without progress are cut and scores are told.
        shown = tuple(dict.fromkeys((*spec.observations, *spec.recorded, "blstats")))
        self._simulator = make_simulator(spec.env, spec.game, shown, fix_moon_phase=spec.fix_moon_phase)
        self._spec, self._seeds, self._new_record = spec, seeds, make_record
        self._record: Record | None = None
        self._seed, self._steps, self._sum, self._idle, self._time = 0, 0, 0.0, 0, -1
        self._score: int | None = None
        self.observation: Observation = {}
        self.idle = False
        self.finished: list[tuple[int, bytes]] = []

    def begin(self) -> None:
        """Begins the next game, if there is one."""
        seed = next(self._seeds, None)
        self.idle = seed is None
        if seed is None:
            return
        self._seed = seed
        self._steps, self._sum, self._idle, self._time, self._score = 0, 0.0, 0, -1, None
        self.observation = self._simulator.reset(self._seed)
        if self._new_record is not None:
            self._record = self._new_record(self._seed, self._simulator, self.observation)

    def step(self, action: int, strategy: int = NO_ACTION) -> tuple[float, End | None]:
        """Takes an action.

        Args:
            action: The index of the action.
            strategy: The index of the strategy that is pursued, for the record.

        Returns:
            The reward, and how the game ended if it did. A game that was cut still shows its final frame.

        Raises:
            RunError: If the reward is not finite.
        """
        if self._record is not None:
            self._record.step(action, strategy)
        self.observation, reward, end = self._simulator.step(action)
        if end == "over":
            reward -= self._spec.game.penalty_death
        if not math.isfinite(reward):
            raise RunError(f"{self._spec.env}: a reward of {reward} at step {self._steps} of seed {self._seed}")
        if self._record is not None:
            self._record.reward(reward)
        self._steps += 1
        self._sum += reward
        limit = self._limit() if end is None else None
        if limit is not None:
            end = "cut"
        if end is not None and self._record is not None:
            self.finished.append((self._seed, self._record.finish(limit or end, self.observation)))
            self._record = None
        return reward, end

    def stop(self) -> EndedGame:
        """Cuts the game, because its player cannot go on."""
        if self._record is not None:
            self.finished.append((self._seed, self._record.finish("demonstrator_error", self.observation)))
            self._record = None
        return self.played("cut")

    def _limit(self) -> str | None:
        """Returns the limit that the game has reached, by its name in ``/games``; None if it has reached none."""
        game = self._spec.game
        blstats = self.observation.get("blstats")
        if blstats is not None:
            time, self._score = int(blstats[BLStat.TIME]), int(blstats[BLStat.SCORE])
            self._idle = self._idle + 1 if time == self._time else 0
            self._time = time
            if 0 < game.no_progress <= self._idle:
                return "abort"
        return "step_limit" if game.max_steps is not None and self._steps >= game.max_steps else None

    def played(self, end: End) -> EndedGame:
        """Returns the game that has just ended."""
        return EndedGame(self._seed, self._steps, self._sum, self._score, end)

    def close(self) -> None:
        """Closes the environment; a game that has not ended is not kept."""
        self._simulator.close()


class EnvGroup:
    """Lanes that are stepped together, and the arrays that hold their frames.

    Args:
        lanes: The lanes.
        arrays: See :func:`strathack.rl.acting.memory.group_layout`.
        stepping: Holds the number of the lane that is being stepped or begun, else NOWHERE; i64 [1]. If a simulator
            kills the process, another that shares the array can read which lane it was.
    """

    def __init__(
        self, lanes: Sequence[Lane], arrays: Mapping[str, np.ndarray], stepping: np.ndarray | None = None
    ) -> None:
        self.lanes = lanes
        self._arrays = arrays
        self._stepping = np.empty(1, np.int64) if stepping is None else stepping
        # A frame is copied several times faster as one row than as 24 rows.
        self._frames = {
            key: array.reshape(*array.shape[:3], -1) for key, array in arrays.items() if key not in ABOUT_STEPS
        }
        # Simulators usually return the same arrays again and again.
        self._seen = {key: [_Seen() for _ in lanes] for key in self._frames}

    def begin(self, slot: int) -> list[EndedGame]:
        """Begins a game in every lane; the first frames go to row 0 of a slot."""
        for number, lane in enumerate(self.lanes):
            self._stepping[0] = number
            lane.begin()
        self._stepping[0] = NOWHERE
        begun = [not lane.idle for lane in self.lanes]
        self._show(slot, 0, first=begun, acted=begun, previous_action=NO_ACTION)
        return []

    def step(self, slot: int, row: int) -> list[EndedGame]:
        """Takes the action of each lane in a row of a slot; the next frames go to the row of :meth:`row_after`.

        Returns:
            The games that ended.
        """
        arrays = self._arrays
        actions, strategies, acted = (arrays[name][slot, row].tolist() for name in ("actions", "strategy", "acted"))
        rewards, ended, first, goes_on = [], [], [], []
        played = []
        for number, lane, action, strategy, acts in zip(
            range(len(self.lanes)), self.lanes, actions, strategies, acted, strict=True
        ):
            self._stepping[0] = number
            reward, end = lane.step(action, strategy) if acts else (0.0, None)
            if end is not None:
                played.append(lane.played(end))
            over = end is not None and end != "cut"
            anew = over or not acts
            if anew:
                lane.begin()
            rewards.append(reward)
            ended.append(over)
            first.append(anew and not lane.idle)
            goes_on.append(end != "cut" and not lane.idle)
        self._stepping[0] = NOWHERE
        arrays["rewards"][slot, row] = rewards
        arrays["ended"][slot, row] = ended
        self._show(
            slot, self.row_after(row), first=first, acted=goes_on, previous_action=np.where(first, NO_ACTION, actions)
        )
        return played

    def stop(self, slot: int, row: int) -> list[EndedGame]:
        """Cuts the games of a row of a slot; the next row shows their last frames again. Returns the games."""
        acted = self._arrays["acted"][slot, row].tolist()
        previous = self._arrays["previous_action"][slot, row].tolist()
        played = [lane.stop() for lane, acts in zip(self.lanes, acted, strict=True) if acts]
        self._show(slot, self.row_after(row), first=False, acted=False, previous_action=previous)
        return played

    def row_after(self, row: int) -> int:
        """Returns the row for the frames that follow a row's frames; the first row follows the last."""
        return (row + 1) % self._arrays["first"].shape[1]

    def _show(self, slot: int, row: int, **about: object) -> None:
        for key, frames in self._frames.items():
            target = frames[slot, row]
            for number, (lane, seen) in enumerate(zip(self.lanes, self._seen[key], strict=True)):
                if not lane.idle:
                    target[number] = seen.flat(lane.observation[key])
        for name, value in about.items():
            self._arrays[name][slot, row] = value

    def close(self) -> None:
        """Closes the lanes."""
        for lane in self.lanes:
            lane.close()


class _Seen:
    """Keeps the array that was seen last, flattened to one row."""

    def __init__(self) -> None:
        self._array: np.ndarray | None = None
        self._flat: np.ndarray | None = None

    def flat(self, array: np.ndarray) -> np.ndarray:
        if array is self._array and self._flat is not None:
            return self._flat
        flat = array.reshape(-1)
        if array.flags.c_contiguous:  # otherwise reshape copies, and the copy would miss the next frame
            self._array, self._flat = array, flat
        return flat


def make_group(
    spec: LaneSpec,
    seeds: Sequence[Iterator[int]],
    arrays: Mapping[str, np.ndarray],
    make_record: MakeRecord | None,
    stepping: np.ndarray | None = None,
) -> EnvGroup:
    """Makes an env group of lanes.

    Args:
        spec: What the lanes play.
        seeds: The seeds of each lane.
        arrays: The arrays that the frames go to.
        make_record: Begins the record of a game; None records no games.
        stepping: See :class:`EnvGroup`.
    """
    return EnvGroup([Lane(spec, own, make_record) for own in seeds], arrays, stepping)
