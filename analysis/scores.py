"""Results of games: a table with one row per game, and its summary with standard errors and intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from strathack.dataset import Dataset
from strathack.dataset.figures import known_figures
from strathack.dataset.labels import count_by_name

SCORES = "scores.parquet"
"""File name of the table in an evaluation's folder."""

EVALUATION = "evaluation.json"
"""File name, beside the table, of what was evaluated and with what results."""

SHARE = "share_"
"""Beginning of the names of the columns that hold a strategy's share of a game's steps."""

LIMITS = ("abort", "step_limit", "time_limit")
"""Values of ``end`` for games that a limit cut short; see ``/games``."""

FIGURES = ("score", "turns", "steps", "max_depth", "experience_level", "progression")
"""Columns that are summarised."""

COLUMNS = (
    "game", "core", "role", "race", "gender", "alignment", *FIGURES, "deepest_dungeon", "end", "cause", "seconds",
)  # fmt: skip

RESAMPLES = 2000

RESAMPLED_AT_ONCE = 2_000_000
"""Values that are drawn at a time; they take some tens of megabytes."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A statistic of some games, and an interval for its value in all games.

    Attributes:
        value: The statistic of these games.
        low: Lower end of the bootstrap percentile interval (Efron and Tibshirani, 1993, chapter 13) at 95 %.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """Statistics of one figure of some games; all but the standard error are an :class:`Estimate`.

    Attributes:
        mean: Mean.
        standard_error: Standard error of the mean; NaN for a single game.
        median: Median.
        interquartile_mean: Mean of the middle half (Agarwal et al., "Deep RL at the Edge of the Statistical
            Precipice", 2021).
    """

    mean: Estimate
    standard_error: float
    median: Estimate
    interquartile_mean: Estimate


@dataclass(frozen=True)
class Summary:
    """A summary of the results of some games.

    Attributes:
        games: How many there are.
        limited: Share of games that a limit cut short.
        figures: Column → its figure.
        strategies: Mean share of a game's steps by strategy, largest first.
        ends: Number of games by how they ended, most frequent first.
    """

    games: int
    limited: float
    figures: Mapping[str, Figure]
    strategies: Mapping[str, float]
    ends: Mapping[str, int]

    def to_values(self) -> dict[str, Any]:
        """Returns the summary as plain values."""
        return asdict(self)


def scores_of(dataset: Dataset) -> pd.DataFrame:
    """Makes a table with one row per game, in order of seeds: ``COLUMNS``, and each strategy's share of the steps.

    Args:
        dataset: The games. Games whose steps have no label get no shares (NaN), and unknown figures are NaN.
    """
    table = known_figures(dataset.games[list(COLUMNS)]).astype(dict.fromkeys(("deepest_dungeon", "end"), str))
    shares = pd.DataFrame([_shares(game.strategy[:], game.strategy.codes) for game in dataset], index=table.index)
    labelled = shares.notna().any(axis=1)
    shares[labelled] = shares[labelled].fillna(0.0)
    table = pd.concat([table, shares[sorted(shares)]], axis=1)
    return table.sort_values("core", kind="stable", ignore_index=True)


def _shares(labels: np.ndarray, codes: Mapping[str, int]) -> dict[str, float]:
    counts = count_by_name(labels, codes)
    counts.pop("unlabelled", None)
    total = sum(counts.values())
    return {f"{SHARE}{name}": count / total for name, count in counts.items() if count}


def summary_of(scores: pd.DataFrame, *, seed: int = 0) -> Summary:
    """Summarises the results of games.

    Args:
        scores: Table as :func:`scores_of` returns it; the order of rows does not matter.
        seed: Decides what the bootstrap draws.

    Raises:
        ValueError: If there is no game.
    """
    if scores.empty:
        raise ValueError("no games")
    scores = scores.sort_values("core", kind="stable")
    strategies = {name.removeprefix(SHARE): float(scores[name].mean()) for name in scores if name.startswith(SHARE)}
    ends = scores["end"].value_counts()
    return Summary(
        games=len(scores),
        limited=float(scores["end"].isin(LIMITS).mean()),
        figures={name: figure_of(scores[name].to_numpy(np.float64), seed) for name in FIGURES},
        strategies=dict(sorted(strategies.items(), key=lambda pair: (-pair[1], pair[0]))),
        ends={str(end): int(count) for end, count in ends.sort_index().sort_values(ascending=False).items()},
    )


def summaries_by(scores: pd.DataFrame, column: str, *, seed: int = 0) -> dict[str, Summary]:
    """Returns a summary for each value of a column, such as ``role``."""
    return {str(value): summary_of(part, seed=seed) for value, part in scores.groupby(column, observed=True)}


def figure_of(values: np.ndarray, seed: int = 0) -> Figure:
    """Computes the statistics of one figure of some games.

    Args:
        values: f64 [games]; unknown values are NaN and left out.
        seed: Decides what the bootstrap draws.
    """
    values = np.sort(values[~np.isnan(values)])
    return Figure(
        mean=estimated(values, np.mean, seed),
        standard_error=float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan"),
        median=estimated(values, np.median, seed),
        interquartile_mean=estimated(values, interquartile_mean, seed),
    )


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Returns the mean of the values without the lowest and the highest quarter."""
    return np.asarray(stats.trim_mean(values, 0.25, axis=axis))


def batch_of(games: int) -> int:
    """Returns how many resamples of ``games`` games are held in memory at a time."""
    return max(RESAMPLED_AT_ONCE // games, 1)


def estimated(values: np.ndarray, statistic: Callable[..., Any], seed: int) -> Estimate:
    """Returns a statistic and its bootstrap interval: NaN for no values, of width zero for one value.

    Args:
        values: f64 [games].
        statistic: Function of values and ``axis`` that computes the statistic.
        seed: Seed of the bootstrap.
    """
    if not len(values):
        return Estimate(*[float("nan")] * 3)
    value = float(statistic(values, axis=-1))
    if len(values) == 1:
        return Estimate(value, value, value)
    found = stats.bootstrap(
        (values,), statistic, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile",
        vectorized=True, rng=np.random.default_rng(seed), batch=batch_of(len(values)),
    ).confidence_interval  # fmt: skip
    return Estimate(value, float(found.low), float(found.high))
