"""Pictures of strategies, scores and learning; each function draws one figure from tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, PercentFormatter

from strathack.analysis.palette import colour_of, in_order, rgb
from strathack.analysis.runs import columns_of
from strathack.analysis.steps import GameSteps, shares_of
from strathack.dataset.errors import InputError
from strathack.dataset.printing import told_score

WIDTH = 6.4
"""Width of most pictures in inches, so that their text can be read on a phone as well."""

LARGE = 20.0
"""An axis is logarithmic if its largest value is above this many times the median of the values above zero."""

_COLUMNS = 1200
"""Columns of a game's strip; each shows the strategy most frequent in its steps."""

_TOLD = 0.04
"""Shares above this have their number written on them."""


def save(figure: Figure, out: Path) -> None:
    """Writes a picture.

    Raises:
        InputError: If it cannot be written.
    """
    try:
        figure.savefig(out, dpi=120)
    except (OSError, ValueError) as error:  # no such folder, no such format
        raise InputError(f"out: {out} cannot be written ({error})") from error


def draw_strategies(games: Sequence[GameSteps], by_role: pd.DataFrame, max_games: int) -> Figure:
    """Draws strips of the first games over time, above bars of the shares by role.

    Args:
        games: At least one.
        by_role: Steps by strategy of each role; see :func:`strathack.analysis.steps.counts_by_game`.
        max_games: The most strips to draw.
    """
    shown = games[:max_games]
    number = pd.Series([game.info["role"] for game in games]).value_counts()
    rows = pd.concat([by_role, by_role.sum().to_frame("all").T])
    rows.index = pd.Index([f"{role} ({number.get(role, len(games))})" for role in rows.index])
    heights = [0.32 * len(shown) + 0.5, 0.32 * len(rows) + 0.5]
    figure = Figure(figsize=(11, sum(heights) + 2.2), layout="constrained")
    over_time, shares = figure.subplots(2, 1, height_ratios=heights)
    _draw_strips(over_time, shown)
    over_time.set_title("What was pursued, step by step (role and seed)", fontsize=11, loc="left")
    _draw_bars(shares, shares_of(rows))
    shares.set_title("Share of steps by role (number of games)", fontsize=11, loc="left")
    _add_legend(figure, by_role.columns, 7)
    return figure


def draw_timelines(games: Sequence[GameSteps]) -> Figure:
    """Draws games over time, each step in the colour of its strategy.

    Args:
        games: At least one.
    """
    figure = Figure(figsize=(WIDTH, 0.3 * len(games) + 1.5), layout="constrained")
    _draw_strips(figure.subplots(), games)
    _add_legend(figure, dict.fromkeys(game.names[code] for game in games for code in np.unique(game.codes)))
    return figure


def _draw_strips(axes: Axes, games: Sequence[GameSteps]) -> None:
    longest = max(int(game.lengths.sum()) for game in games) or 1
    for index, game in enumerate(games):
        steps = int(game.lengths.sum())
        if steps:
            colours = np.array([rgb(colour_of(name)) for name in game.names]) / 255
            axes.imshow(
                colours[columns_of(game.labels, _COLUMNS)][None],
                extent=(0, steps, index + 0.4, index - 0.4),
                aspect="auto",
                interpolation="nearest",
            )
        axes.text(steps + longest * 0.008, index, f"score {told_score(game.info['score'])}", va="center", fontsize=8)
    axes.set_xlim(0, longest * 1.12)
    axes.set_ylim(len(games) - 0.5, -0.5)
    axes.set_yticks(range(len(games)), [game.title for game in games], fontsize=8)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("step")
    axes.spines[["top", "right"]].set_visible(False)


def draw_shares(counts: pd.DataFrame, label: str) -> Figure:
    """Draws the strategies' shares of the steps as bars, one bar for each row of ``counts``.

    Args:
        counts: Steps by strategy; see :func:`strathack.analysis.steps.counts_by`.
        label: What the rows are.
    """
    figure = Figure(figsize=(WIDTH, 0.26 * len(counts) + 1.7), layout="constrained")
    axes = figure.subplots()
    _draw_bars(axes, shares_of(counts))
    axes.set_ylabel(label)
    axes.set_xlabel("share of steps")
    _add_legend(figure, counts.columns)
    return figure


