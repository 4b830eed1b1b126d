"""Statistics of strategies, from the steps of games: shares, transitions, durations, what precedes a death."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from strathack.analysis.palette import in_order
from strathack.analysis.runs import runs_of
from strathack.dataset import Dataset
from strathack.dataset.errors import FormatError, InputError
from strathack.dataset.frames import FrameSource, StoredFrames
from strathack.dataset.labels import PUBLISHED_STRATEGIES, UNLABELLED
from strathack.dataset.reading import Game
from strathack.dataset.schema import OBSERVATIONS, BLStat, is_replayable

UNLABELLED_NAME = "unlabelled"

NONE = "none"
"""The name for −1, no label, among the published labels."""

LAST = 200
"""How many steps before a death are analysed."""

TENTHS = tuple(f"{tenth * 10}–{tenth * 10 + 10} %" for tenth in range(10))
"""Names of the tenths of hit points, as shares of their maximum."""

_BLOCK_STEPS = 4096


@dataclass(frozen=True)
class GameSteps:
    """The strategies of one game, as runs of one strategy, and steps by strategy and by what the bottom line shows.

    Attributes:
        info: The game's row of ``/games`` as plain values.
        names: Names of strategies; a name's place is its code here. The last one is "unlabelled".
        codes: The strategy of each run, u16 [runs].
        lengths: The number of steps of each run, i64 [runs].
        by: Number of steps by ``depth``, ``experience_level`` and ``hit_points`` (tenths), each i64 [values, names];
            empty if the game's bottom lines are not known.
        hit_points: Hit points as shares of their maximum in the last steps, at most LAST, f32; empty if not known.
        published: Number of steps by published label, i64 [names, 13]; the last column is for steps without one.
    """

    info: Mapping[str, Any]
    names: tuple[str, ...]
    codes: np.ndarray
    lengths: np.ndarray
    by: Mapping[str, np.ndarray]
    hit_points: np.ndarray
    published: np.ndarray

    @property
    def title(self) -> str:
        """The game's role and seed, or its name if the seed is not known."""
        return f"{self.info['role']} {self.info['core']}" if self.info["core"] >= 0 else str(self.info["game"])

    @property
    def labels(self) -> np.ndarray:
        """The strategy of each step, u16 [T]."""
        return np.repeat(self.codes, self.lengths)

    @property
    def counts(self) -> np.ndarray:
        """Steps by strategy, i64 [names]."""
        return np.bincount(self.codes, self.lengths, minlength=len(self.names)).astype(np.int64)


def read_steps(dataset: Dataset, frames: FrameSource | None = None, label: str = "strategy") -> Iterator[GameSteps]:
    """Reads games one after another.

    Args:
        dataset: The games.
        frames: Source of bottom lines that are not stored. Without a source, or if a game cannot be replayed, the game
            is read without bottom lines.
        label: The column that tells the strategy.

    Raises:
        InputError: If a game has no such column.
        FormatError: If a game is not as it was written.
    """
    names = names_of(dataset, label)
    for game in dataset:
        yield steps_of(game, names, frames, label)


def names_of(dataset: Dataset, label: str = "strategy") -> tuple[str, ...]:
    """Returns the name of every strategy that a game of the dataset may hold, "unlabelled" last."""
    return (*dataset.vocabularies.get(label, ()), UNLABELLED_NAME)


def steps_of(game: Game, names: Sequence[str], frames: FrameSource | None = None, label: str = "strategy") -> GameSteps:
    """Reads a game; see :func:`read_steps`.

    Args:
        game: The game.
        names: Names of strategies, as :func:`names_of` returns them.
        frames: See :func:`read_steps`.
        label: The column that tells the strategy.
    """
    place = {name: code for code, name in enumerate(names)}
    codes = np.full(256, place[UNLABELLED_NAME], np.uint16)
    for name, code in game.stored(label).codes.items():
        if code != UNLABELLED and name not in place:
            raise FormatError(f"{game.place}: {game.name}/{label} has {name!r}, which its shard does not name")
        codes[code] = place[UNLABELLED_NAME if code == UNLABELLED else name]
    labels = codes[game.checked_labels(label)]
    published = game.checked_labels("hihack_strategy").astype(np.int64)
    published[published < 0] = len(PUBLISHED_STRATEGIES)
    blstats = _bottom_lines(game, frames)
    share = np.zeros(0, np.float32)
    if blstats is not None:
        share = np.clip(blstats[:, BLStat.HP] / np.maximum(blstats[:, BLStat.HPMAX], 1), 0, 1).astype(np.float32)
    values = {} if blstats is None else {
        "depth": blstats[:, BLStat.DEPTH],
        "experience_level": blstats[:, BLStat.XP],
        "hit_points": np.minimum(share * 10, 9).astype(np.int64),
    }  # fmt: skip
    return GameSteps(
        game.info,
        tuple(names),
        *runs_of(labels),
        by={name: _counts(column, labels, len(names)) for name, column in values.items()},
        hit_points=share[-LAST:],
        published=_counts(labels, published, len(PUBLISHED_STRATEGIES) + 1, len(names)),
    )


def _counts(rows: np.ndarray, columns: np.ndarray, width: int, height: int = 0) -> np.ndarray:
    """Counts how often each pair of numbers occurs, i64 [height, width]; by default the height is as needed."""
    rows = np.maximum(rows.astype(np.int64), 0)
    height = height or int(rows.max(initial=0)) + 1
    return np.bincount(rows * width + columns, minlength=height * width).reshape(height, width)


