"""The files of a published folder: what they are called, and which steps each holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from strathack.dataset.reading import Dataset
from strathack.dataset.splits import SPLITS

STEPS_PER_FILE = 5_000_000
"""Steps of a Parquet file, some 20 MB."""

STEPS_PER_FILE_OF_SCREENS = 2_000_000
"""The same with screens, some hundreds of MB; the hub asks for less than 20 GB a file."""

FILES_PER_FOLDER = 10_000
"""The hub asks for fewer files in a folder."""

CARD, CROISSANT = "README.md", "croissant.json"


@dataclass(frozen=True)
class Files:
    """What is in a published folder.

    Attributes:
        shards: The shards' names.
        splits: The splits that have games.
        columns: Columns of the table of steps.
    """

    shards: Sequence[str]
    splits: Sequence[str]
    columns: Sequence[str]


@dataclass(frozen=True)
class Part:
    """A Parquet file of steps.

    Attributes:
        name: Its name below the folder.
        games: The places of its games in the dataset.
    """

    name: str
    games: Sequence[int]


def part_pattern(config: str, split: str) -> str:
    """Returns a pattern that matches the Parquet files of a split."""
    return f"{config}/{split}-*.parquet"


def games_table(split: str) -> str:
    """Returns the name of a split's table of games."""
    return f"games/{split}-00000-of-00001.parquet"


def splits_of(dataset: Dataset) -> list[str]:
    """Returns the splits that have games."""
    return [split for split in SPLITS if (dataset.splits == split).any()]


def parts_of(dataset: Dataset, split: str, most: int) -> list[Part]:
    """Divides the games of a split into files.

    Args:
        dataset: The games.
        split: The split.
        most: Steps of a file, more only if a single game has more.
    """
    groups: list[list[int]] = []
    rows = 0
    for place in np.flatnonzero(dataset.splits == split).tolist():
        steps = int(dataset.rows["steps"][place])
        if not groups or rows + steps > most:
            groups.append([])
            rows = 0
        groups[-1].append(place)
        rows += steps
    count = len(groups)
    return [Part(f"steps/{split}-{number:05d}-of-{count:05d}.parquet", group) for number, group in enumerate(groups)]
