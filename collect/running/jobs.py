"""The loop that all commands share which make a dataset game by game, in this process or on Ray."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from strathack.collect.running.display import Display, Report
from strathack.collect.running.pools import Factory, Failed, LocalPool, Outcome, Placement, Pool, RayPool
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.files import folder_lock, remove_temporary_files
from strathack.dataset.folder import DatasetFolder


class MadeGame(Protocol):
    """A job's result that is to be kept."""

    @property
    def name(self) -> str:
        """The game's name."""

    @property
    def shard(self) -> bytes:
        """A one-game shard."""

    @property
    def note(self) -> str:
        """What a user has to know about it, empty for nothing."""


@dataclass(frozen=True)
class RemadeGame:
    """A game that was imported, replayed or played again.

    Attributes:
        name: Its name.
        steps: Its steps.
        shard: A one-game shard, empty where only a digest was asked for.
        note: What a user has to know about it, empty for nothing.
    """

    name: str
    steps: int
    shard: bytes
    note: str = ""


@dataclass(frozen=True)
class Refused:
    """A job's result where there is no game to keep, whoever tries it: it is listed with its reason."""

    reason: str


@dataclass(frozen=True)
class Work:
    """Jobs that each make a game, and how they are done.

    Attributes:
        jobs: What to do, by the name of the game that it makes.
        factory: Makes the worker; of no use with a pool of its own.
        report: Describes an outcome for the display; the second argument says whether it is tried again.
        load: Makes what a worker needs of a job, when it is handed out.
        environment: Environment variables that the workers start with.
        max_seconds: Seconds after which a worker counts as hung.
        retries: How often a job is tried again whose worker died.
        pool: Opens the pool that does them; by default Ray workers, or this process.
    """

    jobs: Mapping[str, Any]
    report: Callable[[Outcome, bool], Report]
    factory: Factory | None = None
    load: Callable[[Any], Any] = lambda job: job
    environment: Mapping[str, str] = field(default_factory=dict)
    max_seconds: float | None = None
    retries: int = 2
    pool: Callable[[], Pool] | None = None


class Making(Protocol):
    """The options that all commands share which make a dataset."""

    @property
    def out(self) -> Path:
        """The dataset folder; it is made where it does not exist."""

    @property
    def placement(self) -> Placement:
        """Where jobs are done."""

    @property
    def games_per_shard(self) -> int:
        """Games in a merged shard."""

    @property
    def quiet(self) -> bool:
        """Plain lines instead of a live display."""


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


def make_dataset(config: Making, settings: Mapping[str, Any], work: Work) -> Made:
    """Makes the games that are missing, each into the folder as soon as it is there, and merges the shards.

    Ctrl-C and SIGTERM end it early, with what is there valid.

    Args:
        config: Where to, and how.
        settings: The dataset's settings, agreed with those that are there.
        work: The jobs.

    Raises:
        InputError: If another process writes to the folder.
        RunError: If a file cannot be written.
    """
    with Interruption() as interruption:
        _make(config, settings, work, interruption)
    folder = DatasetFolder(config.out)
    return Made(folder, folder.read_failures(), folder.read_notes(), interruption.number)


def _make(config: Making, settings: Mapping[str, Any], work: Work, interruption: Interruption) -> None:
    out, quiet, placement = config.out, config.quiet, config.placement
    folder = DatasetFolder(out)
    there = folder.read_settings()
    _check_writable(out)
    with _writing(folder), ExitStack() as lock:
        if there is not None:
            lock.enter_context(folder_lock(out))
        present = {game.name for game in folder.games()}
        missing = {name: job for name, job in work.jobs.items() if name not in present}
        with ExitStack() as working:
            if missing:
                display = interruption.display = Display(len(missing), quiet=quiet)
                with display.starting():
                    pool = _open_pool(work, placement, display, interruption)
                working.enter_context(closing(pool))
                working.enter_context(display)
            # Nothing is written before the pool is open, since that may fail, too.
            if there is None:
                out.mkdir(parents=True, exist_ok=True)
                lock.enter_context(folder_lock(out))
            remove_temporary_files(out)
            if settings != there:
                folder.write_settings(settings)
            if missing:
                names = {job: name for name, job in missing.items()}
                records = _Records(folder)

                def keep(outcome: Outcome) -> None:
                    records.keep(names[outcome.job], outcome)

                do_jobs(pool, list(names), work, keep, display, interruption)
        if not interruption:
            for _ in folder.merge(config.games_per_shard):
                if interruption:
                    break


