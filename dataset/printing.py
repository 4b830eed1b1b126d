"""Tables for a terminal: scores by role, and how long each strategy ran."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from rich.table import Column, Table

Games = TypeVar("Games")

SCORES: Mapping[str, Callable[[np.ndarray], str]] = {
    "games": lambda rows: f"{len(rows):,}",
    "steps": lambda rows: f"{rows['steps'].sum():,}",
    "mean score": lambda rows: f"{rows['score'].mean():,.0f}",
    "median": lambda rows: f"{np.median(rows['score']):,.0f}",
}
"""What is told of some rows of ``/games``: column → text."""


def table_by_role(
    by_role: Mapping[str, Games], columns: Mapping[str, Callable[[Games], str]], together: Games | None = None
) -> Table:
    """A row a role, and one for all games.

    Args:
        by_role: What is known of each role's games.
        columns: A column's title → what it says of that.
        together: The same of all games; None leaves that row out.
    """
    table = Table("role", *(Column(name, justify="right") for name in columns))
    rows = {role or "unknown": by_role[role] for role in sorted(by_role)}
    if together is not None:
        rows["all"] = together
    for role, games in rows.items():
        table.add_row(role, *(told(games) for told in columns.values()))
    return table


def scores_by_role(rows: np.ndarray) -> Table:
    """Games, steps and scores of each role and of all.

    Args:
        rows: Rows of ``/games``.
    """
    roles = {role.decode(): rows[rows["role"] == role] for role in np.unique(rows["role"])}
    return table_by_role(roles, SCORES, rows)


def strategy_shares(steps: Mapping[str, int]) -> Table:
    """How many steps each strategy ran, the longest first.

    Args:
        steps: By strategy.
    """
    total = sum(steps.values()) or 1
    table = Table("strategy", Column("steps", justify="right"), Column("share", justify="right"))
    for name, count in sorted(steps.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{count:,}", f"{count / total:.1%}")
    return table
