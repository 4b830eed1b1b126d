"""``strathack dataset pull``."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from strathack.dataset.manifest import MANIFEST
from strathack.dataset.options import PullConfig
from strathack.dataset.remote.addresses import without_secrets
from strathack.dataset.remote.pulling import planned, pull_all


def pull(config: PullConfig) -> int:
    """``strathack dataset pull``.

    Raises:
        InputError: If there is no such dataset, or the folder holds something else.
        RunError: If the place cannot be reached, or a file cannot be written; the same command goes on from there.
    """
    plan = planned(config.source, config.out)
    columns = (
        TextColumn("fetching"), BarColumn(bar_width=10), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=config.quiet, refresh_per_second=4) as shown:
        task = shown.add_task("", total=plan.size)
        pull_all(plan, config.parallel, lambda count: shown.update(task, advance=count))
    checked = "checked by their SHA-256" if MANIFEST in plan.files else "checked by their sizes; no checksums are told"
    print(f"{len(plan.files):,} files, {plan.size:,} bytes, {checked}, in {config.out}")
    print(f"from {without_secrets(plan.place)}")
    return 0
