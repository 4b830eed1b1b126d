"""Acts: from the frames that slices show to what is done on them, batched over the slices that wait."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from strathack.dataset.actions import NO_ACTION
from strathack.models.acting import Act, ActingConfig, Actor
from strathack.models.cleaved import AnyPolicy
from strathack.models.cores import State
from strathack.rl.actors import Actors, Began, Event, Ready, Shard
from strathack.rl.stepping import PlayedGame

HELD = "held_"
"""What the names of an actor's own state begin with; the rest is the policy's."""


@dataclass(frozen=True)
class Unroll:
    """T steps of a slice's lanes and the frame after them.

    Attributes:
        index: The slice.
        begins: Whether the slice has begun anew with it, so that nothing is carried over from the one before.
        arrays: What actors wrote, and what was chosen; see :func:`strathack.rl.memory.slice_layout`; [T + 1, N, …].
        acts: ``log_prob``, ``value`` f32; ``chose`` bool; ``version`` i64, of the weights; [T, N].
        state: The policy's state before the first frame.
        release: To be called once the arrays are no longer looked at.
    """

    index: int
    begins: bool
    arrays: Mapping[str, np.ndarray]
    acts: Mapping[str, np.ndarray]
    state: State
    release: Callable[[], None]


class Chooser(Protocol):
    """Chooses actions for lanes, and remembers.

    Attributes:
        device: Where it takes its inputs.
    """

    device: torch.device

    def refresh(self) -> int:
        """Takes the newest weights over; how many updates they have had."""

    def initial_state(self, lanes: int) -> State:
        """The state before a game: name → [B, …]."""

    def act(self, inputs: Mapping[str, Tensor], state: State) -> tuple[Act, State]:
        """Chooses: inputs as for a policy's step."""


class Follower:
    """Acts with a copy of a policy that is being trained; a :class:`Chooser`.

    Args:
        policy: The policy.
        acting: How it acts.
        version: How many updates its weights have had.

    Raises:
        InputError: If a flat policy is to hold strategies.
    """

    def __init__(self, policy: AnyPolicy, acting: ActingConfig, version: int = 0) -> None:
        self._trained, self._copy = policy, deepcopy(policy).eval().requires_grad_(False)
        self._actor = Actor(self._copy, acting)
        self._lock = threading.Lock()
        self._version = self._newest = version
        self._changed = False
        self.device = next(policy.parameters()).device

    @contextmanager
    def updating(self, version: int) -> Iterator[None]:
        """While the trained weights change; afterwards they are what is acted with.

        Args:
            version: How many updates they will have had.
        """
        with self._lock:
            yield
            # An update of several passes changes them several times, and is still one.
            self._newest, self._changed = version, True

    def refresh(self) -> int:
        """See :class:`Chooser`."""
        if self._changed:
            with self._lock, torch.no_grad():
                for mine, theirs in zip(self._copy.parameters(), self._trained.parameters(), strict=True):
                    mine.copy_(theirs)
                self._version, self._changed = self._newest, False
        return self._version

    def initial_state(self, lanes: int) -> State:
        """See :class:`Chooser`."""
        return self._actor.initial_state(lanes)

    def act(self, inputs: Mapping[str, Tensor], state: State) -> tuple[Act, State]:
        """See :class:`Chooser`."""
        return self._actor.act(inputs, state)


NO_INPUTS = frozenset({"acted", "actions", "strategy", "rewards", "ended"})
"""The arrays of a slice by which nothing is chosen."""


@dataclass(frozen=True)
class _Row:
    """A row of a slot: what is chosen by, and where what is chosen goes."""

    inputs: Mapping[str, Tensor]
    actions: np.ndarray
    strategy: np.ndarray


