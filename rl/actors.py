"""A learner's actors: processes that step slices of environments. Those that die or hang are replaced."""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from strathack.collect.running.cluster import Cluster, first_line
from strathack.collect.running.janitor import Scratch
from strathack.collect.running.workplace import Workplace, die_with_raylet
from strathack.dataset.errors import RunError
from strathack.rl.memory import SharedArrays
from strathack.rl.serving import COMMAND, HELLO, SEED, ActorSpec, Command, Ear, Reply, act, receive
from strathack.rl.stepping import PlayedGame

START_SECONDS = 120.0
"""How long an actor may take until it says its first words."""

PATIENCE_SECONDS = 0.003
"""How long slices that are ready wait for others."""

MAX_FAILURES = 5
"""Actors that may end in a row without a game that was played to its end."""


@dataclass(frozen=True)
class Began:
    """An actor is there, the first or in the place of another; its slices are to begin.

    Attributes:
        slices: Their indices.
        lost: Why the one before it ended; empty for the first.
    """

    slices: range
    lost: str = ""


@dataclass(frozen=True)
class Ready:
    """A slice has done what it was asked for; its frames are in a row of a slot."""

    index: int
    slot: int
    row: int


@dataclass(frozen=True)
class Shard:
    """A game that was taken down, and its seed."""

    seed: int
    content: bytes


Event = Began | Ready | PlayedGame | Shard


class Launcher(Protocol):
    """Starts actors."""

    def start(self, path: Path, spec: ActorSpec, number: int, generation: int) -> None:
        """Starts one, in the place of any of the same number."""

    def failure(self, number: int) -> str:
        """Why one has ended by itself, as far as that is known; nothing while it runs."""

    def close(self) -> None:
        """Ends them all."""


class ThreadLauncher:
    """Runs actors in threads of this process: for trying things out, and where there are no cores to spare."""

    def __init__(self) -> None:
        self._workplace = Workplace()
        self._threads: list[threading.Thread] = []

    def start(self, path: Path, spec: ActorSpec, number: int, generation: int) -> None:
        """Starts one; one that hangs is left behind."""
        thread = threading.Thread(target=act, args=(path, spec, number, generation), daemon=True)
        thread.start()
        self._threads.append(thread)

    def failure(self, number: int) -> str:
        """Nothing: they tell it themselves."""
        return ""

    def close(self) -> None:
        """Waits for those that have heard that it is over."""
        for thread in self._threads:
            thread.join(timeout=5)
        self._workplace.close()


class _RayActor:
    """A process that steps environments."""

    def __init__(self) -> None:
        die_with_raylet()
        self._workplace = Workplace()

    def act(self, path: Path, spec: ActorSpec, number: int, generation: int) -> None:
        act(path, spec, number, generation)
        self._workplace.close()


class RayLauncher:
    """Runs actors by Ray, a core each, on this machine, since they share its memory.

    Args:
        actors: How many.
        address: Address of a running Ray cluster; None to start one for this run alone.
        environment: Environment variables that they start with.

    Raises:
        InputError: If no cluster answers at the address.
    """

    def __init__(self, actors: int, address: str | None, environment: Mapping[str, str] | None = None) -> None:
        # All that is learned waits for them, so they are as urgent as the rest.
        self._cluster = Cluster(actors, address, niceness=0)
        self._ray = ray = self._cluster.ray
        try:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            options = {"num_cpus": 1, "max_restarts": 0, "scheduling_strategy": here}
            if environment:
                options["runtime_env"] = {"env_vars": dict(environment)}
            self._actor = ray.remote(_RayActor).options(**options)
        except BaseException:
            self.close()
            raise
        self._handles: dict[int, tuple[Any, Any]] = {}

    def start(self, path: Path, spec: ActorSpec, number: int, generation: int) -> None:
        """Starts one; one of the same number is killed."""
        if number in self._handles:
            self._ray.kill(self._handles[number][0])
        handle = self._actor.remote()
        self._handles[number] = handle, handle.act.remote(path, spec, number, generation)

    def failure(self, number: int) -> str:
        """What Ray says of one that has ended."""
        reference = self._handles[number][1]
        if not self._ray.wait([reference], timeout=0)[0]:
            return ""
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            return first_line(error.cause if isinstance(getattr(error, "cause", None), BaseException) else error)
        except self._ray.exceptions.RayError as error:
            return type(error).__name__
        return "it ended"

    def close(self) -> None:
        """Ends them, and the cluster if it is ours."""
        try:
            for handle, _ in getattr(self, "_handles", {}).values():
                self._ray.kill(handle)
        finally:
            self._cluster.close()


@dataclass
class _Actor:
    """What is known of an actor."""

    number: int
    generation: int = 0
    connection: socket.socket | None = None
    ear: Ear | None = None
    since: float = field(default_factory=time.monotonic)
    asked: dict[int, float] = field(default_factory=dict)
    lost: str = ""
    said: str = ""


