"""Splits games into train, validation and test by a hash of the seed, so that adding games never moves one."""

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
    """The share of all seeds that goes into each split.

    Attributes:
        train: Share of train.
        validation: Share of validation.
        test: Share of test.
    """

    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        """Checks the shares of the splits.

        Raises:
            InputError: If a share is not between 0 and 1, or the shares do not sum to 1.
        """
        shares = asdict(self)
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise InputError(f"{name}: {share} is no share; expected 0 to 1")
        if not math.isclose(sum(shares.values()), 1, abs_tol=1e-9):
            raise InputError(f"splits: {shares} sum to {sum(shares.values()):g}; expected 1")

    def split_of(self, row: np.void) -> str:
        """Returns the split of a game by its core seed, or by its name if the seed is not known (−1).

        The seed's SHA-256, read as a number from 0 to 1, is compared with the running sum of the shares in the order
        of ``SPLITS``.
        """
        seed = int(row["core"])
        text = str(seed).encode() if seed >= 0 else row["game"]
        place = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64
        if place < self.train:
            return "train"
        return "validation" if place < self.train + self.validation else "test"

    def masks(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns split → names of its games, as stored in ``mask/<split>``; a split without games is left out."""
        splits = np.array([self.split_of(row) for row in rows], dtype="U10")
        return {name: rows["game"][splits == name] for name in SPLITS if (splits == name).any()}

    def to_json(self) -> str:
        """Returns the shares as the JSON that files hold."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Fractions:
        """The inverse of :meth:`to_json`."""
        return cls.from_values(json.loads(text))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Fractions:
        """Makes fractions from a mapping of split → share.

        Raises:
            InputError: If a share is missing, or no number.
        """
        try:
            return cls(**{name: float(values[name]) for name in SPLITS})
        except (KeyError, TypeError, ValueError):
            raise InputError(f"splits: {values!r}; expected a share for each of {', '.join(SPLITS)}") from None
