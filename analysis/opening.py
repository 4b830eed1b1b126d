"""Opens the games that a command is to show, by what users call them."""

from __future__ import annotations

import json
from pathlib import Path

from strathack.analysis.scores import EVALUATION, SCORES
from strathack.dataset import Dataset
from strathack.dataset.errors import FormatError, InputError, near_match
from strathack.dataset.reading import Game, OnCorrupt
from strathack.dataset.schema import game_name


def games_at(path: Path, *, on_corrupt: OnCorrupt = "raise") -> Dataset:
    """Opens the games of a dataset's folder, a shard, or an evaluation's folder.

    Args:
        path: The folder or shard.
        on_corrupt: What to do with shards that cannot be read.

    Raises:
        InputError: If there are no games.
        FormatError: If a file cannot be read.
    """
    if not (path / SCORES).is_file():
        dataset = Dataset(path, on_corrupt=on_corrupt)
    else:
        try:
            folder = json.loads((path / EVALUATION).read_text())["games"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path / EVALUATION}: does not tell where its games are ({error!r})") from None
        dataset = Dataset(path / folder, on_corrupt=on_corrupt)
    if not len(dataset):
        raise InputError(f"{path}: holds no games" + "".join(f"; {reason}" for reason in dataset.left_out[:1]))
    return dataset


def game_named(dataset: Dataset, name: str) -> Game:
    """Returns a game by its name or its seed; the first game if ``name`` is empty.

    Raises:
        InputError: If there is no such game.
    """
    if not name:
        return dataset[0]
    names = dataset.names
    for one in (name, game_name(int(name)) if name.isdecimal() else name):
        if one in names:
            return dataset[one]
    raise InputError(f"game: {name!r} is not among the {len(names):,} games{near_match(name, names[:1000])}")
