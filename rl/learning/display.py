"""The display of a run: a progress line while it learns, a table at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column, Table

from strathack.models.callbacks import clock_time
from strathack.rl.learning.progress import RECENT, Counters

_SHOWN = (
    ("return/mean", "return {:,.1f}"),
    ("return/median", "median {:,.1f}"),
    ("lag/mean", "lag {:.1f}"),
    ("loss/policy", "policy {:.3f}"),
    ("loss/value", "value {:.3f}"),
    ("loss/demos", "demos {:.3f}"),
    ("loss/kickstart", "KL {:.3f}"),
)


FRAMES_WIDTH = len("10,000,000 frames")


class Display:
    """A progress line on standard error.

    Args:
        counters: What was done so far.
        share_done: Returns the share of the budget that is spent, 0 to 1.
        quiet: Whether to show nothing.
    """

    def __init__(self, counters: Counters, share_done: Callable[[], float], quiet: bool) -> None:
        columns = (
            # Wide enough for the number of frames, so that a narrow terminal shortens the metrics instead.
            TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=FRAMES_WIDTH)),
            BarColumn(bar_width=5),
            TextColumn("{task.fields[told]}"),
        )
        self._counters, self._share_done = counters, share_done
        self._progress = Progress(*columns, console=Console(stderr=True), refresh_per_second=2, disable=quiet)
        self._task = self._progress.add_task("0 frames", total=1.0, told="workers are starting")
        self._row: Mapping[str, float] = {}
        self._began, self._done_at_first = time.monotonic(), 0.0

    def __enter__(self) -> Display:
        """Shows the progress line."""
        self._began, self._done_at_first = time.monotonic(), self._share_done()
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Restores the terminal."""
        self._progress.stop()

    def show(self, row: Mapping[str, float]) -> None:
        """Shows a row of metrics."""
        self._row = row
        self.update()

    def update(self) -> None:
        """Shows the current counts."""
        done = self._share_done()
        told = []
        if (since := done - self._done_at_first) > 0:
            told.append(f"{clock_time((time.monotonic() - self._began) * (1 - done) / since)} left")
        if self._row:
            told.append(f"{self._row['frames_per_second']:,.0f} frames/s")
        told += [form.format(self._row[name]) for name, form in _SHOWN if self._row.get(name)]
        if self._counters.validation_nll is not None:
            told.append(f"kept NLL {self._counters.validation_nll:.3f}")
        if self._counters.lost:
            told.append(f"{self._counters.lost} workers replaced, the last: {self._counters.why_lost}")
        description = f"{self._counters.frames:,} frames"
        self._progress.update(self._task, completed=done, description=description, told=" · ".join(told))


def ended_table(counters: Counters) -> Table:
    """Returns a table of a run's results."""
    table = Table(title=f"the last {min(counters.games, RECENT):,} of {counters.games:,} games")
    table.add_column("")
    table.add_column("mean", justify="right")
    table.add_column("median", justify="right")
    recent = counters.recent()
    for name in ("return", "score", "length"):
        if f"{name}/mean" in recent:
            middle = recent.get(f"{name}/median")
            table.add_row(name, f"{recent[f'{name}/mean']:,.1f}", "" if middle is None else f"{middle:,.1f}")
    if counters.validation_nll is not None:
        table.add_section()
        table.add_row("NLL of held-out demonstrations, nats", f"{counters.validation_nll:.3f}", "")
    return table
