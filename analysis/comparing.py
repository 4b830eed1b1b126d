"""Tests whether one player is better than another, by the games they played."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from scipy import stats

from strathack.analysis.opening import games_at
from strathack.analysis.options import CompareConfig
from strathack.analysis.scores import (
    EVALUATION,
    FIGURES,
    RESAMPLES,
    SCORES,
    Estimate,
    batch_of,
    estimated,
    figure_of,
    scores_of,
)
from strathack.analysis.tables import DIGITS, HEADINGS, cells, told
from strathack.dataset.errors import FormatError, InputError

PERMUTATIONS = 9999
SIGNIFICANT = 0.05
POWER = 0.8

PUBLISHED: Mapping[str, tuple[str, str]] = {
    "AutoAscend (Piterbarg et al., 2023)": ("8,556 ± 187", "4,918"),
    "HiHack hierarchical LSTM, APPO + BC (Piterbarg et al., 2023)": ("1,551 ± 73", "972"),
    "HiHack flat LSTM, APPO + BC (Piterbarg et al., 2023)": ("1,204 ± 138", "779"),
    "best cloned policy (Tuyls et al., 2023)": ("2,740", ""),
}
"""Mean and median scores of all roles from papers, whose games, seeds and clocks differ from those compared here."""


@dataclass(frozen=True)
class Comparison:
    """One player's games against another's.

    Attributes:
        games: How many games of the first player and of the second; the same number twice if paired.
        paired: Whether both played the same seeds, so that games are compared seed by seed.
        difference: Mean of the first minus mean of the second, with its bootstrap interval at 95 %.
        p: Probability of a difference this large if the players are equally good, by permutation (two-sided).
        needed: How many games each would have to play for such a difference to be detected in four of five evaluations
            (normal approximation; 5 % two-sided); infinite if there is no difference, or single games do not tell how
            much others differ.
    """

    games: tuple[int, int]
    paired: bool
    difference: Estimate
    p: float
    needed: float

    @property
    def verdict(self) -> str:
        """The conclusion, in plain words."""
        if self.p < SIGNIFICANT:
            return "better" if self.difference.value > 0 else "worse"
        if min(self.games) < 2:
            return "too few games to tell"
        if math.isinf(self.needed):
            return "no difference"
        return f"too few games to tell (about {self.needed:,.0f} each would do, if this is the difference)"


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """Returns name → folder; the name is the shortest end of its path that no other folder shares."""
    for length in range(1, max(len(path.resolve().parts) for path in paths) + 1):
        names = ["/".join(path.resolve().parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    whole = [path.resolve() for path in paths]
    twice = next(path for place, path in enumerate(paths) if whole[place] in whole[:place])
    raise InputError(f"data: {twice} is given twice")


def scores_at(path: Path) -> pd.DataFrame:
    """Returns the table of games of an evaluation's folder, or of a dataset.

    Raises:
        InputError: If there are no games.
        FormatError: If the table cannot be read or is not that of an evaluation.
    """
    if not (path / SCORES).is_file():
        return scores_of(games_at(path))
    try:
        table = pd.read_parquet(path / SCORES)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path / SCORES}: cannot be read ({error})") from None
    missing = [name for name in ("core", *FIGURES) if name not in table]
    if missing:
        raise FormatError(f"{path / SCORES}: no table of an evaluation; it lacks {', '.join(missing)}")
    return table


def protocol_at(path: Path) -> str | None:
    """Returns the protocol that an evaluation kept to, or None."""
    try:
        told = json.loads((path / EVALUATION).read_text())
    except (OSError, ValueError):
        return None
    return told.get("protocol") if isinstance(told, dict) else None


def check_protocols(paths: Mapping[str, Path]) -> str | None:
    """Checks that all evaluations kept to the same protocol, or to none; returns it.

    Args:
        paths: Name → folder.

    Raises:
        InputError: If they differ.
    """
    protocols = {name: protocol_at(path) for name, path in paths.items()}
    if len(set(protocols.values())) > 1:
        kept = ", ".join(f"{name} {f'kept to {one}' if one else 'to none'}" for name, one in protocols.items())
        raise InputError(f"data: figures of different protocols do not stand side by side: {kept}")
    return next(iter(protocols.values()))


def column_of(table: pd.DataFrame, figure: str, name: str) -> pd.Series:
    """Returns a figure by seed, or by game where seeds are not known; games whose figure is not known are left out.

    Raises:
        InputError: If the figure is not known for any game, or a seed occurs twice.
    """
    seeds = table["core"]
    if (seeds < 0).any():  # imported games, which nobody else has played
        seeds = name + "/" + table["game"].astype(str)
    series = pd.Series(table[figure].to_numpy(np.float64), pd.Index(seeds), name=figure).dropna()
    if series.empty:
        raise InputError(f"{name}: {figure} is known of none of its {len(table)} games")
    if series.index.has_duplicates:
        raise InputError(f"{name}: seed {series.index[series.index.duplicated()][0]} was played twice")
    return series.sort_index()


def common(values: Mapping[str, pd.Series]) -> dict[str, pd.Series]:
    """Returns the figures of the seeds that all players have played.

    Args:
        values: Name → seed → figure.

    Raises:
        InputError: If there is no such seed.
    """
    shared = set.intersection(*(set(series.index) for series in values.values()))
    if not shared:
        raise InputError("common: there is no seed that all have played")
    return {name: series[series.index.isin(shared)] for name, series in values.items()}


def compared(first: pd.Series, second: pd.Series, *, seed: int = 0) -> Comparison:
    """Compares figures by seed.

    Args:
        first: Seed → figure.
        second: Seed → figure. Games are paired by seed if both players played exactly the same seeds.
        seed: Seed of the resampling.
    """
    rng = np.random.default_rng(seed)
    paired = len(first) == len(second) and bool((first.index == second.index).all())
    a, b = first.to_numpy(), second.to_numpy()
    if paired:
        changes = a - b
        difference = estimated(changes, np.mean, seed)
        spread = float(changes.std(ddof=1)) if len(changes) > 1 else math.nan
    else:
        difference = _difference(a, b, rng)
        spread = math.sqrt(float(a.var(ddof=1) + b.var(ddof=1))) if min(len(a), len(b)) > 1 else math.nan
    p = 1.0
    if min(len(a), len(b)) > 1:
        p = float(
            stats.permutation_test(
                (a, b), _mean_difference, vectorized=True, n_resamples=PERMUTATIONS,
                permutation_type="samples" if paired else "independent", rng=rng, batch=batch_of(len(a) + len(b)),
            ).pvalue
        )  # fmt: skip
    return Comparison((len(a), len(b)), paired, difference, p, games_needed(difference.value, spread))


def _mean_difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(a.mean(axis) - b.mean(axis))


def _difference(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> Estimate:
    value = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Estimate(value, math.nan, math.nan)
    found = stats.bootstrap(
        (a, b), _mean_difference, method="percentile", n_resamples=RESAMPLES, rng=rng, batch=batch_of(len(a) + len(b))
    ).confidence_interval
    return Estimate(value, float(found.low), float(found.high))


def games_needed(difference: float, spread: float) -> float:
    """Returns how many games are needed to detect a difference four times out of five, by a two-sided test at 5 %.

    Args:
        difference: Difference between the means.
        spread: Standard deviation of the difference between two games.
    """
    if difference == 0 or math.isnan(spread):
        return math.inf
    z = stats.norm.ppf(1 - SIGNIFICANT / 2) + stats.norm.ppf(POWER)
    return float(math.ceil((z * spread / difference) ** 2))


def players_table(values: Mapping[str, pd.Series], config: CompareConfig) -> Table:
    """Makes a table of each player's figure."""
    right = [Column(name, justify="right") for name in ("games", *HEADINGS)]
    table = Table(config.figure.replace("_", " "), *right, box=SIMPLE_HEAD)
    for name, series in values.items():
        table.add_row(name, f"{len(series):,}", *cells(figure_of(series.to_numpy()), DIGITS.get(config.figure, 0)))
    if config.published and config.figure == "score":
        table.add_section()
        for name, (mean, median) in PUBLISHED.items():
            table.add_row(f"published: {name}", "", mean, median, "")
    return table


def pairs_table(pairs: Mapping[tuple[str, str], Comparison], figure: str) -> Table:
    """Makes a table of the results of each comparison."""
    table = Table(
        "", "", "by", Column("difference (95 %)", justify="right"), Column("p", justify="right"), "", box=SIMPLE_HEAD
    )
    for (a, b), one in pairs.items():
        how = f"{one.games[0]:,} pairs" if one.paired else f"{one.games[0]:,} and {one.games[1]:,} games"
        table.add_row(a, f"− {b}", how, told(one.difference, DIGITS.get(figure, 0)), f"{one.p:.4f}", one.verdict)
    return table
