"""Kernels over the map, compiled by numba: what the fast bot computes at every step.

Maps are 21 rows by 79 columns. Kernels take a glyph's classes from a table that is indexed by the glyph as u16, so that
every i2 has an entry (see :mod:`strathack.collect.demonstrators.fast.glyphs`). The signatures are explicit and the
compiled code is cached; all that a kernel depends on stands in this file, since that is what numba's cache looks at.
"""

from __future__ import annotations

import numba
import numpy as np

HEIGHT, WIDTH = 21, 79

# Classes of glyphs, as bits.
STONE = 1 << 0
WALL = 1 << 1
DOOR_CLOSED = 1 << 2
DOOR_OPENED = 1 << 3
TRAP = 1 << 4
ALTAR = 1 << 5
MONSTER = 1 << 6
PET = 1 << 7
UNSEEN = 1 << 8
"""A monster that is only sensed: remembered as unseen, or warned of."""
SHOPKEEPER = 1 << 9
ORACLE = 1 << 10
GUARD = 1 << 11
SWALLOW = 1 << 12
BOULDER = 1 << 13
SHUNNED = 1 << 14
"""A monster that the bot attacks from afar only, and never walks through."""
GROUND = 1 << 15
"""What the bot takes for walkable: floor, stairs, open doors, traps, altars, fountains."""
COVER = 1 << 16
"""What lies or stands on the ground and hides it: monsters, pets, objects, corpses, statues."""
BARRIER = 1 << 17
"""Walls, closed doors, bars."""
LITTER = 1 << 18
"""What the bot goes to look at: objects, corpses, statues."""

_compiled = numba.njit
_PADDED = WIDTH + 2
_STRAIGHT, _ANY_WAY = 1, 2
"""Ground that may be walked on straight only, and also diagonally."""


@_compiled("u4(i2[:,:],u4[::1])", cache=True)
def classes_in(glyphs: np.ndarray, classes: np.ndarray) -> int:
    """Returns every class that some glyph of an array has."""
    found = np.uint32(0)
    for y in range(glyphs.shape[0]):
        for x in range(glyphs.shape[1]):
            found |= classes[np.uint16(glyphs[y, x])]
    return found  # type: ignore[return-value]


