"""A learner's rollout workers: processes that step env groups. Workers that die or hang are replaced."""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from strathack.collect.running.cluster import Cluster
from strathack.collect.running.janitor import Scratch, scratch_for_sockets
from strathack.collect.running.workplace import Workplace, die_with_raylet
from strathack.dataset.errors import RunError, first_line
from strathack.rl.acting.memory import SharedArrays
from strathack.rl.acting.serving import (
    COMMAND,
    HELLO,
    MOST_DESCRIPTORS,
    SEED,
    Command,
    MessageReader,
    Reply,
    WorkerSpec,
    act,
    receive,
)
from strathack.rl.environments.stepping import EndedGame

START_SECONDS = 120.0
"""How long a rollout worker may take until its first message."""

PATIENCE_SECONDS = 0.003
"""How long env groups that are ready wait for others to become ready."""

LOOK_SECONDS = 1.0
"""How often it is looked at whether rollout workers hang."""

PAUSE_SECONDS = 10.0
"""If it was not looked at for so long, this process was paused, and likely all others with it."""

MAX_FAILURES = 5
"""The run fails once this many rollout workers in a row have ended, with no game played to its end in between."""


@dataclass(frozen=True)
class Began:
    """A rollout worker has connected, the first of its number or a replacement; its env groups are to begin.

    Attributes:
        groups: The indices of the env groups.
        lost: Why the worker that it replaces ended; empty for the first.
    """

    groups: range
    lost: str = ""


@dataclass(frozen=True)
class Ready:
    """An env group has carried out its command; its new frames are in a row of a slot."""

    index: int
    slot: int
    row: int


@dataclass(frozen=True)
class Shard:
    """A game that was recorded, and its seed."""

    seed: int
    content: bytes


Event = Began | Ready | EndedGame | Shard


class Launcher(Protocol):
    """Starts rollout workers."""

    def start(self, path: Path, spec: WorkerSpec, number: int, generation: int) -> None:
        """Starts a worker, which replaces any worker of the same number."""

    def failure(self, number: int) -> str:
        """Returns why a worker has ended by itself, as far as that is known; an empty text while it runs."""

    def close(self) -> None:
        """Ends all workers."""


class ThreadLauncher:
    """Runs rollout workers in threads of this process: for trying things out, and if there are no cores to spare."""

    def __init__(self) -> None:
        self._workplace = Workplace()
        self._threads: list[threading.Thread] = []

    def start(self, path: Path, spec: WorkerSpec, number: int, generation: int) -> None:
        """Starts a worker; an older one that hangs is left running."""
        thread = threading.Thread(target=act, args=(path, spec, number, generation), daemon=True)
        thread.start()
        self._threads.append(thread)

    def failure(self, number: int) -> str:
        """Returns an empty text: workers in threads report failures themselves."""
        return ""

    def close(self) -> None:
        """Waits for the threads to end, at most 5 seconds for each."""
        for thread in self._threads:
            thread.join(timeout=5)
        self._workplace.close()


class _RayWorker:
    """A process that steps environments."""

    def __init__(self) -> None:
        die_with_raylet()
        self._workplace = Workplace()

    def act(self, path: Path, spec: WorkerSpec, number: int, generation: int) -> None:
        act(path, spec, number, generation)
        self._workplace.close()


class RayLauncher:
    """Runs rollout workers by Ray, one per core, on this machine, since they share memory with the learner.

    Args:
        workers: How many workers to run.
        address: Address of a running Ray cluster; None to start one for this run alone.
        environment: Environment variables that the workers start with.

    Raises:
        InputError: If no cluster answers at the address.
    """

    def __init__(self, workers: int, address: str | None, environment: Mapping[str, str] | None = None) -> None:
        self._handles: dict[int, tuple[Any, Any]] = {}
        # Learning waits for the workers, so their priority is not lowered.
        self._cluster = Cluster(workers, address, niceness=0)
        self._ray = ray = self._cluster.ray
        try:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            options = {"num_cpus": 1, "max_restarts": 0, "scheduling_strategy": here}
            if environment:
                options["runtime_env"] = {"env_vars": dict(environment)}
            self._new_worker = ray.remote(_RayWorker).options(**options)
        except BaseException:
            self.close()
            raise

    def start(self, path: Path, spec: WorkerSpec, number: int, generation: int) -> None:
        """Starts a worker; an older one of the same number is killed."""
        if number in self._handles:
            self._ray.kill(self._handles[number][0])
        handle = self._new_worker.remote()
        self._handles[number] = handle, handle.act.remote(path, spec, number, generation)

    def failure(self, number: int) -> str:
        """Returns Ray's reason why a worker has ended; an empty text while it runs."""
        reference = self._handles[number][1]
        if not self._ray.wait([reference], timeout=0)[0]:
            return ""
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            return first_line(error.cause if isinstance(getattr(error, "cause", None), BaseException) else error)
        except self._ray.exceptions.RayError as error:
            return type(error).__name__
        return "ended"

    def close(self) -> None:
        """Ends the workers, and the cluster if it was started for them."""
        try:
            for handle, _ in self._handles.values():
                self._ray.kill(handle)
        finally:
            self._cluster.close()


