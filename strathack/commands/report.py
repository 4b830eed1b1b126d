"""``strathack report``: games without frames are replayed by ``collect``."""

from __future__ import annotations

import warnings

from rich.console import Console

import strathack
from strathack.analysis.opening import games_at
from strathack.analysis.options import ReportConfig
from strathack.analysis.report.composing import counted, report_of
from strathack.analysis.report.page import page_of
from strathack.collect.replaying.streaming import AnyFrames
from strathack.dataset.errors import InputError
from strathack.dataset.files import write_output

MEGABYTE = 1_000_000


def report(config: ReportConfig) -> int:
    """``strathack report``: returns 0, or 1 if something could not be read and was left out.

    Raises:
        InputError: If there is nothing to report on, or the page cannot be written.
        RunError: If a game cannot be replayed.
    """
    with warnings.catch_warnings():  # about shards that cannot be read, which the page lists
        warnings.simplefilter("ignore")
        dataset = games_at(config.data, on_corrupt="skip").select(config.select)
    if not len(dataset):
        raise InputError(f"{config.data}: no game meets the condition {config.select!r}; nothing to report")
    with AnyFrames(processes=1) as frames:
        data = report_of(config, dataset, frames, strathack.__version__)
    page = page_of(data).encode()
    write_output(config.out, page)
    console = Console()
    size = len(page) / MEGABYTE
    told = f"{counted(len(data.games), 'game')}, {len(data.films)} to be watched, {size:.1f} MB, in {config.out}"
    console.out(told, highlight=False)
    for reason in data.left_out:
        console.out(f"left out: {reason}", highlight=False)
    return 1 if data.left_out else 0
