"""The map in words: what is where around the hero, from far to near, clockwise from north.

What is seen is gathered into groups of one name at one distance. A group is one number, so that its words are put
together once and looked up afterwards: from step to step, most groups stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import numba
import numpy as np

from strathack.text.geometry import COLUMNS, DIRECTIONS, DISTANCES, ROWS, direction_of, distance_of
from strathack.text.names import UNSEEN, GlyphNames, glyph_names

RAYS = np.array([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)], np.int64)
"""The eight directions of near things, rows and columns a step, in the order in which they are looked in."""

SIGHT = 9
"""Steps that near things are looked for in each of the eight directions."""

PLACES = len(DISTANCES) * len(DIRECTIONS)


@cache
def _places() -> np.ndarray:
    """Returns distance · 16 + direction of every offset, i2 [41, 157]; the offset 0, 0 is in the middle."""
    places = np.zeros((2 * ROWS - 1, 2 * COLUMNS - 1), np.int16)
    for row, column in np.ndindex(places.shape):
        offset = row - ROWS + 1, column - COLUMNS + 1
        if any(offset):
            places[row, column] = distance_of(*offset) * len(DIRECTIONS) + direction_of(*offset)
    return places


@numba.njit(
    "i8[:,::1](i2[:,:],u1[:,:],u1[:,:],i8,i8,i2[:,::1],i2[::1],b1[::1],u1[::1],i2[:,::1],i8[:,::1])",
    cache=True,
    nogil=True,
)
def _seen(
    glyphs: np.ndarray, chars: np.ndarray, colors: np.ndarray, row: int, column: int, afar: np.ndarray,
    near: np.ndarray, stops: np.ndarray, symbols: np.ndarray, places: np.ndarray, rays: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Returns place and name of everything that is seen, i64 [count, 2], in the order in which it is found."""
    rows, columns = glyphs.shape
    seen = np.empty((rows * columns + len(rays) * SIGHT, 2), np.int64)
    count = 0
    for y in range(rows):
        for x in range(columns):
            glyph = glyphs[y, x]
            look = 0
            if symbols[glyph]:
                look = colors[y, x] & (UNSEEN - 1) if chars[y, x] == symbols[glyph] else UNSEEN
            name = afar[glyph, look]
            if name and (y != row or x != column):
                seen[count, 0], seen[count, 1] = places[y - row + rows - 1, x - column + columns - 1], name
                count += 1
    for ray in range(len(rays)):
        for step in range(1, SIGHT + 1):
            y, x = row + step * rays[ray, 0], column + step * rays[ray, 1]
            if not (0 <= y < rows and 0 <= x < columns):
                break
            name = near[glyphs[y, x]]
            if name:
                seen[count, 0], seen[count, 1] = places[y - row + rows - 1, x - column + columns - 1], name
                count += 1
                if stops[name]:
                    break
    return seen[:count]


@numba.njit("i8[::1](i8[:,::1])", cache=True, nogil=True)
def _order(seen: np.ndarray) -> np.ndarray:
    """Returns the order by place, and by what was found first in the same place: a counting sort."""
    begins = np.zeros(PLACES + 1, np.int64)
    for index in range(len(seen)):
        begins[seen[index, 0] + 1] += 1
    begins = begins.cumsum()
    order = np.empty(len(seen), np.int64)
    for index in range(len(seen)):
        place = seen[index, 0]
        order[begins[place]] = index
        begins[place] += 1
    return order


@numba.njit("i8[::1](i8[:,::1])", cache=True, nogil=True)
def _groups(seen: np.ndarray) -> np.ndarray:
    """Gathers what is seen into groups of one name at one distance, in the order in which they are told.

    A group is ((name · 8 + distance) · 2¹⁶ + directions seen once) · 2¹⁶ + directions seen more often.
    """
    heads = np.empty(len(seen), np.int64)
    once, more = np.zeros(len(seen), np.int64), np.zeros(len(seen), np.int64)
    found, begin, distance = 0, 0, -1
    for index in _order(seen):
        place, name = seen[index, 0], seen[index, 1]
        if place // 16 != distance:
            distance, begin = place // 16, found
        head = name * 8 + distance
        group = begin
        while group < found and heads[group] != head:
            group += 1
        if group == found:
            heads[group] = head
            found += 1
        bit = 1 << (place % 16)
        if once[group] & bit:
            once[group] ^= bit
            more[group] |= bit
        elif not more[group] & bit:
            once[group] |= bit
    return (heads[:found] << 32) | (once[:found] << 16) | more[:found]


class Surroundings:
    """Puts the map into words.

    Args:
        dialect: ``wrapper`` or ``fair``.
    """

    def __init__(self, dialect: str) -> None:
        self.names: GlyphNames = glyph_names(dialect)
        self._overwrites = dialect == "wrapper"
        singular, plurals = set(self.names.names[1:]), self.names.plurals[1:]
        again = {plural for plural in plurals if plurals.count(plural) > 1}
        clashes = [self._overwrites and (plural in singular or plural in again) for plural in plurals]
        self._clashing = frozenset(np.flatnonzero([False, *clashes]).tolist())
        self._line = lru_cache(maxsize=1 << 16)(self._told)

    def describe(self, glyphs: np.ndarray, chars: np.ndarray, colors: np.ndarray, row: int, column: int) -> str:
        """Returns a line for each name, distance and number, far things first.

        Args:
            glyphs: i16 [21, 79].
            chars: The characters that are shown in these places, u8 [21, 79].
            colors: Their colours, u8 [21, 79].
            row: The hero's row.
            column: The hero's column.
        """
        names = self.names
        seen = _seen(
            glyphs, chars, colors, row, column, names.afar, names.near, names.stops, names.symbols, _places(), RAYS
        )
        groups = _groups(seen).tolist()
        if self._clashing and not self._clashing.isdisjoint(group >> 35 for group in groups):
            return self._told_with_clashes(groups)
        return "\n".join(map(self._line, groups))

    def name_at(self, glyph: int, char: int, color: int) -> str:
        """Returns the name that a glyph has wherever on the map it is; empty if it has none."""
        look = 0
        if self.names.symbols[glyph]:
            look = color & (UNSEEN - 1) if char == self.names.symbols[glyph] else UNSEEN
        return self.names.names[self.names.afar[glyph, look]]

    def _told(self, group: int) -> str:
        return "\n".join(f"{name} {_joined(directions)}" for name, directions in self._entries(group))

    def _told_with_clashes(self, groups: Sequence[int]) -> str:
        """Returns the lines as the wrapper does: of lines with the same words, all have the last one's directions."""
        entries = [entry for group in groups for entry in self._entries(group)]
        latest = dict(entries)
        return "\n".join(f"{name} {_joined(latest[name])}" for name, _ in entries)

    def _entries(self, group: int) -> list[tuple[str, tuple[str, ...]]]:
        """Returns a name and its plural, each with its distance and the directions in which so many are seen."""
        number, distance = divmod(group >> 32, 8)
        once, more = (_directions(group >> shift & 0xFFFF) for shift in (16, 0))
        words = ((self.names.names[number], once), (self.names.plurals[number], more))
        return [(f"{name} {DISTANCES[distance]}", directions) for name, directions in words if directions]


def _directions(bits: int) -> tuple[str, ...]:
    return tuple(direction for index, direction in enumerate(DIRECTIONS) if bits >> index & 1)


def _joined(words: Sequence[str]) -> str:
    if len(words) < 3:
        return " and ".join(words)
    return f"{', '.join(words[:-1])}, and {words[-1]}"
