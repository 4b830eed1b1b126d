"""The digest of what a dataset holds, by which what is made of it knows whether it is still the same."""

from __future__ import annotations

import hashlib

import numpy as np

from strathack.dataset.errors import FormatError
from strathack.dataset.reading import Dataset
from strathack.dataset.schema import STORED_COLUMNS


def content_digest(dataset: Dataset) -> str:
    """Returns a digest of the games' keys, splits, labels and settings, in whatever shards and order they are stored.

    Args:
        dataset: The games.
    """
    dataset = dataset.take(np.argsort(dataset.rows["game"], kind="stable"))
    digest = hashlib.sha256(dataset.fingerprint.encode())
    for game in dataset:
        digest.update(repr((game.name, game.provenance.shared)).encode())
        try:
            for name, array in sorted(game.arrays.items()):
                if name in STORED_COLUMNS:
                    digest.update(repr((name, sorted(array.codes.items()))).encode())
                    digest.update(np.ascontiguousarray(array[:]).tobytes())
        except FormatError:  # whoever needs the game will be told
            digest.update(b"damaged")
    return digest.hexdigest()
