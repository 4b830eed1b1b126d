"""Acts: chooses actions on the frames of env groups, batched over the groups that wait."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from strathack.models.acting import OWN_STATE
from strathack.models.cores import State
from strathack.rl.acting.inference import GroupState, LearningPlayer, Place, choose, hand_out
from strathack.rl.acting.workers import Began, Event, Ready, RolloutWorkers, Shard
from strathack.rl.environments.stepping import EndedGame


@dataclass(frozen=True)
class Unroll:
    """T steps of an env group's lanes and the frame after them.

    Attributes:
        index: The index of the env group.
        begins: Whether the env group began anew with this unroll, so that nothing is carried over from the one before.
        arrays: What rollout workers wrote, and what was chosen, [T + 1, N, …]; see
            :func:`strathack.rl.acting.memory.group_layout`.
        acts: ``log_prob``, ``value`` f32; ``chose`` bool; ``version`` i64, the updates that the
            weights had had; each [T, N].
        state: The policy's state before the first frame.
        release: To be called once the arrays are no longer needed.
    """

    index: int
    begins: bool
    arrays: Mapping[str, np.ndarray]
    acts: Mapping[str, np.ndarray]
    state: State
    release: Callable[[], None]


class _Group(GroupState):
    """The state of an env group between its steps, and of its unrolls.

    Args:
        arrays: The env group's arrays.
        state: The player's state before a game.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], state: State) -> None:
        super().__init__(arrays, state)
        slots, rows, _ = arrays["first"].shape
        self.before = _policy_state(state)
        self.steps = rows - 1
        self.slot, self.free = 0, list(range(1, slots))
        self.begins, self.waits = True, False
        self.acts = self._make_acts()

    def _make_acts(self) -> dict[str, np.ndarray]:
        kinds = {"log_prob": np.float32, "value": np.float32, "chose": bool, "version": np.int64}
        return {name: np.zeros((self.steps, self.lanes), kind) for name, kind in kinds.items()}

    def next_slot(self) -> None:
        """Goes on to a free slot, whose first row becomes the frame after the last step."""
        last, self.slot = self.slot, self.free.pop()
        for array in self.arrays.values():
            array[self.slot, 0] = array[last, -1]
        self.acts, self.before = self._make_acts(), _policy_state(self.state)
        self.begins = self.waits = False


class Stopwatch:
    """Counts seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Adds the seconds that a block takes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - began  # type: ignore[assignment]


class Rollouts:
    """Plays with a policy in a thread of its own, and hands out unrolls.

    An env group that has no room for another unroll waits until one is released, so that unrolls are never much older
    than the policy when they are learned from.

    Args:
        workers: The rollout workers, which step the env groups.
        player: Chooses the actions.
        threads: Threads for the player's arithmetic.
        on_game: Called with each game that ended.
        on_shard: Called with the seed and the shard of each game that was recorded.
        on_loss: Called with the reason each time a rollout worker is replaced.

    Attributes:
        stopwatch: The seconds that the thread spends on each of ``waiting``, ``inference``, ``handling``.
    """

    def __init__(
        self,
        workers: RolloutWorkers,
        player: LearningPlayer,
        *,
        threads: int = 1,
        on_game: Callable[[EndedGame], None] = lambda game: None,
        on_shard: Callable[[int, bytes], None] = lambda seed, shard: None,
        on_loss: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._workers, self._player, self._threads = workers, player, threads
        self._on_game, self._on_shard, self._on_loss = on_game, on_shard, on_loss
        self._groups: dict[int, _Group] = {}
        self._unrolls: queue.SimpleQueue[Unroll | BaseException] = queue.SimpleQueue()
        self._released: queue.SimpleQueue[tuple[int, _Group, int]] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self.stopwatch = Stopwatch()
        self._thread = threading.Thread(target=self._run, name="acting", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def get(self, timeout: float | None = None) -> Unroll:
        """Returns the next unroll.

        Raises:
            queue.Empty: If there is none in time.
            RunError: If the rollout workers cannot go on.
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
        torch.set_num_threads(self._threads)  # of this thread alone
        try:
            with own_stream(self._player.device):
                while not self._stopped.is_set():
                    self._turn()
        except BaseException as error:  # noqa: BLE001  (raised where unrolls are taken)
            self._unrolls.put(error)

    def _turn(self) -> None:
        with self.stopwatch.measure("waiting"):
            events = self._awaited()
        ready = []
        with self.stopwatch.measure("handling"):
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
        """Returns events, with half of the env groups if these are ready soon; the other half is stepped meanwhile."""
        # Env groups that wait for room are checked again soon.
        waiting = any(one.waits for one in self._groups.values())
        return self._workers.gathered(0.002 if waiting else 0.1, (len(self._groups) + 1) // 2)

    def _note(self, event: Began | EndedGame | Shard) -> None:
        if isinstance(event, EndedGame):
            self._on_game(event)
        elif isinstance(event, Shard):
            self._on_shard(event.seed, event.content)
        else:
            if event.lost:
                self._on_loss(event.lost)
            for index in event.groups:
                state = self._player.initial_state(self._workers.spec.envs)
                self._groups[index] = _Group(self._workers.arrays[index], state)
                self._workers.begin(index, 0)

    def _place(self, index: int, row: int) -> tuple[int, int] | None:
        """Returns the env group and the row of its slot to act on; None if the group has to wait for room."""
        one = self._groups[index]
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
        """Returns the env groups that waited for room and now have it, each with the row to act on."""
        places = []
        while not self._released.empty():
            index, one, slot = self._released.get()
            if self._groups[index] is not one:
                continue  # its rollout worker has been replaced since
            one.free.append(slot)
            if one.waits:
                one.next_slot()
                places.append((index, 0))
        return places

    def _act(self, rows: Sequence[tuple[int, int]]) -> None:
        places = [Place(index, one, one.slot, row) for index, row in rows for one in (self._groups[index],)]
        with self.stopwatch.measure("inference"):
            version = self._player.refresh()
            choice = choose(places, self._player)
        with self.stopwatch.measure("handling"):
            for place, own in hand_out(places, choice):
                acts = self._groups[place.index].acts
                for name, values in choice.about.items():
                    acts[name][place.row] = values[own]
                acts["version"][place.row] = version
                self._workers.step(place.index, place.slot, place.row)


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Within, what this thread asks a GPU for is not ordered after what other threads ask for; nothing on a CPU."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield


def _policy_state(state: State) -> State:
    return {name: value for name, value in state.items() if name not in OWN_STATE}


def shares(seconds: Mapping[str, Any]) -> dict[str, float]:
    """Returns seconds by what they were spent on, as shares of their sum."""
    total = sum(seconds.values()) or 1.0
    return {name: value / total for name, value in seconds.items()}
