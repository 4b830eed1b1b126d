"""Seeds of games, written as numbers and half-open ranges."""

from __future__ import annotations

import re
from collections.abc import Iterable

from strathack.dataset.codec import TextValue
from strathack.dataset.errors import InputError

MAX_SEED = 2**63 - 1
"""The largest seed that NLE accepts."""

MAX_RANGE = 10_000_000
"""The most seeds that one range may have."""


class Seeds(TextValue, tuple[int, ...]):
    """Seeds in ascending order, without duplicates; an empty text gives no seeds."""

    @classmethod
    def of(cls, numbers: Iterable[int]) -> Seeds:
        """Makes seeds from numbers in any order; removes duplicates."""
        return cls(sorted(set(numbers)))

    @classmethod
    def parse(cls, text: str) -> Seeds:
        """Reads numbers and half-open ranges, ``2,4,10:20``.

        Raises:
            InputError: If a part is neither, a range is empty, or a seed or range is too large.
        """
        seeds: set[int] = set()
        for part in text.split(",") if text else ():
            seeds.update(_range(part.strip(), text))
        return cls.of(seeds)

    def __str__(self) -> str:
        """Returns the inverse of :meth:`parse`, with consecutive seeds as ranges: ``2,4,10:20``."""
        runs: list[list[int]] = []
        for seed in self:
            if runs and runs[-1][1] == seed:
                runs[-1][1] = seed + 1
            else:
                runs.append([seed, seed + 1])
        return ",".join(str(a) if b == a + 1 else f"{a}:{b}" for a, b in runs)


def _range(part: str, text: str) -> range:
    match = re.fullmatch(r"(\d+)(?::(\d+))?", part, flags=re.ASCII)
    if match is None:
        raise InputError(f"{part!r} in {text!r} is neither a number nor a range like 10:20")
    first, last = int(match[1]), int(match[2] or int(match[1]) + 1)
    if last <= first:
        raise InputError(f"the range {part!r} is empty; the first seed comes first, the end is left out")
    if last - 1 > MAX_SEED:
        raise InputError(f"{last - 1} is over NLE's largest seed, {MAX_SEED}")
    if last - first > MAX_RANGE:
        raise InputError(f"the range {part!r} has {last - first:,} seeds; expected at most {MAX_RANGE:,}")
    return range(first, last)
