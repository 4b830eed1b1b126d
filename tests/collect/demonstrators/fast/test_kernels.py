"""The kernels against the bot's own functions, or against the same in plain NumPy."""

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

pytest.importorskip("nethackers")
kernels = importlib.import_module("strathack.collect.demonstrators.fast.kernels")
glyphs = importlib.import_module("strathack.collect.demonstrators.fast.glyphs")
maps = importlib.import_module("strathack.collect.demonstrators.fast.maps")
fighting = importlib.import_module("strathack.collect.demonstrators.fast.fighting")
utils = importlib.import_module("autoascend.utils")
drawing = importlib.import_module("autoascend.combat.movement_priority")
tracking = importlib.import_module("autoascend.monster_tracker")
tracking_kernels = importlib.import_module("autoascend.monster_tracker.kernels")
G = importlib.import_module("autoascend.glyph").G
monsters = importlib.import_module("autoascend.glyph").MON
C = glyphs.CLASSES
SHAPE = (21, 79)
NOTHING = np.zeros(SHAPE, np.bool_)


def sample_of(*sets):
    return np.array(sorted(glyph for kind in sets for glyph in kind), np.int16)


SHUNNED = [monsters.fn(name) for name in glyphs.ONLY_RANGED_SLOW_MONSTERS]
SOME = np.array([-1, *SHUNNED, *(glyph for kind in G.DICT.values() for glyph in sorted(kind)[:4])], np.int16)


