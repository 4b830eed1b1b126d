"""The measures of others' protocols, by the formulas of those who report them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from strathack.analysis.normalising import normalised
from strathack.analysis.scores import figure_of

Measures = dict[str, dict[str, float]]
"""Measure → its figures."""


def measures_of(protocol: str, scores: pd.DataFrame) -> Measures:
    """Returns what a protocol reports of some games.

    Args:
        protocol: Its name.
        scores: The table of games of an evaluation.
    """
    return REPORTS[protocol](scores)


def balrog(scores: pd.DataFrame) -> Measures:
    """Mean progression, and the population's standard deviation over √n."""
    values = scores["progression"].to_numpy(np.float64)
    return {"progression": {"mean": float(values.mean()), "standard_error": float(values.std() / len(values) ** 0.5)}}


def hihack(scores: pd.DataFrame) -> Measures:
    """Mean score, the sample's standard deviation over √n, and the median."""
    score = figure_of(scores["score"].to_numpy(np.float64))
    return {"score": _values(score, "mean", "standard_error", "median")}


def katakomba(scores: pd.DataFrame) -> Measures:
    """Mean, median and interquartile mean of the scores over AutoAscend's mean with that character, and of the depth.

    The first are of the games with characters of which AutoAscend's mean is known, and left out if it is of none.
    """
    depth = figure_of(scores["max_depth"].to_numpy(np.float64))
    wanted = ("mean", "median", "interquartile_mean")
    shares = normalised(scores).get("katakomba")
    found = {} if shares is None else {"normalised_score": _values(shares, *wanted)}
    return {**found, "max_depth": _values(depth, *wanted)}


def _values(figure: Any, *names: str) -> dict[str, float]:
    return {name: float(getattr(getattr(figure, name), "value", getattr(figure, name))) for name in names}


REPORTS: Mapping[str, Callable[[pd.DataFrame], Measures]] = {"balrog": balrog, "hihack": hihack, "katakomba": katakomba}
"""Protocol → what it reports of the table of games of an evaluation."""


def told(protocol: str, measures: Mapping[str, Mapping[str, float]]) -> str:
    """Returns a protocol's measures in one line."""
    parts = []
    for measure, values in measures.items():
        digits = ".4f" if measure in ("progression", "normalised_score") else ",.1f"
        figures = ", ".join(f"{name.replace('_', ' ')} {value:{digits}}" for name, value in values.items())
        parts.append(f"{measure.replace('_', ' ')}: {figures}")
    return f"protocol {protocol}: {'; '.join(parts)}"
