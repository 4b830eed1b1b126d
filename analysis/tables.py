"""Summaries as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from strathack.analysis.scores import Estimate, Figure, Summary

DIGITS = {"progression": 3, "max_depth": 2, "experience_level": 2}
"""Figures that want digits after the point."""


def summary_table(summary: Summary, by_role: Mapping[str, Summary] | None = None) -> Table:
    """Figures of all games, then the scores of each role's.

    Args:
        summary: Of all games.
        by_role: Of each role's.
    """
    right = [Column(name, justify="right") for name in ("mean ± s.e.", "median (95 %)", "IQM (95 %)")]
    table = Table(Column(f"{summary.games:,} games", no_wrap=True), *right, box=SIMPLE_HEAD)
    for name, figure in summary.figures.items():
        table.add_row(name.replace("_", " "), *cells(figure, DIGITS.get(name, 0)))
    table.add_row("cut by a limit", f"{summary.limited:.1%}", "", "")
    for number, (role, part) in enumerate((by_role or {}).items()):
        if not number:
            table.add_section()
        table.add_row(f"score, {role} ({part.games:,})", *cells(part.figures["score"], 0))
    return table


def cells(figure: Figure, digits: int) -> tuple[str, str, str]:
    """Mean, median and interquartile mean of a figure, as text."""
    mean = f"{figure.mean.value:,.{digits}f}"
    if not math.isnan(figure.standard_error):
        mean += f" ± {figure.standard_error:,.{digits}f}"
    return mean, told(figure.median, digits), told(figure.interquartile_mean, digits)


def told(estimate: Estimate, digits: int) -> str:
    """An estimate with its interval: ``1,234 (1,100–1,400)``."""
    value, low, high = (f"{number:,.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    between = "–" if estimate.low >= 0 else " to "
    return value if low == high else f"{value} ({low}{between}{high})"
