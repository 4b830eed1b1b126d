"""The loop that all commands share which make games: jobs are handed out, results kept, failed jobs tried again."""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strathack.collect.running.display import Display, Report
from strathack.collect.running.pools import Factory, Failed, LocalPool, Outcome, Pool, RayPool, WorkerOptions
from strathack.collect.running.results import GameShard, JobResult, Refused
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.schema import GAMES_PER_SHARD
from strathack.dataset.signals import StopOnSignal
from strathack.dataset.writer import DatasetWriter


@dataclass(frozen=True)
class Workers:
    """Jobs are done by workers of ours, in this process or in others.

    Attributes:
        factory: Makes a worker.
        where: How many work, and where.
        environment: Environment variables that their processes start with.
        max_seconds: Seconds after which one counts as hung.
    """

    factory: Factory
    where: WorkerOptions
    environment: Mapping[str, str] = field(default_factory=dict)
    max_seconds: float | None = None


@dataclass(frozen=True)
class OwnPool:
    """Jobs are done by a pool of their own.

    Attributes:
        open: Opens it.
    """

    open: Callable[[], Pool]


@dataclass(frozen=True)
class Work:
    """Jobs that each make a game, and how they are done.

    Attributes:
        jobs: What to do, by the name of the game that it makes.
        by: Who does it.
        describe: What the display says of a job's result.
        called: What a job is called in what is said of it.
        load: Makes what a worker needs of a job, when it is handed out.
        retries: How often a job is tried again whose worker died.
    """

    jobs: Mapping[str, Any]
    by: Workers | OwnPool
    describe: Callable[[Any, JobResult], Report]
    called: Callable[[Any], str] = str
    load: Callable[[Any], Any] = lambda job: job
    retries: int = 2

    def report(self, outcome: Outcome, *, again: bool) -> Report:
        """What the display says of an outcome; ``again`` tells whether the job is tried again."""
        if isinstance(outcome, Failed):
            then = "trying again" if again else "given up"
            return Report(f"{self.called(outcome.job)}: {outcome.reason}; {then}", failed=True)
        return self.describe(outcome.job, outcome.result)


@dataclass(frozen=True)
class Made:
    """A dataset after a run.

    Attributes:
        folder: Its files.
        failures: Game name → why there is no such game.
        notes: Game name → what a user has to know about it.
        signal: The signal that interrupted the run, 0 if none did.
    """

    folder: DatasetFolder
    failures: Mapping[str, str]
    notes: Mapping[str, str]
    signal: int

    def exit_status(self, *, strict: bool = False) -> int:
        """0; 1 if a game could not be made or, when strict, has a note; over 128 after an interruption, told of."""
        if self.signal:
            print("interrupted: what is there is valid; the same command goes on from here", file=sys.stderr)
            return 128 + self.signal
        return 1 if self.failures or (strict and self.notes) else 0


def make_dataset(
    out: Path,
    settings: Mapping[str, Any],
    work: Work,
    *,
    games_per_shard: int = GAMES_PER_SHARD,
    quiet: bool = False,
) -> Made:
    """Makes the games that are missing, each into the folder as soon as it is there, and merges the shards.

    Ctrl-C and SIGTERM end it early, with what is there valid.

    Args:
        out: The dataset folder.
        settings: The dataset's settings, agreed with those that are there.
        work: The jobs.
        games_per_shard: Games in a merged shard.
        quiet: Plain lines instead of a live display.

    Raises:
        InputError: If another process writes to the folder.
        RunError: If a file cannot be written.
    """
    with stop_on_signal() as stop, DatasetWriter(out, settings) as writer:
        missing = {job: name for name, job in work.jobs.items() if name not in writer.present}

        def keep(outcome: Outcome) -> None:
            name = missing[outcome.job]
            if isinstance(outcome, Failed):
                writer.tell(name, failure=outcome.reason)
            elif isinstance(outcome.result, GameShard):
                writer.add(name, outcome.result.shard)
                writer.tell(name, note=outcome.result.note)
            else:
                writer.tell(name, failure=outcome.result.reason if isinstance(outcome.result, Refused) else "")

        # The folder is begun when the workers are there, since they may fail to start.
        do_jobs(work, list(missing), keep, stop, quiet=quiet, on_start=writer.begin)
        if not stop:
            writer.merge(games_per_shard, lambda: bool(stop))
    folder = writer.folder
    return Made(folder, folder.read_failures(), folder.read_notes(), stop.number)


def do_jobs(
    work: Work,
    jobs: Sequence[Any],
    keep: Callable[[Outcome], None],
    stop: StopOnSignal,
    *,
    quiet: bool,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """The loop: hands out jobs, keeps every result at once, tries failed jobs again.

    Args:
        work: How they are done.
        jobs: Those of its jobs that are to be done.
        keep: Called with each job's last outcome.
        stop: Ends it early.
        quiet: Plain lines instead of a live display.
        on_start: Called when those who do them are there; at once, where there is nothing to do.
    """
    if not jobs:
        on_start()
        return
    waiting, attempts = deque(jobs), Counter[Any]()
    with _opened(work.by, Display(len(jobs), quiet=quiet), stop) as (pool, display):
        on_start()
        while (waiting or pool.running) and not stop:
            while waiting and pool.has_room:
                job = waiting.popleft()
                pool.submit(job, work.load(job))
            for outcome in _poll(pool):
                attempts[outcome.job] += 1
                again = isinstance(outcome, Failed) and attempts[outcome.job] <= work.retries
                if again:
                    waiting.append(outcome.job)
                else:
                    keep(outcome)
                display.show(work.report(outcome, again=again), counted=not again)
            display.update(pool.steps(), pool.running)


def stop_on_signal() -> StopOnSignal:
    """For runs that leave nothing behind however they end: a second signal ends this process at once."""
    return StopOnSignal(on_first=lambda number: None, on_further=_end_at_once)


def _end_at_once(number: int) -> None:
    os._exit(128 + number)  # the janitors see to processes and temporary folders


@contextmanager
def _opened(by: Workers | OwnPool, display: Display, stop: StopOnSignal) -> Iterator[tuple[Pool, Display]]:
    """Those who do the jobs, and the display beside them."""

    def end_at_once(number: int) -> None:
        display.restore()
        _end_at_once(number)

    stop.on_further = end_at_once
    with display.starting():
        pool = by.open() if isinstance(by, OwnPool) else _pool_of(by, display, stop)
    with closing(pool), display:
        yield pool, display


def _pool_of(workers: Workers, display: Display, stop: StopOnSignal) -> Pool:
    where = workers.where
    if where.workers != 0:
        return RayPool(where.workers, where.address, workers.factory, workers.environment, workers.max_seconds)

    def on_step() -> None:
        display.update(pool.steps(), pool.running)
        if stop:
            raise KeyboardInterrupt

    pool = LocalPool(workers.factory, on_step)
    return pool


def _poll(pool: Pool) -> Sequence[Outcome]:
    """Outcomes; none if a running job was dropped by Ctrl-C."""
    try:
        return pool.poll()
    except KeyboardInterrupt:
        return []
