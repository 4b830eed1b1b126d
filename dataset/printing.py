"""Tables for a terminal: scores by role, and how long each strategy ran."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from rich.table import Column, Table
from rich.text import Text

from strathack.dataset.figures import known_figures
from strathack.dataset.schema import UNKNOWN_SCORE

if TYPE_CHECKING:
    import pandas as pd

Games = TypeVar("Games")


def told_score(score: float) -> str:
    """Returns a score, or a statistic of scores, in words; one that is not known is NaN or ``UNKNOWN_SCORE``."""
    return "unknown" if math.isnan(score) or score == UNKNOWN_SCORE else f"{score:,.0f}"


SCORES: Mapping[str, Callable[[pd.DataFrame], str]] = {
    "games": lambda games: f"{len(games):,}",
    "steps": lambda games: f"{games['steps'].sum():,}",
    "mean score": lambda games: told_score(games["score"].mean()),
    "median": lambda games: told_score(games["score"].median()),
}
"""The columns of a table of scores: title → function from a table of games to text."""


def table_by_role(
    by_role: Mapping[str, Games], columns: Mapping[str, Callable[[Games], str]], together: Games | None = None
) -> Table:
    """Makes a table with one row per role, and one row for all games.

    Args:
        by_role: Role → data about its games.
        columns: Column title → function from such data to text.
        together: Data about all games; None leaves the row of all games out.
    """
    table = Table("role", *(Column(name, justify="right") for name in columns))
    rows = {role or "unknown": by_role[role] for role in sorted(by_role)}
    if together is not None:
        rows["all"] = together
    for role, games in rows.items():
        table.add_row(Text(role), *(told(games) for told in columns.values()))
    return table


def scores_by_role(rows: np.ndarray) -> Table:
    """Makes a table of games, steps and scores of each role and of all roles together.

    Args:
        rows: Rows of ``/games``.
    """
    import pandas as pd  # here, since workers do not need it

    games = known_figures(pd.DataFrame({name: rows[name] for name in ("role", "steps", "score")}))
    return table_by_role({role.decode(): of_role for role, of_role in games.groupby("role")}, SCORES, games)


def strategy_shares(steps: Mapping[str, int]) -> Table:
    """Makes a table of how many steps each strategy ran, the most steps first.

    Args:
        steps: Strategy → number of steps.
    """
    total = sum(steps.values()) or 1
    table = Table("strategy", Column("steps", justify="right"), Column("share", justify="right"))
    for name, count in sorted(steps.items(), key=lambda item: -item[1]):
        table.add_row(Text(name), f"{count:,}", f"{count / total:.1%}")
    return table
