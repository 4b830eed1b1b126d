"""The loop of all commands that make games: it hands out jobs, keeps the results, and tries failed jobs again."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from strathack.collect.running.display import Display, Report
from strathack.collect.running.pools import (
    Factory,
    Failed,
    Finished,
    LocalPool,
    Outcome,
    Pool,
    RayPool,
)
from strathack.collect.running.results import GameShard, JobResult, Refused
from strathack.dataset.errors import FormatError
from strathack.dataset.folder import DatasetFolder, StoredGame
from strathack.dataset.options import WorkerOptions
from strathack.dataset.reading import Dataset
from strathack.dataset.schema import GAMES_PER_SHARD
from strathack.dataset.signals import StopOnSignal, interrupted_by
from strathack.dataset.splits import Fractions
from strathack.dataset.writer import DatasetWriter


@dataclass(frozen=True)
class Workers:
    """Has jobs done by workers, in this process or in others.

    Attributes:
        factory: Makes a worker.
        where: How many workers there are, and where they run.
        environment: Environment variables that the workers' processes start with.
        max_seconds: Seconds on one job after which a worker counts as hung; None for no limit.
    """

    factory: Factory
    where: WorkerOptions
    environment: Mapping[str, str] = field(default_factory=dict)
    max_seconds: float | None = None


@dataclass(frozen=True)
class OwnPool:
    """Has jobs done by a pool that is made for them.

    Attributes:
        open: Opens the pool.
    """

    open: Callable[[], Pool]


@dataclass(frozen=True)
class Work:
    """Jobs that each make a game, and how they are done.

    Attributes:
        jobs: Game name → the job that makes the game.
        by: The workers or the pool that do the jobs.
        describe: Returns what the display reports of a job's result.
        called: Returns the name of a job in reports.
        load: Returns what a worker needs for a job; called when the job is handed out.
        retries: How often a job is tried again after its worker died.
        made_of: The stored games that games of the same names are made of; None if they are made of nothing stored.
    """

    jobs: Mapping[str, Any]
    by: Workers | OwnPool
    describe: Callable[[Any, JobResult], Report]
    called: Callable[[Any], str] = str
    load: Callable[[Any], Any] = lambda job: job
    retries: int = 2
    made_of: Dataset | None = None

    def report(self, outcome: Outcome, *, again: bool) -> Report:
        """Returns what the display reports of an outcome; ``again`` is whether the job is tried again."""
        if isinstance(outcome, Failed):
            then = "trying again" if again else "given up"
            return Report(f"{self.called(outcome.job)}: {outcome.reason}; {then}", failed=True)
        return self.describe(outcome.job, outcome.result)


@dataclass(frozen=True)
class Made:
    """A dataset after a run. It may have further games, of earlier runs.

    Attributes:
        folder: Its files.
        names: Names of the run's games.
        failures: Name of each that could not be made → why.
        signal: The signal that interrupted the run, 0 if none did.
    """

    folder: DatasetFolder
    names: Collection[str]
    failures: Mapping[str, str]
    signal: int

    @cached_property
    def games(self) -> list[StoredGame]:
        """Those of the run's games that are there."""
        return [game for game in self.folder.games() if game.name in self.names]

    @property
    def steps(self) -> int:
        """Steps of the run's games."""
        return sum(int(game.row["steps"]) for game in self.games)

    def notes(self, attribute: str) -> dict[str, str]:
        """Returns the run's games that an attribute tells something about: name → the attribute."""
        games = Dataset(self.folder.path) if self.games else ()
        own = (game for game in games if game.name in self.names)
        return {game.name: game.attributes[attribute] for game in own if attribute in game.attributes}

    def exit_status(self) -> int:
        """Returns 0; 1 if a game failed; over 128 after an interruption, which it reports."""
        if self.signal:
            return interrupted_by(self.signal)
        return 1 if self.failures else 0


def make_dataset(
    out: Path,
    settings: Mapping[str, Any],
    work: Work,
    *,
    fractions: Fractions | None = None,
    games_per_shard: int = GAMES_PER_SHARD,
    quiet: bool = False,
) -> Made:
    """Makes the games that are missing, adds each to the folder as soon as it is made, and merges the shards.

    Ctrl-C and SIGTERM end the run early; the dataset on disk is valid then.

    Args:
        out: The dataset folder.
        settings: The dataset's settings, which agree with those of an existing dataset.
        work: The jobs.
        fractions: How the games of a new dataset are split; by default by the usual shares.
        games_per_shard: Games in a merged shard.
        quiet: Plain lines instead of a live display.

    Raises:
        InputError: If another process writes to the folder.
        RunError: If a file cannot be written.
    """
    dataset = DatasetWriter(out, settings, fractions=fractions)
    with stop_on_signal() as stop, dataset as writer, writer.writing():
        missing = {job: name for name, job in work.jobs.items() if name not in writer.present}

        def keep(outcome: Outcome) -> None:
            name = missing[outcome.job]
            result = outcome if isinstance(outcome, Failed) else outcome.result
            if isinstance(result, GameShard):
                writer.add(name, result.shard, made_of=None if work.made_of is None else work.made_of[name])
            writer.tell(name, result.reason if isinstance(result, Failed | Refused) else "")

        # The folder is begun only when the workers have started, since they may fail to start.
        do_jobs(work, list(missing), keep, stop, quiet=quiet, on_start=writer.begin)
        if not stop:
            writer.merge(games_per_shard, lambda: bool(stop))
    folder = writer.folder
    failures = {name: why for name, why in folder.read_failures().items() if name in work.jobs}
    return Made(folder, work.jobs.keys(), failures, stop.number)


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
        work: How the jobs are done.
        jobs: The jobs of ``work`` that are to be done.
        keep: Called with each job's last outcome.
        stop: Ends the loop early.
        quiet: Plain lines instead of a live display.
        on_start: Called when the pool is ready; at once if there are no jobs.
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
                try:
                    pool.submit(job, work.load(job))
                except FormatError as error:  # this game is damaged; the others are not
                    unreadable = Finished(job, Refused(str(error)))
                    keep(unreadable)
                    display.show(work.report(unreadable, again=False), counted=True)
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
    """Notes a first signal and ends this process at once at a second; for runs that clean up however they end."""
    return StopOnSignal(on_first=lambda number: None, on_further=_end_at_once)


def _end_at_once(number: int) -> None:
    os._exit(128 + number)  # the janitors remove processes and temporary folders


@contextmanager
def _opened(by: Workers | OwnPool, display: Display, stop: StopOnSignal) -> Iterator[tuple[Pool, Display]]:
    """Opens the pool that does the jobs, and the display."""

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
    """Returns the pool's outcomes; none if Ctrl-C dropped a running job."""
    try:
        return pool.poll()
    except KeyboardInterrupt:
        return []