class Actors:
    """Starts actors, tells them what to step and hears from them.

    Args:
        spec: What each does.
        count: How many there are.
        launcher: Starts them; it is closed with the actors.
        hang_seconds: Seconds without an answer after which one counts as hung.

    Attributes:
        arrays: The arrays of each slice; another dictionary after its actor was replaced.
        lost: How many actors were replaced.
    """

    def __init__(self, spec: ActorSpec, count: int, launcher: Launcher, hang_seconds: float) -> None:
        self.spec, self._launcher, self._hang_seconds = spec, launcher, hang_seconds
        self._scratch = Scratch()
        self._path = self._scratch.path / "learner"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        self._listener.listen(count)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._actors = [_Actor(number) for number in range(count)]
        self.arrays: list[Mapping[str, np.ndarray]] = [{} for _ in range(count * spec.slices)]
        self.lost = 0
        self._failures = 0
        self._look_around_at = 0.0
        for actor in self._actors:
            launcher.start(self._path, spec, actor.number, 0)

    def begin(self, index: int, slot: int) -> None:
        """Has a slice begin games, their first frames in row 0 of a slot."""
        self._ask(Command.BEGIN, index, slot, 0)

    def step(self, index: int, slot: int, row: int) -> None:
        """Has a slice do what is written in a row of a slot."""
        self._ask(Command.STEP, index, slot, row)

    def _ask(self, what: Command, index: int, slot: int, row: int) -> None:
        number, own = divmod(index, self.spec.slices)
        actor = self._actors[number]
        actor.asked[own] = time.monotonic()
        if actor.connection is not None:
            with suppress(OSError):  # it has died; the next look says so
                actor.connection.sendall(COMMAND.pack(what, own, slot, row))

    def events(self, timeout: float) -> Iterator[Event]:
        """What has happened, after waiting for it for at most so many seconds.

        Raises:
            RunError: If an actor says that it cannot go on, or too many die.
        """
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._listener:
                began = self._welcome()
                if began is not None:
                    yield began
            else:
                yield from self._hear(key.data)
        now = time.monotonic()
        if now >= self._look_around_at:
            self._look_around_at = now + 1.0
            self._look_around(now)

    def gathered(self, timeout: float, wanted: int) -> list[Event]:
        """What has happened, with so many slices that are ready if they come within a moment of each other.

        A frame costs less arithmetic the more there are beside it; the others are stepped in the meantime.

        Args:
            timeout: Seconds to wait for the first event.
            wanted: Slices to wait for, some milliseconds.

        Raises:
            RunError: As :meth:`events`.
        """
        events = list(self.events(timeout))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while 0 < sum(isinstance(event, Ready) for event in events) < wanted:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            events += self.events(left)
        return events

    def _welcome(self) -> Began | None:
        connection, _ = self._listener.accept()
        hello = receive(connection, HELLO.size)
        number, generation = HELLO.unpack(hello) if hello else (-1, -1)
        if number < 0 or self._actors[number].generation != generation:
            connection.close()  # one that was given up in the meantime
            return None
        actor = self._actors[number]
        shared = [SharedArrays.create(self.spec.layout) for _ in range(self.spec.slices)]
        with suppress(OSError):
            socket.send_fds(connection, [b"\0"], [one.descriptor for one in shared])
        for one in shared:
            one.close()
        slices = range(number * self.spec.slices, (number + 1) * self.spec.slices)
        for index, one in zip(slices, shared, strict=True):
            self.arrays[index] = one.arrays
        actor.connection, actor.ear = connection, Ear(connection)
        actor.asked.clear()
        self._selector.register(connection, selectors.EVENT_READ, actor)
        return Began(slices, actor.lost)

    def _hear(self, actor: _Actor) -> Iterator[Event]:
        assert actor.ear is not None
        try:
            messages = actor.ear.messages()
        except OSError:
            messages = None
        if messages is None:
            self._replace(actor, actor.said or "died")
            return
        for kind, (own, slot, row), content in messages:
            if kind == Reply.READY:
                actor.asked.pop(own, None)
                yield Ready(actor.number * self.spec.slices + own, slot, row)
            elif kind == Reply.PLAYED:
                self._failures = 0
                yield PlayedGame(**json.loads(content))
            elif kind == Reply.SHARD:
                (seed,) = SEED.unpack_from(content)
                yield Shard(seed, content[SEED.size :])
            elif kind == Reply.REFUSED:
                raise RunError(content.decode())
            else:
                actor.said = content.decode()

    def _look_around(self, now: float) -> None:
        """Replaces actors that hang, and those that died before they said anything."""
        for actor in self._actors:
            if actor.connection is None:
                said = self._launcher.failure(actor.number)
                if said:
                    self._replace(actor, said)
                elif now - actor.since > START_SECONDS:
                    self._replace(actor, f"did not start within {START_SECONDS:g} seconds")
            elif actor.asked and now - min(actor.asked.values()) > self._hang_seconds:
                self._replace(actor, f"hung for {self._hang_seconds:g} seconds")

    def _replace(self, actor: _Actor, why: str) -> None:
        self.lost += 1
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            raise RunError(f"{MAX_FAILURES} actors in a row ended before a game did; the last: {why}")
        if actor.connection is not None:
            self._selector.unregister(actor.connection)
            actor.connection.close()
        fresh = _Actor(actor.number, actor.generation + 1, lost=why)
        self._actors[actor.number] = fresh
        self._launcher.start(self._path, self.spec, fresh.number, fresh.generation)

    def close(self) -> None:
        """Ends the conversation with all of them, and them."""
        try:
            for actor in self._actors:
                if actor.connection is not None:
                    actor.connection.close()
            self._selector.close()
            self._listener.close()
            self._launcher.close()
        finally:
            self._scratch.close()
