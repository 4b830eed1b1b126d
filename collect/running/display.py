"""What a run prints: a live line, or plain lines for logs; and the tables at its end."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.status import Status

from strathack.dataset.figures import strategy_steps
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.printing import scores_by_role, strategy_shares
from strathack.dataset.reading import Dataset
from strathack.dataset.schema import ENDS

RATE_WINDOW_SECONDS = 10.0


class RateMeter:
    """Measures steps per second, now and overall."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._points: deque[tuple[float, int]] = deque([(self._started, 0)])

    def update(self, steps: int) -> tuple[float, float]:
        """Takes the total number of steps; returns the rates over the last ten seconds and over the whole run."""
        now = time.monotonic()
        self._points.append((now, steps))
        while len(self._points) > 2 and now - self._points[0][0] > RATE_WINDOW_SECONDS:
            self._points.popleft()
        then, before = self._points[0]
        recent = (steps - before) / max(now - then, 1e-9)
        return recent, steps / max(now - self._started, 1e-9)


@dataclass(frozen=True)
class Report:
    """What the display reports of a job's outcome.

    Attributes:
        line: The line to print; empty to print none.
        score: The game's score, or None.
        failed: Whether it counts as failed.
    """

    line: str = ""
    score: int | None = None
    failed: bool = False


class Display(AbstractContextManager["Display"]):
    """Shows the progress of a run.

    Args:
        total: Games to make.
        quiet: Whether to print plain lines, one per game, instead of a live line.
        console: Where to print; standard error by default, so that standard output holds only the summary.
    """

    def __init__(self, total: int, *, quiet: bool, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._quiet = quiet
        self._total = total
        self._done = 0
        self._failed = 0
        self._scores: list[int] = []
        self._meter = RateMeter()
        self._next_refresh = 0.0
        self._progress = Progress(
            TextColumn("{task.completed}/{task.total} games"),
            BarColumn(bar_width=10),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=self._console,
            disable=quiet,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task("games", total=total, state="starting")

    def __enter__(self) -> Display:
        self._meter = RateMeter()  # without the time that the workers took to start
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    def restore(self) -> None:
        """Leaves the terminal as it was."""
        self._progress.stop()

    def starting(self) -> Status:
        """Returns a context in which the workers start; a terminal shows a status meanwhile."""
        return self._console.status("starting the processes that work")

    def say(self, line: str) -> None:
        """Prints a line above the live one."""
        self._console.out(line, highlight=False)

    def update(self, steps: int, running: int) -> None:
        """Refreshes the live line; cheap to call at every step."""
        now = time.monotonic()
        if now < self._next_refresh:
            return
        self._next_refresh = now + 0.25
        recent, overall = self._meter.update(steps)
        mean = f", mean score {np.mean(self._scores):,.0f}" if self._scores else ""
        failed = f", {self._failed} failed" if self._failed else ""
        state = f"{running} running{failed}, {recent:,.0f} steps/s now, {overall:,.0f} overall{mean}"
        self._progress.update(self._task, completed=self._done, state=state)

    def show(self, report: Report, *, counted: bool) -> None:
        """Shows a job's outcome; a job that is tried again does not count yet."""
        self._done += counted
        self._failed += counted and report.failed
        if report.score is not None:
            self._scores.append(report.score)
        if report.line:
            self.say(f"{self._done}/{self._total} {report.line}" if self._quiet and counted else report.line)
        self._next_refresh = 0.0


def print_summary(folder: DatasetFolder, failures: Mapping[str, str], console: Console | None = None) -> None:
    """Prints what a dataset holds: games, steps, bytes per step, ends, scores by role, strategy shares, failures."""
    console = console or Console()
    games = list(Dataset(folder.path)) if folder.shards() else []
    size = sum(path.stat().st_size for path in folder.shards())
    steps = int(sum(game.row["steps"] for game in games))
    per_step = f", {size / steps:.1f} bytes a step" if steps else ""
    told = f"{len(games)} games, {steps:,} steps, {size:,} bytes{per_step} in {folder.path}"
    console.out(told, highlight=False)
    if games:
        end_names = {code: name for name, code in ENDS.items()}
        ends = Counter(end_names[int(game.row["end"])] for game in games)
        counts = ", ".join(f"{name} {count}" for name, count in ends.most_common())
        console.out(f"ends: {counts}", highlight=False)
        console.print(scores_by_role(np.array([game.row for game in games])))
        console.print(strategy_shares(strategy_steps(games)))
    for game in games:
        if game.row["end"] == ENDS["demonstrator_error"]:
            line = f"demonstrator failed: {game.name} after {game.row['steps']} steps: {game.row['cause'].decode()}"
            console.out(line, highlight=False)
    for name, reason in failures.items():
        console.out(f"not played: {name}: {reason}", highlight=False)
