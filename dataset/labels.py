"""Strategy names and ordinals, and vocabularies of names that are stored in files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

STRATEGIES: tuple[str, ...] = (
    "explore",
    "fight",
    "ground_eat",
    "wait_out",
    "emergency",
    "inventory_eat",
    "offer_corpses",
    "init",
    "solve_sokoban",
    "engulfed_fight",
    "follow_guard",
    "cure_disease",
    "recover",
)
"""Strategy names; a name's index is its ordinal.

The first twelve names and their ordinals are from the HiHack dataset (Piterbarg et al., "NetHack is Hard to
Hack", 2023). ``recover`` was added here: what AutoAscend does between a panic and the next strategy.
"""

PUBLISHED_STRATEGIES: tuple[str, ...] = STRATEGIES[:12]
"""The names that ``hihack_strategy`` may hold."""

NO_PUBLISHED_LABEL = -1
"""The value in ``hihack_strategy`` of a step without a published label."""

UNLABELLED = 255
"""The code, in every vocabulary, of a step for which nothing was reported."""


class Vocabulary:
    """Names and their codes (0 to 254), with one name for "nothing reported" at code 255.

    A vocabulary may grow while a game is played: a demonstrator's own names get the next free codes in the
    order in which they first appear.

    Args:
        names: The names known from the start; a name's index is its code.
        nothing: The name that stands for code 255.

    Raises:
        ValueError: If a name occurs twice or there are more than 255.
    """

    def __init__(self, names: Iterable[str] = (), *, nothing: str = "unlabelled") -> None:
        self._codes: dict[str, int] = {nothing: UNLABELLED}
        for name in names:
            if name in self._codes:
                raise ValueError(f"the name {name!r} occurs twice in the vocabulary")
            self.code(name)

    def code(self, name: str) -> int:
        """Returns the code of ``name``, giving it the next free one if it is new.

        Raises:
            ValueError: If the vocabulary is full (255 names) or the name is empty.
        """
        code = self._codes.get(name)
        if code is None:
            if not name:
                raise ValueError("a label has an empty name")
            code = len(self._codes) - 1
            if code >= UNLABELLED:
                raise ValueError(f"more than {UNLABELLED} different labels in one game; the last was {name!r}")
            self._codes[name] = code
        return code

    @property
    def codes(self) -> Mapping[str, int]:
        """Name to code, as stored in a file's enumeration."""
        return dict(self._codes)


Vocabularies = Mapping[str, Sequence[str]]
"""``strategy`` and ``substrategy`` → their names in order of the codes, without the name for "nothing reported"."""


def label_names(codes: Mapping[str, int]) -> tuple[str, ...]:
    """Returns the names of an enumeration in order of their codes, without the name for "nothing reported"."""
    return tuple(sorted((name for name in codes if codes[name] != UNLABELLED), key=codes.__getitem__))


def unite_vocabularies(several: Iterable[Vocabularies]) -> dict[str, tuple[str, ...]]:
    """Returns every name of several vocabularies once, in the order in which the names first occur."""
    united: dict[str, dict[str, None]] = {}
    for vocabularies in several:
        for label, names in vocabularies.items():
            united.setdefault(label, {}).update(dict.fromkeys(names))
    return {label: tuple(names) for label, names in united.items()}


def names_by_code(codes: Mapping[str, int]) -> dict[int, str]:
    """Inverts an enumeration's name → code, to code → name."""
    return {code: name for name, code in codes.items()}


def count_by_name(labels: np.ndarray, codes: Mapping[str, int]) -> dict[str, int]:
    """Counts the steps of each name, most frequent first; names without steps are left out.

    Args:
        labels: Codes, u8 [T].
        codes: Name to code.
    """
    counts = np.bincount(labels, minlength=256)
    named = {name: int(counts[code]) for name, code in codes.items() if counts[code]}
    return dict(sorted(named.items(), key=lambda item: -item[1]))