@dataclass
class _Worker:
    """What the learner knows about a worker."""

    number: int
    generation: int = 0
    connection: socket.socket | None = None
    reader: MessageReader | None = None
    since: float = field(default_factory=time.monotonic)
    asked: dict[int, float] = field(default_factory=dict)
    lost: str = ""
    said: str = ""


class RolloutWorkers:
    """Starts rollout workers, sends them commands and reads their messages.

    Args:
        spec: What each worker does.
        count: How many workers there are.
        launcher: Starts the workers; it is closed together with them, also if they cannot be started.
        hang_seconds: Seconds without an answer after which a worker counts as hung.

    Attributes:
        arrays: The arrays of each env group; a new dictionary once its worker has been replaced.
        lost: How many workers were replaced.
    """

    def __init__(self, spec: WorkerSpec, count: int, launcher: Launcher, hang_seconds: float) -> None:
        self.spec, self._launcher, self._hang_seconds = spec, launcher, hang_seconds
        self._workers = [_Worker(number) for number in range(count)]
        self.arrays: list[Mapping[str, np.ndarray]] = [{} for _ in range(count * spec.groups)]
        self.lost = 0
        self._failures = 0
        self._looked_at = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._scratch: Scratch | None = None
        try:
            self._scratch = scratch_for_sockets(len("/learner"))
            self._path = self._scratch.path / "learner"
            self._listener.bind(str(self._path))
            self._listener.listen(count)
            self._selector.register(self._listener, selectors.EVENT_READ)
            for worker in self._workers:
                launcher.start(self._path, spec, worker.number, 0)
        except BaseException:
            self.close()
            raise

    def begin(self, index: int, slot: int) -> None:
        """Commands an env group to begin games, whose first frames go to row 0 of a slot."""
        self._ask(Command.BEGIN, index, slot, 0)

    def step(self, index: int, slot: int, row: int) -> None:
        """Commands an env group to take the actions that are written in a row of a slot."""
        self._ask(Command.STEP, index, slot, row)

    def stop(self, index: int, slot: int, row: int) -> None:
        """Commands an env group to cut the games of a row of a slot."""
        self._ask(Command.STOP, index, slot, row)

    def _ask(self, what: Command, index: int, slot: int, row: int) -> None:
        number, own = divmod(index, self.spec.groups)
        worker = self._workers[number]
        worker.asked[own] = time.monotonic()
        if worker.connection is not None:
            with suppress(OSError):  # it has died, which events() finds out
                worker.connection.sendall(COMMAND.pack(what, own, slot, row))

    def events(self, timeout: float) -> Iterator[Event]:
        """Yields what has happened, after waiting for at most ``timeout`` seconds.

        Raises:
            RunError: If a worker reports that it cannot go on, or too many workers die.
        """
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._listener:
                began = self._welcome()
                if began is not None:
                    yield began
            else:
                yield from self._hear(key.data)
        now = time.monotonic()
        if now >= self._looked_at + LOOK_SECONDS:
            self._look_around(now)

    def gathered(self, timeout: float, wanted: int) -> list[Event]:
        """Returns what has happened, with ``wanted`` ready env groups if they become ready at nearly the same time.

        A frame costs less arithmetic in a larger batch; the other env groups are stepped in the meantime.

        Args:
            timeout: Seconds to wait for the first event.
            wanted: Env groups to wait for, at most a few milliseconds.

        Raises:
            RunError: As in :meth:`events`.
        """
        events = _without_stale(self.events(timeout))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while 0 < sum(isinstance(event, Ready) for event in events) < wanted:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            events = _without_stale([*events, *self.events(left)])
        return events

    def excuse(self) -> None:
        """Counts the losses so far for nothing: a single game is known to be their cause, and is given up."""
        self._failures = 0

    def _welcome(self) -> Began | None:
        connection, _ = self._listener.accept()
        hello = receive(connection, HELLO.size)
        number, generation = HELLO.unpack(hello) if hello else (-1, -1)
        if number < 0 or self._workers[number].generation != generation:
            connection.close()  # a worker that was replaced in the meantime
            return None
        worker = self._workers[number]
        shared = [SharedArrays.create(self.spec.layout) for _ in range(self.spec.groups)]
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died, which events() finds out
            for start in range(0, len(shared), MOST_DESCRIPTORS):
                some = shared[start : start + MOST_DESCRIPTORS]
                socket.send_fds(connection, [b"\0"], [one.descriptor for one in some])
        for one in shared:
            one.close()
        groups = range(number * self.spec.groups, (number + 1) * self.spec.groups)
        for index, one in zip(groups, shared, strict=True):
            self.arrays[index] = one.arrays
        worker.connection, worker.reader = connection, MessageReader(connection)
        worker.asked.clear()
        self._selector.register(connection, selectors.EVENT_READ, worker)
        return Began(groups, worker.lost)

    def _hear(self, worker: _Worker) -> Iterator[Event]:
        assert worker.reader is not None
        try:
            messages = worker.reader.messages()
        except OSError:
            messages = None
        if messages is None:
            self._replace(worker, worker.said or "died")
            return
        for kind, (own, slot, row), content in messages:
            if kind == Reply.READY:
                worker.asked.pop(own, None)
                yield Ready(worker.number * self.spec.groups + own, slot, row)
            elif kind == Reply.PLAYED:
                self._failures = 0
                yield EndedGame(**json.loads(content))
            elif kind == Reply.SHARD:
                (seed,) = SEED.unpack_from(content)
                yield Shard(seed, content[SEED.size :])
            elif kind == Reply.REFUSED:
                raise RunError(content.decode())
            else:
                worker.said = content.decode()

    def _look_around(self, now: float) -> None:
        """Replaces workers that hang, and workers that died before their first message.

        The time of a pause, in which no worker could answer, counts for none of them.
        """
        passed, self._looked_at = now - self._looked_at, now
        if passed > PAUSE_SECONDS:
            for worker in self._workers:
                worker.since += passed
                worker.asked = {own: since + passed for own, since in worker.asked.items()}
        for worker in self._workers:
            if worker.connection is None:
                said = self._launcher.failure(worker.number)
                if said:
                    self._replace(worker, said)
                elif now - worker.since > START_SECONDS:
                    self._replace(worker, f"did not start within {START_SECONDS:g} seconds")
            elif worker.asked and now - min(worker.asked.values()) > self._hang_seconds:
                self._replace(worker, f"hung for {self._hang_seconds:g} seconds")

    def _replace(self, worker: _Worker, why: str) -> None:
        self.lost += 1
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            raise RunError(f"{MAX_FAILURES} workers in a row ended before a game did; the last: {why}")
        if worker.connection is not None:
            self._selector.unregister(worker.connection)
            worker.connection.close()
        fresh = _Worker(worker.number, worker.generation + 1, lost=why)
        self._workers[worker.number] = fresh
        self._launcher.start(self._path, self.spec, fresh.number, fresh.generation)

    def close(self) -> None:
        """Closes the connections and ends the workers."""
        try:
            for worker in self._workers:
                if worker.connection is not None:
                    worker.connection.close()
            self._selector.close()
            self._listener.close()
            self._launcher.close()
        finally:
            if self._scratch is not None:
                self._scratch.close()


def _without_stale(events: Iterable[Event]) -> list[Event]:
    """Returns events without what env groups had done whose worker has been replaced since."""
    kept: list[Event] = []
    for event in events:
        if isinstance(event, Began):
            kept = [one for one in kept if not (isinstance(one, Ready) and one.index in event.groups)]
        kept.append(event)
    return kept
