"""An exam: a player plays every seed exactly once, each game to its end, many at a time."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import h5py
import numpy as np
import torch
from torch import Tensor

from strathack.collect.running.pools import POLL_SECONDS, Failed, Finished, Outcome
from strathack.dataset.actions import NO_ACTION
from strathack.dataset.schema import game_name, row_values
from strathack.models.acting import Act, ActingConfig, Actor
from strathack.models.cleaved import AnyPolicy
from strathack.models.cores import State
from strathack.models.heads import PolicyOutput
from strathack.rl.actors import Actors, Began, Ready, Shard
from strathack.rl.memory import Layout
from strathack.rl.rollouts import NO_INPUTS, joined
from strathack.rl.serving import ActorSpec
from strathack.rl.stepping import Slice, make_slice

NO_SEED = -1
"""In the place of a lane's next seed: there is none."""

NEXT_SEED = "next_seed"
"""The array by which lanes are told what to play, i64 [lanes]."""


class Player(Protocol):
    """Who is examined.

    Attributes:
        actions: The actions it knows, by name.
        observations: What it has to be shown.
        strategies: Its strategies by name; none for a flat policy.
        device: Where it takes its inputs.
    """

    actions: tuple[str, ...]
    observations: tuple[str, ...]
    strategies: tuple[str, ...]
    device: torch.device

    def initial_state(self, lanes: int) -> State:
        """The state before a game: name → [B, …]."""

    def act(self, inputs: Mapping[str, Tensor], state: State, uniforms: Tensor) -> tuple[Act, State]:
        """Chooses; see :meth:`strathack.models.acting.Actor.act`."""


class PolicyPlayer:
    """A policy; a :class:`Player`.

    Args:
        policy: The policy.
        acting: How it acts.

    Raises:
        InputError: If a flat policy is to hold strategies.
    """

    def __init__(self, policy: AnyPolicy, acting: ActingConfig) -> None:
        config = policy.config
        self.actions, self.observations, self.strategies = config.actions, config.observations, config.strategies
        self.device = next(policy.parameters()).device
        self._actor = Actor(policy.eval().requires_grad_(False), acting)

    def initial_state(self, lanes: int) -> State:
        """See :class:`Player`."""
        return self._actor.initial_state(lanes)

    def act(self, inputs: Mapping[str, Tensor], state: State, uniforms: Tensor) -> tuple[Act, State]:
        """See :class:`Player`."""
        return self._actor.act(inputs, state, uniforms)


class RandomPlayer:
    """Any action at any time; a :class:`Player`.

    Args:
        actions: The actions it knows, by name.
    """

    observations: tuple[str, ...] = ("blstats",)
    strategies: tuple[str, ...] = ()
    device = torch.device("cpu")

    def __init__(self, actions: tuple[str, ...]) -> None:
        self.actions = actions

    def initial_state(self, lanes: int) -> State:
        """Nothing."""
        return {}

    def act(self, inputs: Mapping[str, Tensor], state: State, uniforms: Tensor) -> tuple[Act, State]:
        """See :class:`Player`."""
        action = (uniforms[:, 1] * len(self.actions)).long()
        output = PolicyOutput(torch.zeros(len(action), len(self.actions)), torch.zeros(len(action)))
        return Act(action, None, output.action_logits.log_softmax(-1)[:, 0], None, output), {}


