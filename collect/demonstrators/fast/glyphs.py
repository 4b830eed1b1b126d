"""Tables by glyph, for kernels that look glyphs up."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from autoascend import utils
from autoascend.combat.monster_utils import ONLY_RANGED_SLOW_MONSTERS
from autoascend.glyph import MON, G

from strathack.collect.demonstrators.fast import kernels
from strathack.collect.demonstrators.fast.replacing import Replacement

_SETS: dict[int, Iterable[int]] = {
    kernels.STONE: G.STONE,
    kernels.WALL: G.WALL,
    kernels.DOOR_CLOSED: G.DOOR_CLOSED,
    kernels.DOOR_OPENED: G.DOOR_OPENED,
    kernels.TRAP: G.TRAPS,
    kernels.ALTAR: G.ALTAR,
    kernels.MONSTER: G.MONS,
    kernels.PET: G.PETS,
    kernels.UNSEEN: G.INVISIBLE_MON,
    kernels.SHOPKEEPER: G.SHOPKEEPER,
    kernels.ORACLE: G.ORACLE,
    kernels.GUARD: G.GUARD,
    kernels.SWALLOW: G.SWALLOW,
    kernels.BOULDER: G.BOULDER,
    kernels.SHUNNED: [MON.fn(name) for name in ONLY_RANGED_SLOW_MONSTERS],
    kernels.GROUND: G.FLOOR | G.STAIR_UP | G.STAIR_DOWN | G.DOOR_OPENED | G.TRAPS | G.ALTAR | G.FOUNTAIN,
    kernels.COVER: G.MONS | G.PETS | G.BODIES | G.OBJECTS | G.STATUES,
    kernels.BARRIER: G.WALL | G.DOOR_CLOSED | G.BARS,
    kernels.LITTER: G.OBJECTS | G.BODIES | G.STATUES,
}


def _table(glyphs: Iterable[int]) -> np.ndarray:
    """Returns a set of glyphs as b1 [65536]: whether the glyph is in it, by the glyph as u16."""
    table = np.zeros(2**16, np.bool_)
    table[np.array(list(glyphs), np.int16).view(np.uint16)] = True
    return table


def _classes() -> np.ndarray:
    classes = np.zeros(2**16, np.uint32)
    for bit, glyphs in _SETS.items():
        classes[_table(glyphs)] |= np.uint32(bit)
    # The bot marks these three one after the other; as no glyph is of two of them, one pass does the same.
    kinds = (classes & (kernels.GROUND | kernels.COVER | kernels.BARRIER)).tolist()
    assert all(kind.bit_count() <= 1 for kind in set(kinds))
    return classes


CLASSES = _classes()
"""u4 [65536]: the classes of each glyph, as bits, by the glyph as u16."""


@cache
def _union(sets: tuple[Iterable[int], ...]) -> np.ndarray:
    return _table(glyph for glyphs in sets for glyph in glyphs)


def _table_of(sets: tuple[Any, ...]) -> np.ndarray:
    try:
        return _union(sets)
    except TypeError:  # lists and sets cannot be looked up
        return _union(tuple(frozenset(glyphs) if isinstance(glyphs, set) else tuple(glyphs) for glyphs in sets))


def isin(array: np.ndarray, *sets: Iterable[int]) -> np.ndarray:
    """Returns where an i2 array's glyphs are in any of the sets; the array is the caller's."""
    assert array.dtype == np.int16
    return kernels.members(array, _table_of(sets))


def any_in(array: np.ndarray, *sets: Iterable[int]) -> bool:
    """Returns whether any glyph of an i2 array is in any of the sets."""
    assert array.dtype == np.int16
    return bool(kernels.any_member(array, _table_of(sets)))


REPLACEMENTS = (Replacement(utils, "isin", isin), Replacement(utils, "any_in", any_in))