def _draw_bars(axes: Axes, shares: pd.DataFrame) -> None:
    for index, (_, row) in enumerate(shares.iterrows()):
        left = 0.0
        for name, share in row.items():
            axes.barh(index, share, left=left, color=colour_of(str(name)), height=0.8)
            if share > _TOLD:
                ink = _ink(colour_of(str(name)))
                axes.text(left + share / 2, index, f"{share:.0%}", ha="center", va="center", fontsize=8, color=ink)
            left += share
    axes.set_xlim(0, 1)
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.set_yticks(range(len(shares)), [str(value) for value in shares.index], fontsize=8)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.spines[["top", "right"]].set_visible(False)


def _ink(colour: str) -> str:
    """Returns black or white, whichever can be read on a colour."""
    red, green, blue = rgb(colour)
    # Luma of ITU-R BT.601.
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _add_legend(figure: Figure, names: Sequence[str] | pd.Index | Mapping[str, None], columns: int = 5) -> None:
    handles = [Patch(color=colour_of(name), label=name) for name in in_order(str(name) for name in names)]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def draw_transitions(counts: pd.DataFrame) -> Figure:
    """Draws which strategy follows each strategy, as shares of how often it ends.

    Args:
        counts: As :func:`strathack.analysis.steps.transitions_of` returns them.
    """
    return _draw_matrix(counts, "then", "first")


def draw_confusion(
    counts: pd.DataFrame, columns: str = "published label", rows: str = "strategy that was running"
) -> Figure:
    """Draws two labels of the same steps against each other, as shares of each row.

    Args:
        counts: Steps, a row for each value of one label and a column for each of the other.
        columns: What the columns are.
        rows: What the rows are.
    """
    steps = counts.sum(axis=1)
    named = counts.set_axis([f"{name} ({number:,})" for name, number in steps.items()])
    return _draw_matrix(named, columns, f"{rows} (steps)")


def _draw_matrix(counts: pd.DataFrame, columns: str, rows: str) -> Figure:
    shares = counts.div(counts.sum(axis=1).replace(0, 1), axis=0)
    figure = Figure(figsize=(WIDTH, 0.36 * len(shares) + 2.2), layout="constrained")
    axes = figure.subplots()
    # Drawn as cells, not as an image inside the picture, so that they stay sharp.
    seen = np.ma.masked_less(shares.to_numpy(), 0.005)
    axes.pcolormesh(seen, cmap="Blues", vmin=0, vmax=1, edgecolors="none")
    for row, column in np.argwhere(~np.ma.getmaskarray(seen)):
        share = float(shares.iat[row, column])
        ink = "white" if share > 0.5 else "black"
        axes.text(column + 0.5, row + 0.5, f"{share:.0%}", ha="center", va="center", fontsize=8, color=ink)
    axes.set_ylim(len(shares), 0)
    axes.set_xticks(
        np.arange(shares.shape[1]) + 0.5, [str(name) for name in shares], rotation=40, ha="right", fontsize=8
    )
    axes.set_yticks(np.arange(len(shares)) + 0.5, [str(name) for name in shares.index], fontsize=8)
    axes.set_xlabel(columns)
    axes.set_ylabel(rows)
    axes.tick_params(length=0)
    return figure