def uniforms(seeds: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """What decides a game's draws: a function of its seed and step, whatever is played beside it.

    By the finaliser of SplitMix64 (Steele et al., "Fast Splittable Pseudorandom Number Generators", 2014).

    Args:
        seeds: i64 [B].
        steps: i64 [B].

    Returns:
        Two numbers a game from [0, 1), multiples of 2⁻²³, f32 [B, 2].
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
    """A lane's seeds, as they are handed out: it ends where none is, and goes on once one is again."""

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
class ExamSpec(ActorSpec):
    """What an actor does in an exam: its lanes play what they are handed out."""

    @property
    def layout(self) -> Layout:
        """The arrays of a slice: one slot of two rows, written in turn, and the seeds to play next."""
        return {**super().layout, NEXT_SEED: ((self.envs,), np.dtype("<i8"))}

    def new_slice(self, place: tuple[int, ...], arrays: Mapping[str, np.ndarray]) -> Slice:
        """See :class:`strathack.rl.serving.ActorSpec`."""
        arrays = dict(arrays)
        places = arrays.pop(NEXT_SEED)
        seeds = [_HandedOut(places[lane : lane + 1]) for lane in range(self.envs)]
        return make_slice(self.lane, seeds, arrays, self.new_record)


@dataclass(frozen=True)
class ExamGame:
    """A game that was played to its end; a :class:`strathack.collect.running.jobs.MadeGame`.

    Attributes:
        name: Its name in the dataset.
        shard: A one-game shard's bytes.
        note: Nothing.
    """

    name: str
    shard: bytes
    note: str = ""

    @property
    def info(self) -> dict[str, Any]:
        """Its row of ``/games`` as plain values."""
        with h5py.File(io.BytesIO(self.shard), "r") as file:
            return row_values(file["games"][0])


class _Slice:
    """What is known of a slice.

    Args:
        arrays: Its arrays.
        state: The state before a game.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], state: State) -> None:
        self.arrays, self.state = arrays, state
        self.lanes = len(arrays[NEXT_SEED])
        self.seeds = np.full(self.lanes, NO_SEED, np.int64)
        self.steps = np.zeros(self.lanes, np.int64)
        self.parked: int | None = None
        rows = range(arrays["first"].shape[1])
        tensors = {
            name: torch.from_numpy(array) for name, array in arrays.items() if name not in {*NO_INPUTS, NEXT_SEED}
        }
        self.inputs = [{name: tensor[0, row] for name, tensor in tensors.items()} for row in rows]


class ExamPool:
    """Plays seeds with actors; a :class:`strathack.collect.running.pools.Pool`, whose jobs are seeds.

    Draws depend on a game's seed and step alone, so that a game is the same whatever is played beside it, but for the
    rounding of sums whose order depends on the batch.

    Args:
        actors: They step the games.
        player: Who plays.
    """

    def __init__(self, actors: Actors, player: Player) -> None:
        self._actors, self._player = actors, player
        self._lanes = len(actors.arrays) * actors.spec.envs
        self._slices: dict[int, _Slice] = {}
        self._waiting: deque[int] = deque()
        self._playing: set[int] = set()
        self._steps = 0

    @property
    def running(self) -> int:
        """Games under way, and those about to be."""
        return len(self._playing) + len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether another seed can be taken; a lane whose game has ended is not to wait for one."""
        return len(self._waiting) < self._lanes

    def submit(self, job: Any, payload: Any) -> None:
        """Takes a seed."""
        self._waiting.append(job)

    def poll(self) -> Sequence[Outcome]:
        """Goes on for a moment; returns games that ended.

        Raises:
            RunError: If the actors cannot go on.
        """
        outcomes: list[Outcome] = []
        ready = []
        wanted = max(1, len(self._slices) // 2)
        for event in self._actors.gathered(POLL_SECONDS, wanted):
            if isinstance(event, Ready):
                ready.append((event.index, event.row))
            elif isinstance(event, Shard):
                self._playing.discard(event.seed)
                outcomes.append(Finished(event.seed, ExamGame(game_name(event.seed), event.content)))
            elif isinstance(event, Began):
                outcomes += self._begin(event)
        if self._waiting:
            ready += [(index, one.parked) for index, one in self._slices.items() if one.parked is not None]
        places = [(self._slices[index], index, row) for index, row in ready]
        going = [place for place in places if self._goes_on(*place)]
        if going:
            self._act(going)
        return outcomes

    def _begin(self, began: Began) -> list[Outcome]:
        """Has slices begin; what an actor that is no more was playing has failed."""
        failed: list[Outcome] = []
        for index in began.slices:
            if index in self._slices:
                lost = [int(seed) for seed in self._slices[index].seeds if int(seed) in self._playing]
                self._playing -= set(lost)
                failed += [Failed(seed, f"what played it {began.lost}") for seed in lost]
            one = _Slice(self._actors.arrays[index], self._player.initial_state(self._actors.spec.envs))
            one.arrays[NEXT_SEED][:] = NO_SEED
            self._slices[index] = one
            self._hand_out(one, np.arange(one.lanes))
            self._actors.begin(index, 0)
        return failed

    def _hand_out(self, one: _Slice, lanes: np.ndarray) -> None:
        for lane in lanes:
            seed = self._waiting.popleft() if self._waiting else NO_SEED
            one.seeds[lane] = one.arrays[NEXT_SEED][lane] = seed
            if seed != NO_SEED:
                self._playing.add(seed)

    def _goes_on(self, one: _Slice, index: int, row: int) -> bool:
        """Gives lanes without a game the next; whether there is anything to be done."""
        acted = one.arrays["acted"][0, row]
        one.steps = np.where(one.arrays["first"][0, row], 0, one.steps + acted)
        self._hand_out(one, np.flatnonzero(~acted))
        goes_on = bool((one.seeds != NO_SEED).any())
        one.parked = None if goes_on else row
        return goes_on

    def _act(self, places: Sequence[tuple[_Slice, int, int]]) -> None:
        inputs = joined([one.inputs[row] for one, _, row in places])
        seeds, steps = (np.concatenate([getattr(one, name) for one, _, _ in places]) for name in ("seeds", "steps"))
        device = self._player.device
        act, after = self._player.act(
            {name: value.to(device) for name, value in inputs.items()},
            joined([one.state for one, _, _ in places]),
            torch.from_numpy(uniforms(seeds, steps)).to(device),
        )
        actions = act.action.cpu().numpy()
        strategy = np.full(len(actions), NO_ACTION) if act.strategy is None else act.strategy.cpu().numpy()
        end = 0
        for one, index, row in places:
            start, end = end, end + one.lanes
            one.state = {name: part[start:end] for name, part in after.items()}
            one.arrays["actions"][0, row] = actions[start:end]
            one.arrays["strategy"][0, row] = strategy[start:end]
            self._steps += int(one.arrays["acted"][0, row].sum())
            self._actors.step(index, 0, row)

    def steps(self) -> int:
        """Steps so far."""
        return self._steps

    def close(self) -> None:
        """Ends the actors."""
        self._actors.close()