@st.composite
def maps_of(draw, values, share=0.5):
    """A map of values that are often the first one."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    chosen = random.choice(np.asarray(values), SHAPE)
    return np.where(random.random(SHAPE) < share, values[0], chosen).astype(np.asarray(values).dtype)


def masks(share=0.5):
    return maps_of(np.array([True, False]), share)


places = st.tuples(st.integers(0, 20), st.integers(0, 78))


@given(arrays(np.int16, (3, 7), elements=st.integers(-1, 5975)), st.lists(st.sampled_from(sorted(G.DICT)), max_size=4))
def test_membership_is_the_bots(array, names):
    sets = [G.DICT[name] for name in names] or [[5, 7]]
    expected = utils.isin(array, *sets)
    found = glyphs.isin(array, *sets)
    assert found.dtype == np.bool_
    assert np.array_equal(found, expected)
    assert found is not glyphs.isin(array, *sets)
    assert glyphs.any_in(array, *sets) == expected.any()
    assert np.array_equal(glyphs.isin(array[:, ::2], *sets), expected[:, ::2])


@given(arrays(np.int16, (2, 5), elements=st.integers(-1, 5975)))
def test_the_classes_of_a_frame(array):
    classes = kernels.classes_in(array, C)
    assert bool(classes & kernels.SWALLOW) == utils.any_in(array, G.SWALLOW)
    assert bool(classes & kernels.UNSEEN) == utils.any_in(array, G.INVISIBLE_MON)


@given(
    maps_of(SOME),
    maps_of(SOME),
    masks(0.7),
    masks(0.1),
    masks(0.1),
    places,
    st.booleans(),
    st.booleans(),
)
def test_distances_are_the_bots(shown, objects, walkable, peaceful, forbidden, start, through_traps, can_squeeze):
    ground = walkable & ~utils.isin(shown, G.BOULDER, SHUNNED) & ~peaceful & ~forbidden
    if not through_traps:
        ground &= ~utils.isin(objects, G.TRAPS)
    expected = utils.bfs(
        *start,
        walkable=ground,
        walkable_diagonally=ground & ~utils.isin(objects, G.DOORS) & (objects != -1),
        can_squeeze=can_squeeze,
    )
    found = kernels.distances(shown, objects, walkable, peaceful, forbidden, C, *start, through_traps, can_squeeze)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


MONSTERS = np.concatenate([[2400], sample_of(G.MONS)[:3], sample_of(G.INVISIBLE_MON)[:2]]).astype(np.int16)


@given(maps_of(MONSTERS, 0.97), maps_of(MONSTERS, 0.97), masks(0.5), places)
def test_monsters_are_followed_as_the_bot_does(shown, before, half, own):
    was_monster = utils.isin(before, G.MONS, G.INVISIBLE_MON)
    peaceful = was_monster & half
    is_monster = utils.isin(shown, G.MONS, G.INVISIBLE_MON)
    is_monster[own] = False
    mons = [
        np.where(mask, frame, -1).astype(np.int16)
        for mask, frame in ((peaceful, before), (was_monster & ~peaceful, before), (is_monster, shown))
    ]
    expected = tracking_kernels.figure_out_monster_movement(*mons, 2)
    monsters, found = np.ones((2, *SHAPE), np.bool_)
    clear = kernels.follow_monsters(shown, before, peaceful, was_monster, C, *own, monsters, found)
    assert clear == (expected is not None)
    assert np.array_equal(monsters, is_monster)
    if clear:
        assert np.array_equal(found, expected)


def shifted(array, dy, dx):
    return utils.translate(array, dy, dx)


AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


@given(maps_of(SOME), masks(), maps_of(np.arange(6, dtype=np.int32)), st.integers(0, 5))
def test_tiles_to_visit(shown, seen, opened, most):
    stone = ~seen & utils.isin(shown, G.STONE)
    doors = utils.isin(shown, G.DOOR_CLOSED) & (opened < most)
    expected = np.zeros(SHAPE, np.bool_)
    for dy, dx in AROUND:
        expected |= shifted(stone, dy, dx)
        if not dy or not dx:
            expected |= shifted(doors, dy, dx)
    assert np.array_equal(kernels.tiles_to_visit(shown, seen, opened, C, most), expected)


@given(
    maps_of(SOME),
    masks(0.7),
    maps_of(np.array([0, 1, 7, 400, 20_000, 40_000, 50_000], np.int32)),
    maps_of(np.array([-1, 0, 3], np.int32)),
)
def test_search_priorities_are_rounded_as_numpy_rounds(objects, walkable, counts, moves):
    priority = np.zeros(SHAPE, np.float32)
    priority[:] = -1
    priority -= counts**2 * 2
    stones = sum(shifted(utils.isin(objects, G.STONE).astype(int), *side) for side in AROUND)
    walls = sum(shifted(utils.isin(objects, G.WALL).astype(int), *side) for side in AROUND)
    exits = sum(shifted(walkable.astype(int), dy, dx) for dy, dx in AROUND if not dy or not dx)
    priority += (utils.isin(objects, G.DOORS) & (stones > 3)) * 250
    priority += (exits <= 1) * 250
    priority[(stones == 0) & (walls == 0)] = -np.inf
    priority[~walkable | (moves == -1)] = -np.inf
    found = kernels.search_priorities(objects, walkable, counts, moves, C)
    assert found.dtype == np.float32
    assert np.array_equal(found, priority)


@given(masks(0.2), maps_of(np.array([-np.inf, -5, 0, 250], np.float32)), maps_of(np.arange(-1, 9, dtype=np.int32)))
def test_nearest_targets(to_visit, priorities, moves):
    worth = (to_visit | (priorities >= 0)) & (moves != -1)
    expected = ((moves == moves[worth].min()) & worth).ravel().nonzero()[0] if worth.any() else []
    found = np.empty(21 * 79, np.int32)
    number = kernels.nearest_targets(to_visit, priorities, moves, 0.0, found)
    assert found[:number].tolist() == list(expected)


@given(masks(0.1), maps_of(np.arange(-1, 9, dtype=np.int32)))
def test_nearest_first(wanted, moves):
    tiles = (wanted & (moves > 0)).ravel().nonzero()[0]
    found = np.empty(21 * 79, np.int32)
    number = kernels.nearest_first(wanted, moves, found)
    assert found[:number].tolist() == sorted(tiles.tolist(), key=lambda tile: moves.ravel()[tile])


@given(maps_of(SOME), maps_of(np.array([0, 1], np.int32), 0.8), maps_of(np.arange(-1, 9, dtype=np.int32)))
def test_nearest_unknown(shown, item_count, moves):
    mask = utils.isin(shown, G.OBJECTS, G.BODIES, G.STATUES) & (item_count == 0) & (moves > 0)
    expected = (mask & (moves == moves[mask].min())).ravel().nonzero()[0] if mask.any() else []
    found = np.empty(21 * 79, np.int32)
    number = kernels.nearest_unknown(shown, item_count, moves, C, found)
    assert found[:number].tolist() == list(expected)


@given(masks(), masks())
def test_hostile_tiles(monsters, peaceful):
    found = np.empty(21 * 79, np.int32)
    number = kernels.hostile_tiles(monsters, peaceful, found)
    assert found[:number].tolist() == (monsters & ~peaceful).ravel().nonzero()[0].tolist()


@given(st.lists(st.integers(1, 3000), max_size=60))
def test_the_spread_of_searches_is_numpys(values):
    counts = np.zeros(SHAPE, np.int32)
    counts.ravel()[: len(values)] = values
    total, most, spread = kernels.search_spread(counts, -1)
    assert (total, most) == (sum(values), max(values, default=0))
    if values:
        assert spread == np.max(values) - np.quantile(np.array(values, np.int32), 0.3)
        assert np.isnan(kernels.search_spread(counts, total)[2])
    else:
        assert np.isnan(spread)


@given(
    maps_of(SOME),
    maps_of(np.array([0, 64], np.uint8)),
    masks(0.2),
    maps_of(np.array([0, 1, 3], np.int32)),
    places,
    st.integers(0, 3),
)
def test_searches_for_traps(objects, specials, was_on, counts, own, offset):
    expected = 0
    for y, x in maps._NEIGHBORS[True][own[0]][own[1]]:
        if not was_on[y, x] and objects[y, x] not in G.TRAPS:
            done = counts[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].sum()
            expected = max(expected, offset + (4 if specials[y, x] & 64 else 0) - done)
    assert kernels.searches_for_traps(objects, specials, was_on, counts, C, 64, *own, offset) == expected


@given(
    maps_of(SOME), maps_of(SOME), maps_of(np.array([0, 64], np.uint8)), maps_of(np.array([0, 1, 2], np.int32)), masks()
)
def test_a_frame_is_charted_as_the_bot_does(shown, objects, specials, item_count, walkable):
    seen, disagreements = NOTHING.copy(), np.ones(SHAPE, np.int32)
    expected_walkable, expected_objects = walkable.copy(), objects.copy()
    on_ground = utils.isin(shown, G.FLOOR, G.STAIR_UP, G.STAIR_DOWN, G.DOOR_OPENED, G.TRAPS, G.ALTAR, G.FOUNTAIN)
    expected_walkable[on_ground] = True
    expected_objects[on_ground] = shown[on_ground]
    covered = utils.isin(shown, G.MONS, G.PETS, G.BODIES, G.OBJECTS, G.STATUES)
    expected_walkable[covered & (expected_objects == -1)] = True
    barred = utils.isin(shown, G.WALL, G.DOOR_CLOSED, G.BARS)
    expected_objects[barred] = shown[barred]
    expected_walkable[barred] = False
    remembered = (item_count != 0) & ~utils.isin(shown, G.MONS, G.PETS)
    agreed, agreed_pile = np.where(walkable, shown, -1).astype(np.int16), seen.copy()

    found = np.empty(21 * 79, np.int32)
    number, ground = kernels.chart(
        shown, specials, C, walkable, seen, objects, item_count, disagreements, agreed, agreed_pile, 64, found
    )
    assert np.array_equal(seen, on_ground | covered | barred)
    assert np.array_equal(walkable, expected_walkable)
    assert np.array_equal(objects, expected_objects)
    assert bool(ground & kernels.ALTAR) == utils.any_in(objects, G.ALTAR)
    to_look_at = remembered & ~((agreed == shown) & (specials == 0))
    assert found[:number].tolist() == to_look_at.ravel().nonzero()[0].tolist()
    assert np.array_equal(disagreements, np.where(to_look_at, 1, 0))


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("place", [(0, 0), (20, 78), (10, 40), (0, 5)])
def test_neighbors_are_the_bots(place, diagonal):
    agents = importlib.import_module("autoascend.agent")
    found = maps._NEIGHBORS[diagonal][place[0]][place[1]]
    assert list(found) == agents.Agent.neighbors(None, *place, shuffle=False, diagonal=diagonal)


@given(
    maps_of(np.array([0.0, np.nan, -3.5, 2.0, 7.25])),
    places,
    st.sampled_from([-10, 2, 3]),
    st.integers(1, 3),
    st.sampled_from(["add", "max"]),
    masks(0.8),
)
def test_priorities_are_drawn_as_the_bot_draws_them(priority, place, value, radius, operation, walkable):
    expected, found = priority.copy(), priority.copy()
    drawing._draw_around(expected, *place, value, radius=radius, operation=operation)
    fighting.draw_around(found, *place, value, radius=radius, operation=operation)
    assert np.array_equal(found, expected, equal_nan=True)
    drawing._draw_ranged(expected, *place, value, walkable, radius=7, operation=operation)
    fighting.draw_ranged(found, *place, value, walkable, radius=7, operation=operation)
    assert np.array_equal(found, expected, equal_nan=True)