def _bottom_lines(game: Game, frames: FrameSource | None) -> np.ndarray | None:
    """Returns a game's bottom lines, i32 [T, 27], or None if they are neither stored nor can be replayed."""
    if "blstats" not in game.obs and (frames is None or not is_replayable(game.row)):
        return None
    reader = (frames or StoredFrames()).open(game, ["blstats"], 0)
    try:
        lines = np.empty((len(game), *OBSERVATIONS["blstats"].shape), np.int32)
        for start in range(0, len(game), _BLOCK_STEPS):
            stop = min(start + _BLOCK_STEPS, len(game))
            reader.copy(start, stop, {"blstats": lines[start:stop]})
    finally:
        reader.close()
    return lines


def counts_by(games: Iterable[GameSteps], what: str) -> pd.DataFrame:
    """Counts steps by strategy, in a row for each value that the bottom line showed.

    Args:
        games: The games.
        what: ``depth``, ``experience_level`` or ``hit_points`` (tenths).

    Returns:
        Number of steps, i64; strategies in the order of their ordinals, strategies without steps left out. Empty if no
        game has known values.
    """
    total = pd.DataFrame(dtype=np.int64)
    for game in games:
        if what in game.by:
            total = total.add(pd.DataFrame(game.by[what], columns=list(game.names)), fill_value=0)
    total = _tidied(total)
    return total.rename(index=dict(enumerate(TENTHS))) if what == "hit_points" else total


def counts_by_game(games: Iterable[GameSteps], column: str) -> pd.DataFrame:
    """Counts steps by strategy, in a row for each value of a column of ``/games``; see :func:`counts_by`."""
    total = pd.DataFrame(dtype=np.int64)
    for game in games:
        counts = pd.DataFrame(game.counts[None], index=[game.info[column]], columns=list(game.names))
        total = total.add(counts, fill_value=0)
    return _tidied(total)


def _tidied(counts: pd.DataFrame) -> pd.DataFrame:
    """Returns counts as whole numbers, without empty rows and columns, strategies in order."""
    counts = counts.loc[counts.sum(axis=1) > 0, counts.sum() > 0].sort_index()
    return counts[in_order(counts.columns)].astype(np.int64)


def shares_of(counts: pd.DataFrame) -> pd.DataFrame:
    """Returns each row as shares of the row's sum."""
    return counts.div(counts.sum(axis=1), axis=0)


def transitions_of(games: Iterable[GameSteps]) -> pd.DataFrame:
    """Counts how often a strategy (row) is followed by another (column)."""
    total = pd.DataFrame(dtype=np.int64)
    for game in games:
        counts = _counts(game.codes[:-1], game.codes[1:].astype(np.int64), len(game.names), len(game.names))
        total = total.add(pd.DataFrame(counts, index=list(game.names), columns=list(game.names)), fill_value=0)
    kept = in_order(name for name in total.columns if total[name].sum() + total.loc[name].sum())
    return total.loc[kept, kept].astype(np.int64)


def durations_of(games: Iterable[GameSteps]) -> dict[str, np.ndarray]:
    """Returns strategy → number of steps of each of its runs, i64 [runs], in the order of the strategies' ordinals."""
    found: dict[str, list[np.ndarray]] = {}
    for game in games:
        for code in np.unique(game.codes):
            found.setdefault(game.names[code], []).append(game.lengths[game.codes == code])
    return {name: np.concatenate(found[name]) for name in in_order(found)}


def before_death(games: Iterable[GameSteps]) -> tuple[pd.DataFrame, pd.Series]:
    """Counts the strategies that precede a death.

    Args:
        games: The games; those that ended otherwise are left out.

    Returns:
        Number of games by strategy, in a row for each number of steps before the last one, 0 to LAST − 1; and the
        median of the hit points at these steps, as a share of their maximum (NaN where no game's are known).
    """
    rows: list[pd.DataFrame] = []
    points: list[np.ndarray] = []
    for game in games:
        if game.info["end"] != "death" or not len(game.codes):
            continue
        last = game.labels[-LAST:][::-1]
        counts = np.eye(len(game.names), dtype=np.int64)[last]
        rows.append(pd.DataFrame(counts, columns=list(game.names)))
        padded = np.full(LAST, np.nan)
        padded[: len(game.hit_points)] = game.hit_points[::-1]
        points.append(padded)
    if not rows:
        return pd.DataFrame(dtype=np.int64), pd.Series(dtype=np.float64)
    counts = pd.concat(rows).fillna(0)
    counts = _tidied(counts.groupby(level=0).sum())
    stacked = np.array(points)
    known = ~np.isnan(stacked).all(axis=0)
    median = np.full(LAST, np.nan)
    median[known] = np.nanmedian(stacked[:, known], axis=0)
    return counts, pd.Series(median)


def published_against_true(games: Iterable[GameSteps]) -> pd.DataFrame:
    """Counts steps by the strategy that was running (row) and by the published label (column)."""
    columns = [*PUBLISHED_STRATEGIES, NONE]
    total = pd.DataFrame(dtype=np.int64)
    for game in games:
        total = total.add(pd.DataFrame(game.published, index=list(game.names), columns=columns), fill_value=0)
    kept = in_order(name for name in total.index if total.loc[name].sum())
    return total.loc[kept, [name for name in columns if total[name].sum()]].astype(np.int64)


def check_labelled(games: Sequence[GameSteps], where: object) -> None:
    """Checks that at least one game has a strategy label.

    Raises:
        InputError: If no game has one.
    """
    if not any(game.counts[:-1].any() for game in games):
        raise InputError(f"{where}: none of its {len(games):,} games has a strategy label; its player announced none")
