"""Splits into train, validation and test by a hash of the seed: always the same, whatever games are added."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from strathack.dataset.errors import InputError

SPLITS: tuple[str, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Fractions:
    """What share of all seeds goes into each split.

    Attributes:
        train: Share of train.
        validation: Share of validation.
        test: Share of test.
    """

    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        """Checks the shares.

        Raises:
            InputError: If one is negative or they do not sum to 1.
        """
        shares = asdict(self)
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise InputError(f"{name}: {share} is no share; expected 0 to 1")
        if not math.isclose(sum(shares.values()), 1, abs_tol=1e-9):
            raise InputError(f"splits: {shares} sum to {sum(shares.values()):g}; expected 1")

    def split_of(self, row: np.void) -> str:
        """The split of a game, from its core seed, or its name where the seed is not known (−1).

        The seed's SHA-256, read as a number from 0 to 1, is held against the shares in the order of ``SPLITS``.
        """
        seed = int(row["core"])
        text = str(seed).encode() if seed >= 0 else row["game"]
        place = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64
        if place < self.train:
            return "train"
        return "validation" if place < self.train + self.validation else "test"

    def masks(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Names of the games in each split, as ``mask/<split>`` keeps them; a split without games is left out."""
        splits = np.array([self.split_of(row) for row in rows], dtype="U10")
        return {name: rows["game"][splits == name] for name in SPLITS if (splits == name).any()}

    def to_json(self) -> str:
        """As kept in a file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Fractions:
        """The inverse of :meth:`to_json`."""
        return cls.from_values(json.loads(text))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Fractions:
        """From shares by name."""
        return cls(**{name: float(values[name]) for name in SPLITS})
