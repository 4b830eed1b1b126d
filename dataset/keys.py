"""Keys-only games: everything but what replaying brings back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from strathack.dataset.chunks import ChunkEncoder
from strathack.dataset.errors import InputError
from strathack.dataset.files import remove_temporary_files
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.reading import Dataset, Game
from strathack.dataset.schema import CHECKPOINTS
from strathack.dataset.shard import GameData, encode_shard


def keys_only(game: Game) -> GameData:
    """A stored game without its observations and rewards, in memory.

    Raises:
        FormatError: If the game is not as it was written.
    """
    arrays = game.arrays
    return GameData(
        row=np.array(game.row),
        frames={},
        actions=arrays["actions"][:],
        rewards=None,
        dones=arrays["dones"][:],
        strategy=arrays["strategy"][:],
        substrategy=arrays["substrategy"][:],
        hihack_strategy=arrays["hihack_strategy"][:],
        strategy_codes=arrays["strategy"].codes,
        substrategy_codes=arrays["substrategy"].codes,
        checkpoints=arrays[CHECKPOINTS][:],
        attributes=game.attributes,
    )


def compact(dataset: Dataset, out: DatasetFolder, settings: Mapping[str, Any], games_per_shard: int) -> Iterator[int]:
    """Writes the keys-only dataset of some games; what is there already is kept.

    Args:
        dataset: The games; see :func:`check_replayable`.
        out: Where to.
        settings: Its settings.
        games_per_shard: Games in a merged shard.

    Yields:
        The steps of each game after it was written.
    """
    out.path.mkdir(parents=True, exist_ok=True)
    out.write_settings(settings)
    with out.locked():
        remove_temporary_files(out.path)
        present = {game.name for game in out.games()}
        encoder = ChunkEncoder("dense")
        for game in dataset:
            if game.name not in present:
                provenance = replace(game.provenance, observations=())
                out.add_game(game.name, encode_shard(keys_only(game), provenance, encoder))
            yield len(game)
        for _ in out.merge(games_per_shard):
            pass


def is_replayable(row: np.void | np.ndarray) -> bool:
    """Whether a game could be played again: its keys, its seed and its clock are known.

    Args:
        row: Its row of ``/games``.
    """
    return bool(row["keys_sha256"] and row["core"] >= 0 and row["start_time"] >= 0)


def check_replayable(dataset: Dataset) -> None:
    """Checks that every game could be played again from its keys.

    Raises:
        InputError: If one has no keys, or its seed or clock is not known.
    """
    for row in dataset.rows:
        name = row["game"].decode()
        if not row["keys_sha256"]:
            raise InputError(f"compact: {name} has no keys, only screens were imported; leave it out by --select")
        if row["core"] < 0 or row["start_time"] < 0:
            raise InputError(
                f"compact: {name} has no known seed and clock to be replayed from; leave it out by --select"
            )
