"""Where games are played: in this process, or in Ray workers on one machine or many."""

from __future__ import annotations

import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from strathack.collect.config import GameOptions
from strathack.collect.demonstrators import Demonstrator
from strathack.collect.game import PlayedGame, SkippedSeed
from strathack.collect.janitor import Scratch
from strathack.collect.player import Player, die_with_parent
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.shard import Provenance

HANG_GRACE_SECONDS = 5.0
HANG_GRACE_SHARE = 0.1
"""How much longer than ``max_seconds`` a game may take before its worker counts as hung: the larger of the two,
the second as a share of ``max_seconds``. A worker that is not hung ends its game at its next step."""

REPORT_SECONDS = 1.0
"""How often a worker reports its steps, and how often they are asked for."""

POLL_SECONDS = 0.1
"""How long to wait for a game to end before looking around; of two Ctrl-C within that time only one is seen."""

MAX_START_FAILURES = 5
"""Workers in a row that may die before they are ready."""

OBJECT_STORE_BYTES = 256 << 20
"""Shared memory of our own Ray node; finished games pass through it, a megabyte or two each."""

_SOCKET_PATH_LIMIT = 107
"""Of a Unix socket; Ray's lie some 75 characters below its folder, whose own name has 23."""


@dataclass(frozen=True)
class FailedSeed:
    """A seed that was not played to a result.

    Attributes:
        seed: The seed.
        reason: One line.
    """

    seed: int
    reason: str


Outcome = PlayedGame | SkippedSeed | FailedSeed
Factory = Callable[[], Demonstrator]
"""Makes a demonstrator in the process that plays."""


class Pool(Protocol):
    """Plays seeds, several at a time perhaps."""

    @property
    def running(self) -> int:
        """Games under way."""

    @property
    def has_room(self) -> bool:
        """Whether a seed can be submitted now."""

    def submit(self, seed: int) -> None:
        """Starts a game."""

    def poll(self) -> Sequence[Outcome]:
        """Waits a moment for games to end and returns those that did."""

    def steps(self) -> int:
        """Steps played so far, those of running games included, as far as they are known."""

    def close(self) -> None:
        """Drops running games; leaves no process and no temporary folder."""


class LocalPool:
    """Plays one game at a time in this process.

    Args:
        options: What decides the games.
        factory: Makes the demonstrator.
        provenance: Goes into the shards.
        on_step: Called after each step; it may raise to drop the game.
    """

    def __init__(
        self, options: GameOptions, factory: Factory, provenance: Provenance, on_step: Callable[[], None]
    ) -> None:
        self._player = Player(options, factory(), provenance)
        self._on_step = on_step
        self._seed: int | None = None
        self._finished_steps = 0
        self._running_steps = 0

    @property
    def running(self) -> int:
        """Games under way."""
        return int(self._seed is not None)

    @property
    def has_room(self) -> bool:
        """Whether a seed can be submitted now."""
        return self._seed is None

    def submit(self, seed: int) -> None:
        """Takes a seed, to be played by the next :meth:`poll`."""
        self._seed = seed

    def poll(self) -> Sequence[Outcome]:
        """Plays the submitted game to its end."""
        if self._seed is None:
            return []
        seed = self._seed
        outcome: Outcome
        try:
            outcome = self._player.play(seed, self._count_step)
        except Exception as error:  # noqa: BLE001  (a failed game is listed with its reason, the next one played)
            outcome = FailedSeed(seed, _reason(error))
        finally:
            self._seed = None
        self._finished_steps += outcome.steps if isinstance(outcome, PlayedGame) else 0
        self._running_steps = 0
        return [outcome]

    def _count_step(self, steps: int) -> None:
        self._running_steps = steps
        self._on_step()

    def steps(self) -> int:
        """Steps played so far."""
        return self._finished_steps + self._running_steps

    def close(self) -> None:
        """Removes the scratch folder."""
        self._player.close()


class _Board:
    """A Ray actor that knows how many steps each worker has played."""

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}

    def report(self, worker: str, steps: int) -> None:
        self._steps[worker] = steps

    def total(self) -> int:
        return sum(self._steps.values())


