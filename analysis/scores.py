"""What games came to: a table, one row a game, and its summary with standard errors and intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from strathack.dataset import Dataset
from strathack.dataset.labels import count_by_name

SCORES = "scores.parquet"
"""The table of an evaluation, in its folder."""

EVALUATION = "evaluation.json"
"""What an evaluation was of and what came of it, beside the table."""

SHARE = "share_"
"""What the names of the columns begin with that hold a strategy's share of a game's steps."""

LIMITS = ("abort", "step_limit", "time_limit")
"""Ends by which a limit cut a game; see ``/games``."""

FIGURES = ("score", "turns", "steps", "max_depth", "experience_level", "progression")
"""Columns that are summarised."""

COLUMNS = (
    "game", "core", "role", "race", "gender", "alignment", *FIGURES, "deepest_dungeon", "end", "cause", "seconds",
)  # fmt: skip

RESAMPLES = 2000

RESAMPLED_AT_ONCE = 2_000_000
"""Values that are drawn at a time, some tens of megabytes."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A statistic of some games, and where it may lie in all games.

    Attributes:
        value: Of these games.
        low: Lower end of the bootstrap percentile interval (Efron and Tibshirani, 1993, chapter 13) at 95 %.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """One figure of some games, each as :class:`Estimate` but for its standard error.

    Attributes:
        mean: Mean.
        standard_error: Of the mean; NaN of one game.
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
    """What some games came to.

    Attributes:
        games: How many there are.
        limited: Share of those that a limit cut.
        figures: By column.
        strategies: Mean share of a game's steps by strategy, largest first.
        ends: Games by how they ended, most first.
    """

    games: int
    limited: float
    figures: Mapping[str, Figure]
    strategies: Mapping[str, float]
    ends: Mapping[str, int]

    def to_values(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def scores_of(dataset: Dataset) -> pd.DataFrame:
    """One row a game, in order of their seeds: ``COLUMNS``, and each strategy's share of its steps.

    Args:
        dataset: The games. Those whose steps have no label have no shares (NaN).
    """
    table = dataset.games[list(COLUMNS)].astype(dict.fromkeys(("deepest_dungeon", "end"), str))
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
    """What games came to.

    Args:
        scores: As of :func:`scores_of`; the order of its rows is of no consequence.
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
    """A summary for each value of a column, say ``role``."""
    return {str(value): summary_of(part, seed=seed) for value, part in scores.groupby(column, observed=True)}


def figure_of(values: np.ndarray, seed: int = 0) -> Figure:
    """One figure of some games.

    Args:
        values: f64 [games]; those that are not known are NaN and left out.
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
    """Mean of what is left without the lowest and the highest quarter."""
    return np.asarray(stats.trim_mean(values, 0.25, axis=axis))


def batch_of(games: int) -> int:
    """How many resamples of so many games are held at a time."""
    return max(RESAMPLED_AT_ONCE // games, 1)


def estimated(values: np.ndarray, statistic: Callable[..., Any], seed: int) -> Estimate:
    """A statistic and its bootstrap interval; NaN of no values, no width of one.

    Args:
        values: f64 [games].
        statistic: From values, and ``axis``, to the statistic.
        seed: Decides what is drawn.
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