def do_jobs(
    pool: Pool,
    jobs: Sequence[Any],
    work: Work,
    keep: Callable[[Outcome], None],
    display: Display,
    interruption: Interruption,
) -> None:
    """The loop: hands out jobs, keeps every result at once, tries failed jobs again."""
    waiting, attempts = deque(jobs), Counter[Any]()
    while (waiting or pool.running) and not interruption:
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
            display.show(work.report(outcome, again), counted=not again)
        display.update(pool.steps(), pool.running)


def do_all(
    work: Work,
    placement: Placement,
    keep: Callable[[Outcome], None],
    *,
    quiet: bool,
    interruption: Interruption,
) -> bool:
    """Does jobs that make nothing to be written. Returns False if it was interrupted."""
    if work.jobs:
        display = interruption.display = Display(len(work.jobs), quiet=quiet)
        with display.starting():
            pool = _open_pool(work, placement, display, interruption)
        with closing(pool), display:
            do_jobs(pool, list(work.jobs.values()), work, keep, display, interruption)
    return not interruption


def _poll(pool: Pool) -> Sequence[Outcome]:
    """Outcomes; none if a running job was dropped by Ctrl-C."""
    try:
        return pool.poll()
    except KeyboardInterrupt:
        return []


class _Records:
    """Writes games, and what is to be said of those that have something to be said of."""

    def __init__(self, folder: DatasetFolder) -> None:
        self._folder = folder
        self._failures, self._notes = folder.read_failures(), folder.read_notes()

    def keep(self, name: str, outcome: Outcome) -> None:
        """Writes a game, or why there is none."""
        failure = note = ""
        if isinstance(outcome, Failed):
            failure = outcome.reason
        elif isinstance(outcome.result, Refused):
            failure = outcome.result.reason
        elif hasattr(outcome.result, "shard"):
            self._folder.add_game(name, outcome.result.shard)
            note = outcome.result.note
        if _set(self._failures, name, failure):
            self._folder.write_failures(self._failures)
        if _set(self._notes, name, note):
            self._folder.write_notes(self._notes)


def _set(texts: dict[str, str], name: str, text: str) -> bool:
    """Sets or removes an entry; whether that changed anything."""
    before = texts.pop(name, "")
    if text:
        texts[name] = text
    return text != before


def _open_pool(work: Work, placement: Placement, display: Display, interruption: Interruption) -> Pool:
    if work.pool is not None:
        return work.pool()
    assert work.factory is not None, "work has a pool or what makes workers"
    if placement.workers != 0:
        return RayPool(placement.workers, placement.address, work.factory, work.environment, work.max_seconds)

    def on_step() -> None:
        display.update(pool.steps(), pool.running)
        if interruption:
            raise KeyboardInterrupt

    pool = LocalPool(work.factory, on_step)
    return pool


def _check_writable(path: Path) -> None:
    """Checks that the folder can be written or made.

    Raises:
        InputError: If it cannot.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"{existing}: is a file; expected a folder for the dataset")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{existing}: is not writable")


@contextmanager
def _writing(folder: DatasetFolder) -> Iterator[None]:
    """Turns a failure to write into one line."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise
        raise RunError(
            f"{error.filename or folder.path}: cannot be written ({error.strerror}); "
            "every game written before is safe, and the same command goes on from there"
        ) from error


def agreed_settings(out: Path, asked: Mapping[str, Any], *, except_for: Sequence[str] = ()) -> dict[str, Any] | None:
    """The settings of the dataset that is there, if any; those asked for have to be the same.

    Args:
        out: The dataset folder.
        asked: The settings asked for.
        except_for: Names of settings that may differ.

    Raises:
        InputError: If they differ, or the folder holds something else.
    """
    there = DatasetFolder(out).read_settings()
    if there is not None:
        differing = [
            f"{name} is {there.get(name)!r} there and {asked[name]!r} here"
            for name in asked
            if name not in except_for and there.get(name) != asked[name]
        ]
        if differing:
            raise InputError(f"{out}: holds games of other settings: {'; '.join(differing)}")
    return there


@dataclass
class Interruption:
    """Ctrl-C and SIGTERM: the first asks the run to stop, the second ends it at once.

    True as a condition once one has come. While entered it handles both signals.

    Attributes:
        number: The first signal's number, 0 before.
        display: Restored before an end at once.
    """

    number: int = 0
    display: Display | None = None

    def __bool__(self) -> bool:
        return self.number != 0

    def __enter__(self) -> Interruption:
        # In a thread of a program, signals are that program's.
        numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        self._before = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            if self.display is not None:
                self.display.__exit__(None, None, None)
            os._exit(128 + number)  # the janitors see to processes and temporary folders
        self.number = number