class _Worker:
    """A Ray actor that plays."""

    def __init__(self, options: GameOptions, factory: Factory, provenance: Provenance, board: Any) -> None:
        die_with_parent()
        self._player = Player(options, factory(), provenance)
        self._player.warm_up()
        self._board = board
        self._name = uuid.uuid4().hex
        self._finished_steps = 0
        self._next_report = 0.0

    def ready(self) -> str:
        """Where it runs."""
        return f"process {os.getpid()} on {socket.gethostname()}"

    def play(self, seed: int) -> PlayedGame | SkippedSeed:
        """Plays the game of one seed."""
        outcome = self._player.play(seed, self._report)
        if isinstance(outcome, PlayedGame):
            self._finished_steps += outcome.steps
            self._board.report.remote(self._name, self._finished_steps)
        return outcome

    def _report(self, steps: int) -> None:
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + REPORT_SECONDS
            self._board.report.remote(self._name, self._finished_steps + steps)


def _warm_up(options: GameOptions, factory: Factory, provenance: Provenance) -> None:
    """A Ray task, run once on a machine."""
    die_with_parent()
    player = Player(options, factory(), provenance)
    player.warm_up()
    player.close()


@dataclass
class _Slot:
    """A worker and where it runs, once that is known."""

    actor: Any
    place: str = ""


