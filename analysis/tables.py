"""Summaries as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from strathack.analysis.scores import Estimate, Figure, Summary
from strathack.dataset.printing import table_by_role

DIGITS = {"progression": 3, "max_depth": 2, "experience_level": 2}
"""Number of decimal places of figures that are not shown as whole numbers."""

HEADINGS = ("mean ± s.e.", "median (95 %)", "IQM (95 %)")
"""Of the columns that :func:`cells` fills."""


def summary_table(summary: Summary) -> Table:
    """Makes a table of the figures of some games."""
    table = _figures_table(f"{summary.games:,} games")
    for name, figure in summary.figures.items():
        table.add_row(name.replace("_", " "), *cells(figure, DIGITS.get(name, 0)))
    table.add_row("cut by a limit", f"{summary.limited:.1%}", "", "")
    return table


def scores_table(by_role: Mapping[str, Summary]) -> Table:
    """Makes a table of the scores of each role's games, with intervals."""

    def cell(place: int) -> Callable[[Summary], str]:
        return lambda summary: cells(summary.figures["score"], 0)[place]

    return table_by_role(
        by_role,
        {
            "games": lambda summary: f"{summary.games:,}",
            "mean score ± s.e.": cell(0),
            "median (95 %)": cell(1),
            "IQM (95 %)": cell(2),
        },
    )


def normalised_table(shares: Mapping[str, Figure]) -> Table:
    """Makes a table of scores as shares of a demonstrator's mean; see :mod:`strathack.analysis.normalising`."""
    table = _figures_table("score over the bot's mean")
    by = {"autoascend-1k": "of the role, autoascend-1k", "katakomba": "of the character, Katakomba's"}
    for name, figure in shares.items():
        table.add_row(by.get(name, name), *cells(figure, 3))
    return table


def _figures_table(first: str) -> Table:
    right = [Column(name, justify="right") for name in HEADINGS]
    return Table(Column(first, no_wrap=True), *right, box=SIMPLE_HEAD)


def cells(figure: Figure, digits: int) -> tuple[str, str, str]:
    """Returns mean, median and interquartile mean of a figure, as text."""
    mean = f"{figure.mean.value:,.{digits}f}"
    if not math.isnan(figure.standard_error):
        mean += f" ± {figure.standard_error:,.{digits}f}"
    return mean, told(figure.median, digits), told(figure.interquartile_mean, digits)


def told(estimate: Estimate, digits: int) -> str:
    """Returns an estimate with its interval as text: ``1,234 (1,100–1,400)``."""
    value, low, high = (f"{number:,.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    between = "–" if estimate.low >= 0 else " to "
    return value if low == high else f"{value} ({low}{between}{high})"
