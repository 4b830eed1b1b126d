"""A progress line for work that goes through a dataset's games: done, rate, time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress(what: str, total_steps: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Shows steps as they are done, on standard error.

    Args:
        what: One word for the work.
        total_steps: Steps in all.
        quiet: Whether to show nothing.

    Yields:
        A function to be called with the number of steps just done.
    """
    columns = (
        TextColumn("{task.description} {task.completed:,}/{task.total:,} steps"),
        BarColumn(bar_width=10),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet, refresh_per_second=4) as shown:
        task = shown.add_task(what, total=total_steps, rate="")

        def advance(steps: int) -> None:
            speed = shown.tasks[0].speed
            shown.update(task, advance=steps, rate=f"{speed:,.0f} steps/s" if speed else "")

        yield advance