class RayPool:
    """Plays in Ray actors, one core each.

    Args:
        workers: Number of actors; None for one a core of the cluster.
        address: Address of a running cluster, or None to start one on this machine for this run alone.
        options: What decides the games.
        factory: Makes the demonstrator; it travels to the workers.
        provenance: Goes into the shards.

    Raises:
        InputError: If no cluster answers at the address.
        RunError: If the demonstrator cannot be started.
    """

    def __init__(
        self,
        workers: int | None,
        address: str | None,
        options: GameOptions,
        factory: Factory,
        provenance: Provenance,
    ) -> None:
        self._ray = _import_ray()
        self._max_seconds = options.max_seconds
        self._scratch = _short_scratch() if address is None else None
        self._idle: list[_Slot] = []
        self._starting: dict[Any, _Slot] = {}
        self._busy: dict[Any, tuple[_Slot, int, float]] = {}
        self._start_failures = 0
        self._steps = 0
        self._steps_asked: Any = None
        self._next_steps = 0.0
        try:
            self._connect(workers, address)
            runtime_env = {"env_vars": dict(options.clock.environment())}
            arguments = (options, factory, provenance)
            self._warm_up_nodes(runtime_env, arguments)
            board = self._ray.remote(_Board).options(num_cpus=0).remote()
            actor = self._ray.remote(_Worker).options(num_cpus=1, max_restarts=0, runtime_env=runtime_env)
            self._new_actor = lambda: actor.remote(*arguments, board)
            self._board = board
            for _ in range(workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))):
                self._start_worker()
        except BaseException:
            self.close()
            raise

    @property
    def running(self) -> int:
        """Games under way."""
        return len(self._busy)

    @property
    def has_room(self) -> bool:
        """Whether a worker waits for a seed."""
        return bool(self._idle)

    def submit(self, seed: int) -> None:
        """Starts a game on an idle worker."""
        slot = self._idle.pop()
        limit = float("inf") if self._max_seconds is None else self._max_seconds
        allowed = limit + max(HANG_GRACE_SECONDS, HANG_GRACE_SHARE * limit)
        self._busy[slot.actor.play.remote(seed)] = slot, seed, time.monotonic() + allowed

    def poll(self) -> Sequence[Outcome]:
        """Waits a moment for games to end, replaces dead and hung workers."""
        outcomes: list[Outcome] = []
        references = [*self._starting, *self._busy]
        ready, _ = self._ray.wait(references, num_returns=1, timeout=POLL_SECONDS) if references else ([], [])
        for reference in ready:
            if reference in self._starting:
                self._welcome(reference)
            else:
                outcomes.append(self._collect(reference))
        now = time.monotonic()
        hung = [reference for reference, (_, _, deadline) in self._busy.items() if now > deadline]
        for reference in hung:
            slot, seed, _ = self._busy.pop(reference)
            self._replace(slot)
            limit = f"{self._max_seconds:g} seconds"
            outcomes.append(FailedSeed(seed, f"hung: no end within {limit}, its worker ({slot.place}) was killed"))
        return outcomes

    def steps(self) -> int:
        """Steps as last reported by the workers; never waits."""
        if self._steps_asked is None:
            if time.monotonic() >= self._next_steps:
                self._next_steps = time.monotonic() + REPORT_SECONDS
                self._steps_asked = self._board.total.remote()
        elif self._ray.wait([self._steps_asked], timeout=0)[0]:
            # Its node may be gone; then the rate shown stands still, but the games do not.
            with suppress(self._ray.exceptions.RayError):
                self._steps = max(self._steps, self._ray.get(self._steps_asked))
            self._steps_asked = None
        return self._steps

    def close(self) -> None:
        """Ends our workers, and our cluster if we started one; removes what they left."""
        try:
            for slot in [
                *self._idle,
                *self._starting.values(),
                *(slot for slot, _, _ in self._busy.values()),
            ]:
                self._ray.kill(slot.actor)
            self._ray.shutdown()
        finally:
            if self._scratch is not None:
                self._scratch.close()

    def _connect(self, workers: int | None, address: str | None) -> None:
        if self._scratch is not None:
            self._ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(self._scratch.path),
            )
            return
        assert address is not None, "a cluster is ours or at an address"
        check_address(address)
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(f"address: no Ray cluster at {address!r} ({_first_line(error)})") from error

    def _warm_up_nodes(self, runtime_env: dict[str, Any], arguments: tuple[Any, ...]) -> None:
        """Warms numba's cache on every machine, before its workers would all compile the same kernels."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task = self._ray.remote(_warm_up)
        nodes = [n["NodeID"] for n in self._ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
        references = [
            task.options(
                num_cpus=1,
                max_retries=0,
                runtime_env=runtime_env,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
            ).remote(*arguments)
            for node in nodes
        ]
        try:
            self._ray.get(references)
        except self._ray.exceptions.RayError as error:
            raise RunError(f"demonstrator: it could not be started in a worker: {_reason(error)}") from error

    def _start_worker(self) -> None:
        slot = _Slot(self._new_actor())
        self._starting[slot.actor.ready.remote()] = slot

    def _replace(self, slot: _Slot) -> None:
        self._ray.kill(slot.actor)
        self._start_worker()

    def _welcome(self, reference: Any) -> None:
        slot = self._starting.pop(reference)
        try:
            slot.place = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._start_failures += 1
            if self._start_failures >= MAX_START_FAILURES:
                raise RunError(
                    f"{MAX_START_FAILURES} workers in a row died on starting; the last: {_reason(error)}"
                ) from error
            self._replace(slot)
        else:
            self._start_failures = 0
            self._idle.append(slot)

    def _collect(self, reference: Any) -> Outcome:
        slot, seed, _ = self._busy.pop(reference)
        exceptions = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(reference)
        except exceptions.RayTaskError as error:  # the worker lives, the game failed in our code or NLE's
            self._idle.append(slot)
            return FailedSeed(seed, _reason(error))
        except exceptions.RayError as error:
            self._replace(slot)
            return FailedSeed(seed, f"its worker died ({slot.place}; {type(error).__name__})")
        self._idle.append(slot)
        return outcome


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    import ray.exceptions

    return ray


def check_address(address: str) -> None:
    """Checks that something listens at a cluster's address; Ray itself would try for minutes.

    Raises:
        InputError: If nothing does, or the address is not of the form host:port.
    """
    if address == "auto":
        return  # Ray answers at once
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"address: {address!r} is neither 'auto' nor host:port")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"address: no Ray cluster at {address!r} ({error})") from error


def _short_scratch() -> Scratch:
    """A temporary folder whose path is short enough for the Unix sockets in it."""
    usual = Path(tempfile.gettempdir())
    return Scratch(usual if len(str(usual)) + 100 <= _SOCKET_PATH_LIMIT else Path("/tmp"))


def _reason(error: BaseException) -> str:
    """One line about an error; of one that came through Ray, about what was raised in the worker."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        error = cause
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else ""