def draw_durations(durations: Mapping[str, np.ndarray]) -> Figure:
    """Draws how long strategies run: boxes between the quartiles with the median, whiskers from 5 % to 95 %.

    Args:
        durations: Strategy → steps of each run, [runs].
    """
    figure = Figure(figsize=(WIDTH, 0.32 * len(durations) + 1), layout="constrained")
    axes = figure.subplots()
    for place, (name, steps) in enumerate(durations.items()):
        axes.boxplot(
            steps, positions=[place], orientation="horizontal", widths=0.6, showfliers=False, whis=(5, 95),
            patch_artist=True, boxprops={"facecolor": colour_of(name), "linewidth": 0.8},
            medianprops={"color": _ink(colour_of(name)), "linewidth": 1.6}, tick_labels=[f"{name} ({len(steps):,})"],
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("steps of a run (number of runs)")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_before_death(counts: pd.DataFrame, hit_points: pd.Series) -> Figure:
    """Draws the strategies in the last steps before a death, and the median of the hit points.

    Args:
        counts: Games by strategy and steps before the end; see :func:`strathack.analysis.steps.before_death`.
        hit_points: Hit points as a share of their maximum, by steps before the end.
    """
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    shares = shares_of(counts)
    axes.stackplot(
        -shares.index.to_numpy(), shares.to_numpy().T, colors=[colour_of(str(name)) for name in shares], linewidth=0
    )
    if hit_points.notna().any():
        axes.plot(-hit_points.index.to_numpy(), hit_points, color="white", linewidth=3.2)
        axes.plot(-hit_points.index.to_numpy(), hit_points, color="black", linewidth=1.6)
        known = hit_points.dropna()
        axes.annotate(
            "median hit points", (-known.index[-1], known.iloc[-1]), (4, -4), textcoords="offset points", va="top",
            fontsize=8, color="black", bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )  # fmt: skip
    axes.set_xlim(-shares.index.max(), 0)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("steps before the end")
    axes.set_ylabel("share of games")
    _add_legend(figure, counts.columns)
    return figure


def draw_distributions(values: Mapping[str, np.ndarray], label: str) -> Figure:
    """Draws each player's games: a point per game, a box between the quartiles with the median, a diamond for the mean.

    Args:
        values: Player → the figure of each game, [games].
        label: The figure's name.
    """
    figure = Figure(figsize=(WIDTH, 1 + (0.7 if len(values) < 6 else 0.45) * len(values)), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    for place, (name, of_games) in enumerate(values.items()):
        heights = place + rng.uniform(-0.28, 0.28, len(of_games))
        axes.scatter(of_games, heights, s=9, alpha=0.45, linewidths=0, color=f"C{place % 10}")
        axes.boxplot(
            of_games, positions=[place], orientation="horizontal", widths=0.5, showfliers=False, showmeans=True,
            meanprops={"marker": "D", "markerfacecolor": "white", "markeredgecolor": "black", "markersize": 5},
            tick_labels=[f"{name}\n{_games(len(of_games))}"],
        )  # fmt: skip
    _widen(axes, np.concatenate(list(values.values())))
    axes.set_xlabel(label.replace("_", " "))
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _games(count: int) -> str:
    return f"{count:,} game{'s' * (count != 1)}"


def _widen(axes: Axes, values: np.ndarray) -> None:
    """Makes the axis logarithmic where a few values are far larger than most."""
    middle = float(np.median(values[values > 0])) if (values > 0).any() else 0.0
    if middle and values.min() >= 0 and values.max() > LARGE * middle:
        axes.set_xscale("symlog", linthresh=middle)
    if not len(values) or values.max() >= 1000:
        axes.xaxis.set_major_formatter("{x:,.0f}")


def draw_profiles(values: Mapping[str, np.ndarray], label: str) -> Figure:
    """Draws the share of each player's games above every value; a curve that is higher everywhere is better.

    Performance profiles, as in Agarwal et al., "Deep RL at the Edge of the Statistical Precipice", 2021.

    Args:
        values: Player → the figure of each game, [games].
        label: The figure's name.
    """
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, of_games in values.items():
        ordered = np.sort(of_games)
        above = 1 - np.arange(len(ordered) + 1) / len(ordered)
        axes.step(np.concatenate([[min(0.0, ordered[0])], ordered]), above, where="post", label=name)
    _widen(axes, np.concatenate(list(values.values())))
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(label.replace("_", " "))
    axes.set_ylabel("games above")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_ends(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draws how deep each player's games went before they ended, as shares of the player's games.

    Args:
        tables: Player → table of its games, with ``max_depth`` and ``end``; games of unknown depth are left out.
    """
    tables = {name: table.dropna(subset="max_depth").astype({"max_depth": int}) for name, table in tables.items()}
    figure = Figure(figsize=(WIDTH, 1.1 + 1.3 * len(tables)), layout="constrained")
    rows = figure.subplots(len(tables), 1, sharex=True, squeeze=False)[:, 0]
    deepest = max((int(table["max_depth"].max()) for table in tables.values() if len(table)), default=1)
    for place, (axes, (name, table)) in enumerate(zip(rows, tables.items(), strict=True)):
        bottom = np.zeros(deepest + 1)
        for end, alpha in (("death", 0.95), ("otherwise", 0.4)):
            ended = table[(table["end"] == "death") == (end == "death")]
            shares = np.bincount(ended["max_depth"], minlength=deepest + 1) / max(len(table), 1)
            axes.bar(range(deepest + 1), shares, bottom=bottom, color=f"C{place % 10}", alpha=alpha, label=end)
            bottom += shares
        axes.set_title(f"{name} ({_games(len(table))})", fontsize=9, loc="left")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.spines[["top", "right"]].set_visible(False)
    rows[0].legend(frameon=False, fontsize=8)
    rows[-1].set_xlabel("deepest level reached")
    rows[-1].set_xlim(0.4, deepest + 0.6)
    return figure


def draw_curves(runs: Mapping[str, pd.DataFrame], x: str, y: str, *, smooth: int = 1) -> Figure:
    """Draws one figure of several runs in the course of their training.

    Args:
        runs: Run → its metrics; rows without the figure are left out.
        x: The column of the horizontal axis, such as ``frames``.
        y: The figure's column.
        smooth: Number of rows that the running mean covers.
    """
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    for place, (name, metrics) in enumerate(runs.items()):
        known = metrics[[x, y]].dropna() if y in metrics else metrics.iloc[:0].reindex(columns=[x, y])
        if smooth > 1:
            axes.plot(known[x], known[y], color=f"C{place}", alpha=0.25, linewidth=0.8)
        averaged = known[y].rolling(smooth, min_periods=1).mean()
        marker = "o" if len(known) < 30 else ""
        axes.plot(known[x], averaged, color=f"C{place}", label=name, marker=marker, markersize=3)
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlabel(x.replace("_", " "))
    axes.set_ylabel(y.replace("_", " ").replace("/", ", "))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_by_strategy(values: pd.DataFrame, label: str) -> Figure:
    """Draws a figure by strategy, with a bar for each run.

    Args:
        values: Shares, with a row for each strategy and a column for each run.
        label: The figure's name.
    """
    figure = Figure(figsize=(WIDTH, 0.22 * values.size + 1.1), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / values.shape[1]
    for place, run in enumerate(values):
        at = np.arange(len(values)) + (place - (values.shape[1] - 1) / 2) * height
        axes.barh(at, values[run].fillna(0), height=height, label=run)
    axes.set_yticks(range(len(values)), list(values.index), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(label)
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=values.shape[1])
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_beliefs(beliefs: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """Draws the probabilities that a strategy head gave to strategies, above the strategy that was running.

    Args:
        beliefs: Probabilities, with a row for each step and a column for each strategy.
        labels: The strategy that was running at each step, [steps].
    """
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    believed, true = figure.subplots(2, 1, sharex=True, height_ratios=[6, 1])
    columns = [name for name in in_order(beliefs.columns) if beliefs[name].max() > 0.01]
    steps = beliefs.index.to_numpy()
    believed.stackplot(steps, beliefs[columns].to_numpy().T, colors=[colour_of(n) for n in columns], linewidth=0)
    believed.set_ylim(0, 1)
    believed.yaxis.set_major_formatter(PercentFormatter(1.0))
    believed.set_ylabel("probability")
    colours = np.array([rgb(colour_of(name)) for name in labels]) / 255
    true.imshow(colours[None], extent=(steps[0], steps[-1], 0, 1), aspect="auto", interpolation="nearest")
    true.set_yticks([0.5], ["was"])
    true.set_xlabel("step")
    believed.set_xlim(steps[0], steps[-1])
    _add_legend(figure, dict.fromkeys([*columns, *labels]))
    return figure
