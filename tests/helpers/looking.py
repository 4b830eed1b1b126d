"""Looking at what a command did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strathack.dataset.folder import DatasetFolder
from strathack.dataset.shard import open_shard

BOTS = Path(__file__).parents[1] / "bots"


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def read_dataset(folder: Path) -> dict[int, dict[str, Any]]:
    """Every array of every game of a dataset by plain h5py, the row among them, by seed."""
    games = {}
    for game in DatasetFolder(folder).games():
        with open_shard(game.shard) as file:
            arrays: dict[str, Any] = {}
            file[f"data/{game.name}"].visititems(
                lambda name, item, into=arrays: into.update({name: item[...]}) if hasattr(item, "shape") else None
            )
            arrays["attributes"] = dict(file[f"data/{game.name}"].attrs)
        games[int(game.row["core"])] = {"row": game.row, **arrays}
    return games


def same_games(one: dict[int, dict[str, Any]], other: dict[int, dict[str, Any]]) -> bool:
    """Whether two datasets hold the same games, apart from when they were played and how long it took."""
    if one.keys() != other.keys():
        return False
    for seed in one:
        for key, value in one[seed].items():
            if key == "row":
                names = [name for name in value.dtype.names if name not in ("seconds", "start_time")]
                if any(value[name] != other[seed]["row"][name] for name in names):
                    return False
            elif key != "attributes" and not np.array_equal(value, other[seed][key]):
                return False
    return True


def forbid_listing(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Does with folders what their mode of 0 does to anyone but root."""
    allowed = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path in folders:
            raise PermissionError(13, "Permission denied", str(path))
        return allowed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
