"""Pools, which do jobs such as playing games: in this process, or in Ray workers on one or more machines."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from strathack.collect.running.cluster import Cluster
from strathack.collect.running.results import JobResult
from strathack.collect.running.workplace import die_with_raylet
from strathack.dataset.errors import RunError, first_line

HANG_GRACE_SECONDS = 5.0
HANG_GRACE_SHARE = 0.1
"""How much longer than ``max_seconds`` a job may take before its worker counts as hung: these seconds, or this share
of ``max_seconds`` if that is longer. A playing worker that is not hung ends its game at its next step."""

REPORT_SECONDS = 1.0
"""Seconds between a worker's reports of its steps, and between the pool's requests for the total."""

POLL_SECONDS = 0.1
"""Seconds to wait for a job to end before checking other things; of two Ctrl-C in that time, only one is noticed."""

MAX_START_FAILURES = 5
"""After this many workers in a row have died before they were ready, the pool raises."""

OnStep = Callable[[int], None]
"""Called with the number of steps of the running job."""


class Worker(Protocol):
    """Does jobs one after another in one process; raises if a job fails."""

    def warm_up(self) -> None:
        """Does the preparations that would slow down the first job on a machine."""

    def work(self, payload: Any, on_step: OnStep) -> JobResult:
        """Does one job and returns its result; payload and result are sent between processes."""

    def close(self) -> None:
        """Removes what the worker keeps outside its memory."""


Factory = Callable[[], Worker]
"""Makes a worker in the process where it works."""


@dataclass(frozen=True)
class Finished:
    """A job that was done, and its result."""

    job: Any
    result: JobResult


@dataclass(frozen=True)
class Failed:
    """A job without a result, and the reason in one line."""

    job: Any
    reason: str


Outcome = Finished | Failed


class Pool(Protocol):
    """Does jobs, possibly several at a time."""

    @property
    def running(self) -> int:
        """Jobs under way."""

    @property
    def has_room(self) -> bool:
        """Whether a job can be submitted now."""

    def submit(self, job: Any, payload: Any) -> None:
        """Starts a job; ``payload`` is what the worker receives."""

    def poll(self) -> Sequence[Outcome]:
        """Waits a moment for jobs to end and returns those that did."""

    def steps(self) -> int:
        """Returns the steps so far, including those of running jobs as far as they are known."""

    def close(self) -> None:
        """Drops running jobs; leaves no process and no temporary folder."""


class LocalPool:
    """Does one job at a time in this process.

    Args:
        factory: Makes the worker.
        on_step: Called after each step; it may raise to drop the job.
    """

    def __init__(self, factory: Factory, on_step: Callable[[], None]) -> None:
        self._worker = factory()
        self._on_step = on_step
        self._jobs: list[tuple[Any, Any]] = []
        self._finished_steps = 0
        self._running_steps = 0

    @property
    def running(self) -> int:
        """Jobs under way."""
        return len(self._jobs)

    @property
    def has_room(self) -> bool:
        """Whether a job can be submitted now."""
        return not self._jobs

    def submit(self, job: Any, payload: Any) -> None:
        """Takes a job, to be done by the next :meth:`poll`."""
        self._jobs.append((job, payload))

    def poll(self) -> Sequence[Outcome]:
        """Does the submitted job."""
        if not self._jobs:
            return []
        job, payload = self._jobs[0]
        outcome: Outcome
        try:
            outcome = Finished(job, self._worker.work(payload, self._count_step))
        except Exception as error:  # noqa: BLE001  (a failed job is listed with its reason, the next one done)
            outcome = Failed(job, _reason(error))
        finally:
            self._jobs.clear()
        self._finished_steps, self._running_steps = self.steps(), 0
        return [outcome]

    def _count_step(self, steps: int) -> None:
        self._running_steps = steps
        self._on_step()

    def steps(self) -> int:
        """Steps so far."""
        return self._finished_steps + self._running_steps

    def close(self) -> None:
        """Closes the worker."""
        self._worker.close()


class _Board:
    """A Ray actor that stores how many steps each worker has played."""

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}

    def report(self, worker: str, steps: int) -> None:
        self._steps[worker] = steps

    def total(self) -> int:
        return sum(self._steps.values())


class _Worker:
    """A Ray actor that does jobs."""

    def __init__(self, factory: Factory, board: Any) -> None:
        die_with_raylet()
        self._worker = factory()
        self._worker.warm_up()
        self._board = board
        self._name = uuid.uuid4().hex
        self._finished_steps = 0
        self._running_steps = 0
        self._next_report = 0.0

    def ready(self) -> str:
        """Returns where the worker runs, as soon as it is ready."""
        return f"process {os.getpid()} on {socket.gethostname()}"

    def work(self, payload: Any) -> Any:
        """Does one job."""
        self._running_steps = 0
        result = self._worker.work(payload, self._count_step)
        self._finished_steps += self._running_steps
        self._board.report.remote(self._name, self._finished_steps)
        return result

    def _count_step(self, steps: int) -> None:
        self._running_steps = steps
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + REPORT_SECONDS
            self._board.report.remote(self._name, self._finished_steps + steps)


def _warm_up(factory: Factory) -> None:
    """Warms up a machine; a Ray task that runs once on each."""
    die_with_raylet()
    worker = factory()
    worker.warm_up()
    worker.close()


@dataclass
class _Slot:
    """A worker and where it runs, once that is known."""

    actor: Any
    place: str = ""


class RayPool:
    """Does jobs in Ray actors, one core each.

    Args:
        workers: Number of actors; None for one per core of the cluster.
        address: Address of a running cluster, or None to start one on this machine for this run alone.
        factory: Makes a worker; it is sent to the actors.
        environment: Environment variables of the actors' processes.
        max_seconds: Seconds that a job may take before its actor counts as hung, None for no limit.

    Raises:
        InputError: If no cluster answers at the address.
        RunError: If a worker cannot be started.
    """

    def __init__(
        self,
        workers: int | None,
        address: str | None,
        factory: Factory,
        environment: Mapping[str, str],
        max_seconds: float | None = None,
    ) -> None:
        self._cluster = Cluster(workers, address)
        self._ray = self._cluster.ray
        self._max_seconds = max_seconds
        self._idle: list[_Slot] = []
        self._starting: dict[Any, _Slot] = {}
        self._busy: dict[Any, tuple[_Slot, Any, float]] = {}
        self._start_failures = 0
        self._steps = 0
        self._steps_asked: Any = None
        self._next_steps = 0.0
        self._board: Any = None
        try:
            runtime_env = {"env_vars": dict(environment)}
            self._warm_up_nodes(runtime_env, factory)
            board = self._ray.remote(_Board).options(num_cpus=0).remote()
            actor = self._ray.remote(_Worker).options(num_cpus=1, max_restarts=0, runtime_env=runtime_env)
            self._new_actor = lambda: actor.remote(factory, board)
            self._board = board
            for _ in range(workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))):
                self._start_worker()
        except BaseException:
            self.close()
            raise

    @property
    def running(self) -> int:
        """Jobs under way."""
        return len(self._busy)

    @property
    def has_room(self) -> bool:
        """Whether a worker waits for a job."""
        return bool(self._idle)

    def submit(self, job: Any, payload: Any) -> None:
        """Starts a job on an idle worker."""
        slot = self._idle.pop()
        limit = float("inf") if self._max_seconds is None else self._max_seconds
        allowed = limit + max(HANG_GRACE_SECONDS, HANG_GRACE_SHARE * limit)
        self._busy[slot.actor.work.remote(payload)] = slot, job, time.monotonic() + allowed

    def poll(self) -> Sequence[Outcome]:
        """Waits a moment for jobs to end and returns those that did; replaces dead and hung workers."""
        outcomes: list[Outcome] = []
        references = [*self._starting, *self._busy]
        ready, _ = self._ray.wait(references, num_returns=1, timeout=POLL_SECONDS) if references else ([], [])
        for reference in ready:
            if reference in self._starting:
                self._welcome(reference)
            else:
                outcomes.append(self._collect(reference))
        now = time.monotonic()
        late = [reference for reference, (_, _, deadline) in self._busy.items() if now > deadline]
        # What has ended in the meantime, on whatever machine, is collected at the next polls.
        hung = self._ray.wait(late, num_returns=len(late), timeout=0, fetch_local=False)[1] if late else []
        for reference in hung:
            slot, job, _ = self._busy.pop(reference)
            self._replace(slot)
            limit = f"{self._max_seconds:g} seconds"
            outcomes.append(Failed(job, f"hung: no end within {limit}, its worker ({slot.place}) was killed"))
        return outcomes

    def steps(self) -> int:
        """Steps as last reported by the workers; never waits."""
        if self._steps_asked is None:
            if time.monotonic() >= self._next_steps:
                self._next_steps = time.monotonic() + REPORT_SECONDS
                self._steps_asked = self._board.total.remote()
        elif self._ray.wait([self._steps_asked], timeout=0)[0]:
            # The board's node may be gone; then the displayed rate stands still, but the work goes on.
            with suppress(self._ray.exceptions.RayError):
                self._steps = max(self._steps, self._ray.get(self._steps_asked))
            self._steps_asked = None
        return self._steps

    def close(self) -> None:
        """Ends our workers, and our cluster if we started one; removes what they left behind."""
        try:
            busy = (slot for slot, _, _ in self._busy.values())
            actors = [slot.actor for slot in (*self._idle, *self._starting.values(), *busy)]
            for actor in [*actors, *([] if self._board is None else [self._board])]:
                self._ray.kill(actor)
        finally:
            self._cluster.close()

    def _warm_up_nodes(self, runtime_env: dict[str, Any], factory: Factory) -> None:
        """Warms numba's cache on every machine, so that its workers do not all compile the same kernels."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task = self._ray.remote(_warm_up)
        nodes = [n["NodeID"] for n in self._ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
        references = [
            task.options(
                num_cpus=1,
                max_retries=0,
                runtime_env=runtime_env,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
            ).remote(factory)
            for node in nodes
        ]
        try:
            self._ray.get(references)
        except self._ray.exceptions.RayError as error:
            raise RunError(f"a worker could not be started: {_reason(error)}") from error

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
        slot, job, _ = self._busy.pop(reference)
        exceptions = self._ray.exceptions
        try:
            outcome: Outcome = Finished(job, self._ray.get(reference))
        except exceptions.RayTaskError as error:  # the worker lives, the job failed in our code or NLE's
            self._idle.append(slot)
            return Failed(job, _reason(error))
        except exceptions.RayError as error:
            self._replace(slot)
            return Failed(job, f"its worker died ({slot.place}; {type(error).__name__})")
        self._idle.append(slot)
        return outcome


def _reason(error: BaseException) -> str:
    """Returns one line about an error; if the error came through Ray, about the one raised in the worker."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        error = cause
    return f"{type(error).__name__}: {first_line(error)}"