class _Slice:
    """What is known of a slice between its steps.

    Args:
        arrays: Its arrays.
        state: The state before a game.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], state: State) -> None:
        slots, rows, self.lanes = arrays["first"].shape
        self.arrays, self.state, self.before = arrays, state, _policy_state(state)
        self.steps = rows - 1
        self.slot, self.free = 0, list(range(1, slots))
        self.begins, self.waits = True, False
        self.acts = self._new_acts()
        # Made once, since the machinery's time goes into many small things.
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items() if name not in NO_INPUTS}
        self.rows = [
            [
                _Row(
                    {name: tensor[slot, row] for name, tensor in tensors.items()},
                    arrays["actions"][slot, row],
                    arrays["strategy"][slot, row],
                )
                for row in range(rows)
            ]
            for slot in range(slots)
        ]

    def _new_acts(self) -> dict[str, np.ndarray]:
        kinds = {"log_prob": np.float32, "value": np.float32, "chose": bool, "version": np.int64}
        return {name: np.zeros((self.steps, self.lanes), kind) for name, kind in kinds.items()}

    def next_slot(self) -> None:
        """Goes on to a slot that is free; the frame after the last step is its first."""
        last, self.slot = self.slot, self.free.pop()
        for array in self.arrays.values():
            array[self.slot, 0] = array[last, -1]
        self.acts, self.before = self._new_acts(), _policy_state(self.state)
        self.begins = self.waits = False


class Clock:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Counts the seconds of a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - began  # type: ignore[assignment]


class Rollouts:
    """Plays with a policy in a thread of its own, and hands out unrolls.

    A slice that has no room for a further unroll waits until one is released, so that what is learned from is never
    much older than the policy.

    Args:
        actors: They step the slices.
        chooser: Says what is done.
        threads: Threads of its arithmetic.
        on_game: Called with each game that ended.
        on_shard: Called with the seed and the shard of each game that was taken down.
        on_loss: Called with the reason for which an actor was replaced.

    Attributes:
        clock: What the thread spends its time on: ``waiting``, ``inference``, ``handling``.
    """

    def __init__(
        self,
        actors: Actors,
        chooser: Chooser,
        *,
        threads: int = 1,
        on_game: Callable[[PlayedGame], None] = lambda game: None,
        on_shard: Callable[[int, bytes], None] = lambda seed, shard: None,
        on_loss: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._actors, self._chooser, self._threads = actors, chooser, threads
        self._on_game, self._on_shard, self._on_loss = on_game, on_shard, on_loss
        self._slices: dict[int, _Slice] = {}
        self._unrolls: queue.SimpleQueue[Unroll | BaseException] = queue.SimpleQueue()
        self._released: queue.SimpleQueue[tuple[int, _Slice, int]] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self.clock = Clock()
        self._thread = threading.Thread(target=self._run, name="acting", daemon=True)

    def start(self) -> None:
        """Begins to play."""
        self._thread.start()

    def get(self, timeout: float | None = None) -> Unroll:
        """The next unroll.

        Raises:
            queue.Empty: If there is none in time.
            RunError: If the actors cannot go on.
        """
        unroll = self._unrolls.get(timeout=timeout)
        if isinstance(unroll, BaseException):
            raise unroll
        return unroll

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # a thread's own
        try:
            while not self._stopped.is_set():
                self._turn()
        except BaseException as error:  # noqa: BLE001  (raised where unrolls are taken)
            self._unrolls.put(error)

    def _turn(self) -> None:
        with self.clock.measure("waiting"):
            events = self._awaited()
        ready = []
        with self.clock.measure("handling"):
            for event in events:
                if isinstance(event, Ready):
                    ready.append((event.index, event.row))
                else:
                    self._note(event)
            places = [place for place in (self._place(index, row) for index, row in ready) if place is not None]
            places += self._reused()
        if places:
            self._act(places)

    def _awaited(self) -> list[Event]:
        """What has happened, with half of the slices if they come together; the other half is stepped meanwhile."""
        # Slices that wait for room are looked after by and by.
        waiting = any(one.waits for one in self._slices.values())
        return self._actors.gathered(0.002 if waiting else 0.1, (len(self._slices) + 1) // 2)

    def _note(self, event: Began | PlayedGame | Shard) -> None:
        if isinstance(event, PlayedGame):
            self._on_game(event)
        elif isinstance(event, Shard):
            self._on_shard(event.seed, event.content)
        else:
            if event.lost:
                self._on_loss(event.lost)
            for index in event.slices:
                state = self._chooser.initial_state(self._actors.spec.envs)
                self._slices[index] = _Slice(self._actors.arrays[index], state)
                self._actors.begin(index, 0)

    def _place(self, index: int, row: int) -> tuple[int, int] | None:
        """The slice and the row of its slot that is to be acted on; None where it has to wait for room."""
        one = self._slices[index]
        if row < one.steps:
            return index, row
        slot = one.slot

        def release() -> None:
            self._released.put((index, one, slot))

        arrays = {name: array[slot] for name, array in one.arrays.items()}
        self._unrolls.put(Unroll(index, one.begins, arrays, one.acts, one.before, release))
        if not one.free:
            one.waits = True
            return None
        one.next_slot()
        return index, 0

    def _reused(self) -> list[tuple[int, int]]:
        """Slices that waited for room and now have it."""
        places = []
        while not self._released.empty():
            index, one, slot = self._released.get()
            if self._slices[index] is not one:
                continue  # its actor was replaced since
            one.free.append(slot)
            if one.waits:
                one.next_slot()
                places.append((index, 0))
        return places

    def _act(self, places: Sequence[tuple[int, int]]) -> None:
        slices = [self._slices[index] for index, _ in places]
        rows = [one.rows[one.slot][row] for one, (_, row) in zip(slices, places, strict=True)]
        with self.clock.measure("inference"):
            version = self._chooser.refresh()
            device = self._chooser.device
            inputs = {name: _beside([row.inputs[name] for row in rows]).to(device) for name in rows[0].inputs}
            act, after = self._chooser.act(inputs, joined([one.state for one in slices]))
            actions = act.action.cpu().numpy()
            strategy = None if act.strategy is None else act.strategy.cpu().numpy()
            acts = {"log_prob": act.log_prob, "value": act.output.value, "chose": act.chose}
            known = {name: value.cpu().numpy() for name, value in acts.items() if value is not None}
        with self.clock.measure("handling"):
            end = 0
            for one, row, (index, number) in zip(slices, rows, places, strict=True):
                start, end = end, end + one.lanes
                one.state = after if len(slices) == 1 else {name: part[start:end] for name, part in after.items()}
                row.actions[:] = actions[start:end]
                row.strategy[:] = NO_ACTION if strategy is None else strategy[start:end]
                for name, values in known.items():
                    one.acts[name][number] = values[start:end]
                one.acts["version"][number] = version
                self._actors.step(index, one.slot, number)


def _beside(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def joined(states: Sequence[State]) -> State:
    """The states of several slices as one."""
    if len(states) == 1:
        return states[0]
    return {name: _beside([state[name] for state in states]) for name in states[0]}


def _policy_state(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith(HELD)}


def shares(seconds: Mapping[str, Any]) -> dict[str, float]:
    """Seconds by what they were spent on, as shares of all."""
    total = sum(seconds.values()) or 1.0
    return {name: value / total for name, value in seconds.items()}
