"""Figures of games, as far as they are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from strathack.dataset.labels import count_by_name
from strathack.dataset.reading import Game
from strathack.dataset.schema import ORIGINS

if TYPE_CHECKING:  # workers need no pandas
    import pandas as pd

LEAST: Mapping[str, int] = {"score": 0, "turns": 0, "max_depth": 1, "experience_level": 1}
"""The lowest value of a column of ``/games``; a lower one, in imported games, says that the value is not known."""


def known_figures(games: pd.DataFrame) -> pd.DataFrame:
    """Returns a table of games in which figures that are not known are NaN, so that statistics leave them out.

    Args:
        games: A row for each game, with columns of ``/games``.
    """
    figures = [name for name in LEAST if name in games]
    return games.assign(**{name: games[name].where(games[name] >= LEAST[name]) for name in figures})


def tells_rewards(game: Game) -> bool:
    """Returns whether a game's rewards are known where they are stored; those of early ttyrecs are NaN."""
    may_not = game.row["origin"] == ORIGINS["ttyrec"] and "rewards" in game.arrays
    return not (may_not and np.isnan(game.rewards[:1]).any())


def strategy_steps(games: Iterable[Game]) -> Counter[str]:
    """Returns how many steps of all games each strategy ran."""
    total: Counter[str] = Counter()
    for game in games:
        total.update(count_by_name(game.strategy[:], game.strategy.codes))
    return total
