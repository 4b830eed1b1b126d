"""Keys-only games, which hold everything except what a replay restores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from strathack.dataset.chunks import ChunkEncoder
from strathack.dataset.errors import InputError
from strathack.dataset.reading import Dataset, Game
from strathack.dataset.schema import CHECKPOINTS, INFERRED, PROBABILITY, is_replayable
from strathack.dataset.shard import GameData, InferredLabels, encode_shard


def keys_only(game: Game) -> GameData:
    """Returns a stored game without its observations and rewards, in memory.

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
        inferred=inferred_labels(game),
    )


def inferred_labels(game: Game) -> dict[str, InferredLabels]:
    """Returns what a labeller has inferred of a stored game, by the label's name.

    Raises:
        FormatError: If the game is not as it was written.
    """
    arrays = game.arrays
    return {
        label: InferredLabels(arrays[name][:], arrays[f"{name}{PROBABILITY}"][:], arrays[name].codes)
        for label, name in INFERRED.items()
        if name in arrays
    }


def keys_only_shard(game: Game) -> bytes:
    """Returns a shard with the keys-only form of one game, compressed as ``dense``."""
    provenance = replace(game.provenance, observations=())
    return encode_shard(keys_only(game), provenance, ChunkEncoder("dense"))


def check_replayable(dataset: Dataset, what: str) -> None:
    """Checks that every game can be replayed from its keys.

    Args:
        dataset: The games.
        what: What needs that, for the error message.

    Raises:
        InputError: If a game has no keys, or its seed or clock is not known.
    """
    unknown = dataset.rows[~is_replayable(dataset.rows)]
    if len(unknown):
        name, has_keys = unknown[0]["game"].decode(), bool(unknown[0]["keys_sha256"])
        lacks = "known seed and clock to be replayed from" if has_keys else "keys, only screens were imported"
        raise InputError(f"{what}: {name} has no {lacks}; leave it out by --select")
