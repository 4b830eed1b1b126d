"""What the steps of games say of strategies: shares, transitions, durations, what precedes a death."""

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
from strathack.dataset.keys import is_replayable
from strathack.dataset.labels import PUBLISHED_STRATEGIES, UNLABELLED
from strathack.dataset.reading import Game
from strathack.dataset.schema import OBSERVATIONS, BLStat

UNLABELLED_NAME = "unlabelled"

NONE = "none"
"""What stands for −1, no label, among the published ones."""

LAST = 200
"""Steps before a death that are looked at."""

TENTHS = tuple(f"{tenth * 10}–{tenth * 10 + 10} %" for tenth in range(10))
"""Hit points as a share of their maximum."""

_BLOCK_STEPS = 4096


@dataclass(frozen=True)
class GameSteps:
    """The strategies of one game, as runs, and how they lie against what the bottom line says.

    Attributes:
        info: Its row of ``/games`` as plain values.
        names: Strategies by their codes here; the last one stands for "unlabelled".
        codes: The strategy of each run, u16 [runs].
        lengths: Its steps, i64 [runs].
        by: Steps by ``depth``, ``experience_level`` and ``hit_points`` (tenths), i64 [values, names]; empty where the
            game's bottom lines are not stored.
        hit_points: As shares of the maximum in the last steps, at most LAST, f32; empty likewise.
        published: Steps by the published label, i64 [names, 13]; the last column is for steps without.
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
        """Its role and seed."""
        return f"{self.info['role']} {self.info['core']}" if self.info["core"] >= 0 else str(self.info["game"])

    @property
    def labels(self) -> np.ndarray:
        """The strategy of each step, u16 [T]."""
        return np.repeat(self.codes, self.lengths)

    @property
    def counts(self) -> np.ndarray:
        """Steps by strategy, i64 [names]."""
        return np.bincount(self.codes, self.lengths, minlength=len(self.names)).astype(np.int64)


def read_steps(dataset: Dataset, frames: FrameSource | None = None) -> Iterator[GameSteps]:
    """Reads game after game.

    Args:
        dataset: The games.
        frames: Where bottom lines come from that are not stored; by default, and where a game cannot be replayed, it
            is read without.

    Raises:
        FormatError: If a game is not as it was written.
    """
    names = names_of(dataset)
    for game in dataset:
        yield steps_of(game, names, frames)


def names_of(dataset: Dataset) -> tuple[str, ...]:
    """Every strategy that its games may hold, "unlabelled" last."""
    return (*dataset.vocabularies["strategy"], UNLABELLED_NAME)


def steps_of(game: Game, names: Sequence[str], frames: FrameSource | None = None) -> GameSteps:
    """Reads a game; see :func:`read_steps`.

    Args:
        game: The game.
        names: As of :func:`names_of`.
        frames: See :func:`read_steps`.
    """
    place = {name: code for code, name in enumerate(names)}
    codes = np.full(256, place[UNLABELLED_NAME], np.uint16)
    for name, code in game.strategy.codes.items():
        if code != UNLABELLED and name not in place:
            raise FormatError(f"{game.path}: {game.name}/strategy has {name!r}, which its shard does not name")
        codes[code] = place[UNLABELLED_NAME if code == UNLABELLED else name]
    labels = codes[game.checked_labels("strategy")]
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
    """How often each pair of numbers occurs, i64 [height, width]; as high as is needed by default."""
    rows = np.maximum(rows.astype(np.int64), 0)
    height = height or int(rows.max(initial=0)) + 1
    return np.bincount(rows * width + columns, minlength=height * width).reshape(height, width)


def _bottom_lines(game: Game, frames: FrameSource | None) -> np.ndarray | None:
    """i32 [T, 27], or None where they are neither stored nor to be had."""
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
    """Steps by strategy, a row for each value that the bottom line showed.

    Args:
        games: The games.
        what: ``depth``, ``experience_level`` or ``hit_points`` (tenths).

    Returns:
        Steps, i64; strategies in the order of their ordinals, those without steps left out. Empty if it is known of no
        game.
    """
    total = pd.DataFrame(dtype=np.int64)
    for game in games:
        if what in game.by:
            total = total.add(pd.DataFrame(game.by[what], columns=list(game.names)), fill_value=0)
    total = _tidied(total)
    return total.rename(index=dict(enumerate(TENTHS))) if what == "hit_points" else total


def counts_by_game(games: Iterable[GameSteps], column: str) -> pd.DataFrame:
    """Steps by strategy, a row for each value of a column of ``/games``: ``role``, say; see :func:`counts_by`."""
    total = pd.DataFrame(dtype=np.int64)
    for game in games:
        counts = pd.DataFrame(game.counts[None], index=[game.info[column]], columns=list(game.names))
        total = total.add(counts, fill_value=0)
    return _tidied(total)


def _tidied(counts: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers, without empty rows and columns, strategies in order."""
    counts = counts.loc[counts.sum(axis=1) > 0, counts.sum() > 0].sort_index()
    return counts[in_order(counts.columns)].astype(np.int64)


def shares_of(counts: pd.DataFrame) -> pd.DataFrame:
    """Each row as shares of its sum."""
    return counts.div(counts.sum(axis=1), axis=0)


def transitions_of(games: Iterable[GameSteps]) -> pd.DataFrame:
    """How often a strategy (row) is followed by another (column)."""
    total = pd.DataFrame(dtype=np.int64)
    for game in games:
        counts = _counts(game.codes[:-1], game.codes[1:].astype(np.int64), len(game.names), len(game.names))
        total = total.add(pd.DataFrame(counts, index=list(game.names), columns=list(game.names)), fill_value=0)
    kept = in_order(name for name in total.columns if total[name].sum() + total.loc[name].sum())
    return total.loc[kept, kept].astype(np.int64)


def durations_of(games: Iterable[GameSteps]) -> dict[str, np.ndarray]:
    """Steps of each run by strategy, i64 [runs], in the order of their ordinals."""
    found: dict[str, list[np.ndarray]] = {}
    for game in games:
        for code in np.unique(game.codes):
            found.setdefault(game.names[code], []).append(game.lengths[game.codes == code])
    return {name: np.concatenate(found[name]) for name in in_order(found)}


def before_death(games: Iterable[GameSteps]) -> tuple[pd.DataFrame, pd.Series]:
    """What precedes a death.

    Args:
        games: The games; those that ended otherwise are left out.

    Returns:
        Games by strategy, a row for each number of steps before the last one, 0 to LAST − 1; and the median of the hit
        points there, as a share of their maximum (NaN where no game tells).
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
    """Steps by the strategy that was running (row) and by the published label (column)."""
    columns = [*PUBLISHED_STRATEGIES, NONE]
    total = pd.DataFrame(dtype=np.int64)
    for game in games:
        total = total.add(pd.DataFrame(game.published, index=list(game.names), columns=columns), fill_value=0)
    kept = in_order(name for name in total.index if total.loc[name].sum())
    return total.loc[kept, [name for name in columns if total[name].sum()]].astype(np.int64)


def check_labelled(games: Sequence[GameSteps], where: object) -> None:
    """Checks that there is a label.

    Raises:
        InputError: If there is none in any game.
    """
    if not any(game.counts[:-1].any() for game in games):
        raise InputError(f"{where}: none of its {len(games):,} games has a strategy label; its player announced none")