@_compiled("b1[:,::1](i2[:,:],b1[::1])", cache=True)
def members(glyphs: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Returns where the glyphs of an array are in a set, given as a table by glyph."""
    found = np.empty(glyphs.shape, np.bool_)
    for y in range(glyphs.shape[0]):
        for x in range(glyphs.shape[1]):
            found[y, x] = table[np.uint16(glyphs[y, x])]
    return found


@_compiled("b1(i2[:,:],b1[::1])", cache=True)
def any_member(glyphs: np.ndarray, table: np.ndarray) -> bool:
    """Returns whether any glyph of an array is in a set, given as a table by glyph."""
    for y in range(glyphs.shape[0]):
        for x in range(glyphs.shape[1]):
            if table[np.uint16(glyphs[y, x])]:
                return True
    return False


@_compiled("i4[::1](u1[::1],i8,b1)", cache=True)
def _flooded(ground: np.ndarray, start: int, can_squeeze: bool) -> np.ndarray:
    """Returns the moves from the start to each tile of a framed map, −1 where it cannot be reached."""
    moves = np.full(len(ground), -1, np.int32)
    queue = np.empty(len(ground), np.int32)
    queue[0], moves[start] = start, 0
    first, last = 0, 1
    while first < last:
        here = queue[first]
        first += 1
        for there in (here - _PADDED, here + _PADDED, here - 1, here + 1):
            if ground[there] and moves[there] == -1:
                moves[there] = moves[here] + 1
                queue[last] = there
                last += 1
        if ground[here] != _ANY_WAY:
            continue
        for side in (-_PADDED, _PADDED):
            for turn in (-1, 1):
                corner = here + side + turn
                open_beside = can_squeeze or ground[here + side] or ground[here + turn]
                if ground[corner] == _ANY_WAY and moves[corner] == -1 and open_beside:
                    moves[corner] = moves[here] + 1
                    queue[last] = corner
                    last += 1
    return moves


@_compiled("i4[:,::1](i2[:,:],i2[:,:],b1[:,:],b1[:,:],b1[:,:],u4[::1],i8,i8,b1,b1)", cache=True)
def distances(
    glyphs: np.ndarray,
    objects: np.ndarray,
    walkable: np.ndarray,
    peaceful: np.ndarray,
    forbidden: np.ndarray,
    classes: np.ndarray,
    start_y: int,
    start_x: int,
    through_traps: bool,
    can_squeeze: bool,
) -> np.ndarray:
    """Returns how many moves each tile is away from the start, −1 where it cannot be reached.

    Diagonal moves need ground that is known and no door at both ends, and, where the player cannot squeeze, an open
    tile beside them.
    """
    ground = np.zeros((HEIGHT + 2) * _PADDED, np.uint8)  # the frame of zeros makes the map's edge a wall
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if walkable[y, x] and not peaceful[y, x] and not forbidden[y, x]:
                at_top, below = classes[np.uint16(glyphs[y, x])], classes[np.uint16(objects[y, x])]
                if not at_top & (BOULDER | SHUNNED) and (through_traps or not below & TRAP):
                    diagonal = objects[y, x] != -1 and not below & (DOOR_CLOSED | DOOR_OPENED)
                    ground[(y + 1) * _PADDED + x + 1] = _ANY_WAY if diagonal else _STRAIGHT
    moves = _flooded(ground, (start_y + 1) * _PADDED + start_x + 1, can_squeeze)
    return moves.reshape((HEIGHT + 2, _PADDED))[1:-1, 1:-1].copy()


@_compiled("b1(i2[:,:],i2[:,:],b1[:,:],b1[:,:],u4[::1],i8,i8,b1[:,:],b1[:,:])", cache=True)
def follow_monsters(
    glyphs: np.ndarray,
    before: np.ndarray,
    peaceful: np.ndarray,
    monsters: np.ndarray,
    classes: np.ndarray,
    own_y: int,
    own_x: int,
    monsters_now: np.ndarray,
    peaceful_now: np.ndarray,
) -> bool:
    """Finds the monsters of a frame, and which of them are peaceful by where peaceful ones were in the frame before.

    Args:
        glyphs: The frame.
        before: The frame before.
        peaceful: Where peaceful monsters were.
        monsters: Where monsters were.
        classes: The classes of each glyph.
        own_y: The player's row.
        own_x: The player's column.
        monsters_now: Receives where monsters are.
        peaceful_now: Receives where peaceful monsters are.

    Returns:
        Whether each monster could have come from a peaceful one within two tiles or from another one, not both.
    """
    clear = True
    for y in range(HEIGHT):
        for x in range(WIDTH):
            peaceful_now[y, x] = False
            glyph = glyphs[y, x]
            is_monster = classes[np.uint16(glyph)] & (MONSTER | UNSEEN) != 0 and not (y == own_y and x == own_x)
            monsters_now[y, x] = is_monster
            if not is_monster:
                continue
            was_peaceful = False
            was_hostile = False
            for from_y in range(max(0, y - 2), min(y + 3, HEIGHT)):
                for from_x in range(max(0, x - 2), min(x + 3, WIDTH)):
                    if before[from_y, from_x] == glyph:
                        if peaceful[from_y, from_x]:
                            was_peaceful = True
                        elif monsters[from_y, from_x]:
                            was_hostile = True
            if was_peaceful == was_hostile:
                clear = False
            peaceful_now[y, x] = was_peaceful
    return clear


@_compiled(
    "Tuple((i8,u4))(i2[:,:],u1[:,:],u4[::1],b1[:,:],b1[:,:],i2[:,:],i4[:,:],i4[:,:],i2[:,:],b1[:,:],u1,i4[:])",
    cache=True,
)
def chart(
    glyphs: np.ndarray,
    specials: np.ndarray,
    classes: np.ndarray,
    walkable: np.ndarray,
    seen: np.ndarray,
    objects: np.ndarray,
    item_count: np.ndarray,
    disagreements: np.ndarray,
    agreed: np.ndarray,
    agreed_pile: np.ndarray,
    pile: int,
    open_tiles: np.ndarray,
) -> tuple[int, int]:
    """Enters a frame into the map of a level, and lists the tiles whose remembered items have to be looked at.

    Args:
        glyphs: The frame.
        specials: NLE's flags of each tile.
        classes: The classes of each glyph.
        walkable: Changed in place: where one can walk.
        seen: Changed in place: what has been seen.
        objects: Changed in place: the last glyph of the ground itself.
        item_count: How many items are remembered at each tile.
        disagreements: Changed in place: for how many frames the remembered items did not fit the glyph.
        agreed: The glyph that a tile's remembered items fitted last, −1 for none.
        agreed_pile: Whether that tile showed a pile.
        pile: The flag of a pile.
        open_tiles: Receives the flat indices of the tiles to look at, in order.

    Returns:
        The number of tiles to look at, and the classes of all remembered ground.
    """
    found, ground = 0, np.uint32(0)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            glyph = glyphs[y, x]
            kind = classes[np.uint16(glyph)]
            if kind & GROUND:
                walkable[y, x] = True
                seen[y, x] = True
                objects[y, x] = glyph
            elif kind & BARRIER:
                walkable[y, x] = False
                seen[y, x] = True
                objects[y, x] = glyph
            elif kind & COVER:
                seen[y, x] = True
                if objects[y, x] == -1:
                    walkable[y, x] = True
            ground |= classes[np.uint16(objects[y, x])]
            if (
                item_count[y, x] == 0
                or kind & (MONSTER | PET)
                or (agreed[y, x] == glyph and agreed_pile[y, x] == (specials[y, x] & pile != 0))
            ):
                disagreements[y, x] = 0
            else:
                open_tiles[found] = y * WIDTH + x
                found += 1
    return found, ground  # type: ignore[return-value]


@_compiled("void(i2[:,:],u4[::1],i8,i8,b1[:,:],b1[:,:],i2[:,:])", cache=True)
def chart_stone(
    glyphs: np.ndarray,
    classes: np.ndarray,
    own_y: int,
    own_x: int,
    walkable: np.ndarray,
    seen: np.ndarray,
    objects: np.ndarray,
) -> None:
    """Enters stone beside the player into the map of a level."""
    for y in range(max(0, own_y - 1), min(own_y + 2, HEIGHT)):
        for x in range(max(0, own_x - 1), min(own_x + 2, WIDTH)):
            if (y != own_y or x != own_x) and classes[np.uint16(glyphs[y, x])] & STONE:
                seen[y, x] = True
                objects[y, x] = glyphs[y, x]
                walkable[y, x] = False


@_compiled("b1[:,::1](i2[:,:],b1[:,:],i4[:,:],u4[::1],i8)", cache=True)
def tiles_to_visit(
    glyphs: np.ndarray, seen: np.ndarray, door_open_count: np.ndarray, classes: np.ndarray, most_openings: int
) -> np.ndarray:
    """Returns the tiles beside unseen stone, and orthogonally beside closed doors that were not tried too often."""
    result = np.zeros((HEIGHT, WIDTH), np.bool_)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            kind = classes[np.uint16(glyphs[y, x])]
            stone = kind & STONE and not seen[y, x]
            door = kind & DOOR_CLOSED and door_open_count[y, x] < most_openings
            if not stone and not door:
                continue
            for near_y in range(max(0, y - 1), min(y + 2, HEIGHT)):
                for near_x in range(max(0, x - 1), min(x + 2, WIDTH)):
                    if near_y == y and near_x == x:
                        continue
                    if stone or near_y == y or near_x == x:
                        result[near_y, near_x] = True
    return result


@_compiled("f4[:,::1](i2[:,:],b1[:,:],i4[:,:],i4[:,:],u4[::1])", cache=True)
def search_priorities(
    objects: np.ndarray, walkable: np.ndarray, search_count: np.ndarray, moves: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Returns how promising it is to search at each tile, −∞ where it makes no sense.

    The bot computes with float32 arrays to which integers are added, that is, in float64, rounded after each addition.
    """
    # What lies beside a tile is summed up from a frame of small numbers: walkable 1, stone 16, wall 256, of
    # each at most 8.
    kinds = np.zeros((HEIGHT + 2, _PADDED), np.int16)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            kind = classes[np.uint16(objects[y, x])]
            kinds[y + 1, x + 1] = (walkable[y, x] != 0) + 16 * (kind & STONE != 0) + 256 * (kind & WALL != 0)
    result = np.empty((HEIGHT, WIDTH), np.float32)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            result[y, x] = -np.inf
            if not walkable[y, x] or moves[y, x] == -1:
                continue
            exits = (
                (kinds[y, x + 1] & 1) + (kinds[y + 2, x + 1] & 1) + (kinds[y + 1, x] & 1) + (kinds[y + 1, x + 2] & 1)
            )
            around = np.int16(0)
            for row in range(y, y + 3):
                around += kinds[row, x] + kinds[row, x + 1] + kinds[row, x + 2]
            around -= kinds[y + 1, x + 1]
            stones = (around >> 4) & 15
            if around < 16:
                continue
            count = np.int32(search_count[y, x])
            priority = np.float32(-1.0 - np.float64(np.int32(np.int32(count * count) * np.int32(2))))
            if stones > 3 and classes[np.uint16(objects[y, x])] & (DOOR_CLOSED | DOOR_OPENED):
                priority = np.float32(np.float64(priority) + 250.0)
            if exits <= 1:
                priority = np.float32(np.float64(priority) + 250.0)
            result[y, x] = priority
    return result


@_compiled("i8(b1[:,::1],i4[:,:],i4[:])", cache=True)
def _nearest(wanted: np.ndarray, moves: np.ndarray, found: np.ndarray) -> int:
    """Lists the wanted tiles that are the fewest moves away, as flat indices in order; returns how many there are."""
    number = 0
    least = np.int32(2147483647)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            away = moves[y, x]
            if not wanted[y, x] or away > least:
                continue
            if away < least:
                least, number = away, 0
            found[number] = y * WIDTH + x
            number += 1
    return number


@_compiled("i8(b1[:,:],f4[:,:],i4[:,:],f8,i4[:])", cache=True)
def nearest_targets(
    to_visit: np.ndarray, priorities: np.ndarray, moves: np.ndarray, lowest: float, found: np.ndarray
) -> int:
    """Lists the nearest tiles that can be reached and are to be visited, or promise at least ``lowest``.

    Returns:
        How many there are; ``found`` has their flat indices, in order.
    """
    wanted = np.empty((HEIGHT, WIDTH), np.bool_)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            wanted[y, x] = moves[y, x] != -1 and (to_visit[y, x] or priorities[y, x] >= lowest)
    return _nearest(wanted, moves, found)


@_compiled("i8(i2[:,:],u1[:,:],b1[:,:],i4[:,:],u4[::1],u1,i8,i8,i8)", cache=True)
def searches_for_traps(
    objects: np.ndarray,
    specials: np.ndarray,
    was_on: np.ndarray,
    search_count: np.ndarray,
    classes: np.ndarray,
    pile: int,
    own_y: int,
    own_x: int,
    offset: int,
) -> int:
    """Returns how often to search for traps here: ``offset`` times, more beside a pile, less where it was done."""
    most = 0
    for y in range(max(0, own_y - 1), min(own_y + 2, HEIGHT)):
        for x in range(max(0, own_x - 1), min(own_x + 2, WIDTH)):
            if (y == own_y and x == own_x) or was_on[y, x] or classes[np.uint16(objects[y, x])] & TRAP:
                continue
            done = 0
            for near_y in range(max(0, y - 1), min(y + 2, HEIGHT)):
                for near_x in range(max(0, x - 1), min(x + 2, WIDTH)):
                    done += search_count[near_y, near_x]
            most = max(most, offset + (4 if specials[y, x] & pile else 0) - done)
    return most


@_compiled("i8(b1[:,:],i4[:,:],i4[:])", cache=True)
def nearest_first(wanted: np.ndarray, moves: np.ndarray, found: np.ndarray) -> int:
    """Lists the wanted tiles that lie at least one move away, nearest first, then in the map's order.

    Returns:
        How many there are; ``found`` has their flat indices.
    """
    number = 0
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if wanted[y, x] and moves[y, x] > 0:
                place = number
                while place > 0:
                    before = found[place - 1]
                    if moves[before // WIDTH, before % WIDTH] <= moves[y, x]:
                        break
                    found[place] = before
                    place -= 1
                found[place] = y * WIDTH + x
                number += 1
    return number


@_compiled("i8(i2[:,:],i4[:,:],i4[:,:],u4[::1],i4[:])", cache=True)
def nearest_unknown(
    glyphs: np.ndarray, item_count: np.ndarray, moves: np.ndarray, classes: np.ndarray, found: np.ndarray
) -> int:
    """Lists the nearest tiles, at least one move away, that show an object where no items are known.

    Returns:
        How many there are; ``found`` has their flat indices, in order.
    """
    wanted = np.empty((HEIGHT, WIDTH), np.bool_)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            shown = classes[np.uint16(glyphs[y, x])] & LITTER != 0
            wanted[y, x] = moves[y, x] > 0 and item_count[y, x] == 0 and shown
    return _nearest(wanted, moves, found)


@_compiled("i8(b1[:,:],b1[:,:],i4[:])", cache=True)
def hostile_tiles(monsters: np.ndarray, peaceful: np.ndarray, found: np.ndarray) -> int:
    """Lists the tiles with monsters that are not peaceful, as flat indices in order; returns how many there are."""
    number = 0
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if monsters[y, x] and not peaceful[y, x]:
                found[number] = y * WIDTH + x
                number += 1
    return number


@_compiled("Tuple((i8,i8,f8))(i4[:,:],i8)", cache=True)
def search_spread(search_count: np.ndarray, known_total: int) -> tuple[int, int, float]:
    """Returns the sum of all counts, the maximum, and how far it lies above the non-zero counts' 0.3 quantile.

    The quantile is interpolated as NumPy does it. It is left out, as NaN, where the sum is the known one; a sum of 0
    has none either.
    """
    total, most, number = 0, 0, 0
    for y in range(HEIGHT):
        for x in range(WIDTH):
            count = search_count[y, x]
            total += count
            most = max(most, count)
            number += count > 0
    if number == 0 or total == known_total:
        return total, most, np.nan
    counts = np.empty(number, np.int64)
    place = 0
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if search_count[y, x] > 0:
                counts[place] = search_count[y, x]
                place += 1
    counts.sort()
    virtual = (number - 1) * 0.3
    below = int(np.floor(virtual))
    above = min(below + 1, number - 1)
    share = virtual - below
    step = np.float64(counts[above] - counts[below])
    quantile = counts[above] - step * (1 - share) if share >= 0.5 else counts[below] + step * share
    return total, most, most - quantile
