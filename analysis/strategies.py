"""``strathack analysis strategies``: one picture of what a dataset's demonstrator pursued."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from strathack.analysis.options import StrategiesConfig
from strathack.analysis.plots import save
from strathack.dataset.errors import InputError
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.labels import STRATEGIES, count_by_name
from strathack.dataset.shard import open_shard

COLOURS: Mapping[str, str] = {
    "explore": "#4e79a7",
    "fight": "#e15759",
    "ground_eat": "#59a14f",
    "wait_out": "#bab0ac",
    "emergency": "#f28e2b",
    "inventory_eat": "#8cd17d",
    "offer_corpses": "#b07aa1",
    "init": "#79706e",
    "solve_sokoban": "#9c755f",
    "engulfed_fight": "#ff9d9a",
    "follow_guard": "#d4a6c8",
    "cure_disease": "#86bcb6",
    "recover": "#edc948",
    "unlabelled": "#dddddd",
}
"""A colour a strategy, the same in every picture."""

_OTHER_COLOUR = "#499894"
_COLUMNS = 1200
"""Columns of a game's strip; each shows the strategy most frequent in its steps."""


@dataclass(frozen=True)
class GameLabels:
    """One game's strategies.

    Attributes:
        title: Its role and name.
        role: Its role.
        score: Its score.
        strategy: Names, in order of their codes' first use in ``codes``.
        codes: u8 [T].
        names: Code → name.
    """

    title: str
    role: str
    score: int
    codes: np.ndarray
    names: Mapping[int, str]

    def counts(self) -> dict[str, int]:
        """Steps by strategy."""
        return count_by_name(self.codes, {name: code for code, name in self.names.items()})

    def columns(self, count: int) -> list[str]:
        """The most frequent strategy in each of ``count`` equal stretches, fewer if the game has fewer steps."""
        stretches = np.array_split(self.codes, min(count, len(self.codes))) if len(self.codes) else []
        return [self.names[int(np.bincount(stretch).argmax())] for stretch in stretches]


def main(config: StrategiesConfig) -> int:
    """The command."""
    games = list(read_labels(config.data))
    if not games:
        raise InputError(f"{config.data}: holds no games")
    figure = draw(games, config.max_games)
    save(figure, config.out)
    print(f"{len(games)} games drawn in {config.out}")
    return 0


def read_labels(path: Path) -> Iterator[GameLabels]:
    """Reads the strategies of every game of a dataset folder, in order of their seeds.

    Raises:
        InputError: If it is no dataset.
    """
    folder = DatasetFolder(path)
    if folder.read_settings() is None:
        raise InputError(f"{path}: no such dataset")
    for game in sorted(folder.games(), key=lambda game: int(game.row["core"])):
        with open_shard(game.shard) as file:
            labels = file[f"data/{game.name}/strategy"]
            codes = h5py.check_enum_dtype(labels.dtype)
            role = game.row["role"].decode()
            yield GameLabels(
                title=f"{role} {int(game.row['core'])}",
                role=role,
                score=int(game.row["score"]),
                codes=labels[...],
                names={code: name for name, code in codes.items()},
            )


def draw(games: Sequence[GameLabels], max_games: int) -> Figure:
    """Draws strips of the first games above bars of the shares by role.

    Args:
        games: At least one.
        max_games: Strips drawn.
    """
    shown = games[:max_games]
    roles = sorted({game.role for game in games})
    heights = [0.32 * len(shown) + 0.5, 0.32 * (len(roles) + 1) + 0.5]
    figure = Figure(figsize=(11, sum(heights) + 2.2), layout="constrained")
    over_time, by_role = figure.subplots(2, 1, height_ratios=heights)
    _draw_strips(over_time, shown)
    _draw_shares(by_role, games, roles)
    total: Counter[str] = Counter()
    for game in games:
        total.update(game.counts())
    handles = [Patch(color=_colour(name), label=name) for name in _in_order(total)]
    figure.legend(handles=handles, loc="outside lower center", ncols=7, frameon=False, fontsize=9)
    return figure


def _draw_strips(axes: Axes, games: Sequence[GameLabels]) -> None:
    longest = max(len(game.codes) for game in games) or 1
    for index, game in enumerate(games):
        columns = game.columns(_COLUMNS)
        if columns:
            colours = np.array([_rgb(name) for name in columns])[None]
            axes.imshow(
                colours,
                extent=(0, len(game.codes), index + 0.4, index - 0.4),
                aspect="auto",
                interpolation="nearest",
            )
        axes.text(len(game.codes) + longest * 0.008, index, f"score {game.score:,}", va="center", fontsize=8)
    axes.set_xlim(0, longest * 1.12)
    axes.set_ylim(len(games) - 0.5, -0.5)
    axes.set_yticks(range(len(games)), [game.title for game in games], fontsize=8)
    axes.set_xlabel("step")
    axes.set_title("What the demonstrator pursued, step by step (role and seed)", fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_shares(axes: Axes, games: Sequence[GameLabels], roles: Sequence[str]) -> None:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    number: Counter[str] = Counter()
    for game in games:
        for row in (game.role, "all"):
            counts[row].update(game.counts())
            number[row] += 1
    rows = [*roles, "all"]
    for index, row in enumerate(rows):
        steps, left = sum(counts[row].values()) or 1, 0.0
        for name in _in_order(counts[row]):
            share = counts[row][name] / steps
            axes.barh(index, share, left=left, color=_colour(name), height=0.8)
            if share > 0.04:
                axes.text(left + share / 2, index, f"{share:.0%}", ha="center", va="center", fontsize=8)
            left += share
    axes.set_xlim(0, 1)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [f"{row} ({number[row]})" for row in rows], fontsize=8)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_title("Share of steps by role (number of games)", fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _in_order(counts: Mapping[str, int]) -> list[str]:
    """Names with steps: the known ones in the order of their ordinals, then others, most frequent first."""
    known = [name for name in STRATEGIES if counts.get(name)]
    others = sorted((name for name in counts if name not in STRATEGIES and counts[name]), key=lambda n: -counts[n])
    return [*known, *others]


def _colour(name: str) -> str:
    return COLOURS.get(name, _OTHER_COLOUR)


def _rgb(name: str) -> tuple[float, float, float]:
    value = _colour(name)
    return tuple(int(value[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]
