"""Pictures of scores and strategies; each function draws one figure from tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from strathack.dataset.errors import InputError

LARGE = 20.0
"""A figure whose largest value is above this many times its median is drawn on a logarithmic axis."""


def save(figure: Figure, out: Path) -> None:
    """Writes a picture.

    Raises:
        InputError: If it cannot be written.
    """
    try:
        figure.savefig(out, dpi=120)
    except (OSError, ValueError) as error:  # no such folder, no such format
        raise InputError(f"out: {out} cannot be written ({error})") from error


def draw_distributions(values: Mapping[str, np.ndarray], label: str) -> Figure:
    """Each player's games: a point a game, a box from quarter to quarter with the median, a diamond for the mean.

    Args:
        values: Player → a figure of each game, [games].
        label: What the figure is.
    """
    figure = Figure(figsize=(8, 1.2 + 0.7 * len(values)), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    for place, (name, of_games) in enumerate(values.items()):
        heights = place + rng.uniform(-0.28, 0.28, len(of_games))
        axes.scatter(of_games, heights, s=9, alpha=0.45, linewidths=0, color=f"C{place}")
        axes.boxplot(
            of_games, positions=[place], orientation="horizontal", widths=0.5, showfliers=False, showmeans=True,
            meanprops={"marker": "D", "markerfacecolor": "white", "markeredgecolor": "black", "markersize": 5},
            medianprops={"color": "black"}, tick_labels=[f"{name}\n{len(of_games):,} games"],
        )  # fmt: skip
    joined = np.concatenate(list(values.values()))
    if joined.min() >= 0 and joined.max() > LARGE * max(np.median(joined), 1e-9):
        axes.set_xscale("symlog", linthresh=max(float(np.median(joined)), 1e-9))
    axes.set_xlabel(label.replace("_", " "))
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure
