"""The bot's maps: what a frame tells about a level, the way there, and the monsters on it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import nle.nethack as nh
import nltk
import numpy as np
from autoascend import utils
from autoascend.agent import Agent
from autoascend.character import Character
from autoascend.global_logic import GlobalLogic
from autoascend.glyph import SHOP, G
from autoascend.level import Level
from autoascend.monster_tracker import MonsterTracker

from strathack.collect.demonstrators.fast import kernels
from strathack.collect.demonstrators.fast.glyphs import CLASSES, isin
from strathack.collect.demonstrators.fast.kernels import HEIGHT, WIDTH
from strathack.collect.demonstrators.fast.notes import HALLUCINATING, Chart
from strathack.collect.demonstrators.fast.replacing import Replacement

_SQUEEZING_WEIGHT = 600
"""The weight that one may carry and squeeze diagonally between two walls."""

_VAULT_ENTRANCE = "ad aerarium"
_LIKE_VAULT_ENTRANCE = 6
"""At so many changed letters or fewer, an engraving is taken for the one before a vault."""

_WELCOME = re.compile(f"Welcome( again)? to [a-zA-Z' ]*({'|'.join(SHOP.name2id)})!")

_FRAMES_OF_DISAGREEMENT = 3
"""After more frames than this in which a tile shows other items, the remembered ones are forgotten."""

_SIDES = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx)


def _neighbors_of(y: int, x: int, *, diagonal: bool) -> tuple[tuple[int, int], ...]:
    return tuple(
        (y + dy, x + dx)
        for dy, dx in _SIDES
        if 0 <= y + dy < HEIGHT and 0 <= x + dx < WIDTH and (diagonal or not dy or not dx)
    )


_NEIGHBORS = {
    diagonal: [[_neighbors_of(y, x, diagonal=diagonal) for x in range(WIDTH)] for y in range(HEIGHT)]
    for diagonal in (True, False)
}


def neighbors(agent: Any, y: int, x: int, shuffle: bool = True, diagonal: bool = True) -> list[tuple[int, int]]:
    """Returns the tiles beside one, in an order drawn from the bot's generator."""
    tiles = list(_NEIGHBORS[diagonal][y][x])
    if shuffle:
        agent.rng.shuffle(tiles)
    return tiles


def shared_bfs(agent: Any) -> np.ndarray:
    """Returns the moves to each tile from where the player stands, i4 [21, 79]; the bot's own memo, not to be changed.

    As in the bot, the memo is good for as long as the number of steps is the same, whatever has changed meanwhile.
    """
    if agent.last_bfs_step != agent.step_count:
        agent.last_bfs_dis = _bfs_from(agent, agent.blstats.y, agent.blstats.x)
        agent.last_bfs_step = agent.step_count
    return agent.last_bfs_dis


def bfs(agent: Any, y: int | None = None, x: int | None = None) -> np.ndarray:
    """Returns the moves to each tile from (y, x) or where the player stands, i4 [21, 79]; the array is the caller's."""
    stats = agent.blstats
    if (y is None or y == stats.y) and (x is None or x == stats.x):
        return shared_bfs(agent).copy()
    return _bfs_from(agent, stats.y if y is None else y, stats.x if x is None else x)


def _bfs_from(agent: Any, y: int, x: int) -> np.ndarray:
    level = agent.current_level()
    return kernels.distances(
        agent.glyphs,
        level.objects,
        level.walkable,
        agent.monster_tracker.peaceful_monster_mask,
        level.forbidden,
        CLASSES,
        y,
        x,
        not agent._last_turn - agent._allow_walking_through_traps_turn > 50,
        agent.inventory.items.total_weight <= _SQUEEZING_WEIGHT and level.dungeon_number != Level.SOKOBAN,
    )


def update_level(agent: Any) -> None:
    """Enters the frame into the map of the level."""
    if agent.inventory.items_below_me is None:  # between a panic and the next look around
        _update_level(agent)
        return
    classes = agent.notes.classes
    if classes & kernels.SWALLOW:
        return
    if classes & kernels.PET:
        agent._last_pet_seen = agent.blstats.time
    level, stats = agent.current_level(), agent.blstats
    here = stats.y, stats.x

    ground = _chart(agent, level, here)
    if classes & kernels.SHOPKEEPER:
        _chart_shops(agent, level)
    message = agent.message
    if "kill" in message or "destroy" in message or any(item.is_corpse() for item in agent.inventory.items_below_me):
        agent._update_level_corpses()
    else:
        level.corpses_to_eat.pop(here, None)

    if ground & kernels.ALTAR:
        for y, x in zip(*isin(level.objects, G.ALTAR).nonzero(), strict=True):
            level.altars.setdefault((y, x), Character.UNKNOWN)
    level.was_on[here] = True
    kernels.chart_stone(agent.glyphs, CLASSES, *here, level.walkable, level.seen, level.objects)

    engraving = agent.inventory.engraving_below_me
    if engraving and _warns_of_vault(engraving):
        agent.stats_logger.log_event("ad_aerarium_below_me")
        for y, x in _NEIGHBORS[False][stats.y][stats.x]:
            if not level.walkable[y, x]:
                level.forbidden[y, x] = True


_update_level = Agent.update_level


@lru_cache(maxsize=1024)
def _warns_of_vault(engraving: str) -> bool:
    return bool(nltk.edit_distance(engraving, _VAULT_ENTRANCE) <= _LIKE_VAULT_ENTRANCE)


def _chart(agent: Any, level: Any, here: tuple[int, int]) -> int:
    """Enters ground and items into the map; returns the classes of all ground."""
    chart, items, observation = agent.notes.chart(level), agent.inventory.items_below_me, agent.last_observation
    if level.items[here] is not items:
        level.items[here] = items
        chart.agreed[here] = -1
    level.item_count[here] = len(items)
    found, ground = kernels.chart(
        agent.glyphs,
        observation["specials"],
        CLASSES,
        level.walkable,
        level.seen,
        level.objects,
        level.item_count,
        level.item_disagreement_counter,
        chart.agreed,
        chart.agreed_pile,
        nh.MG_OBJPILE,
        agent.notes.tiles,
    )
    for tile in agent.notes.tiles[:found].tolist():
        _compare_items(agent, level, chart, divmod(tile, WIDTH))
    return int(ground)


def _compare_items(agent: Any, level: Any, chart: Chart, tile: tuple[int, int]) -> None:
    """Forgets the items remembered at a tile if the tile has shown something else for too long."""
    glyph = agent.glyphs[tile]
    pile = bool(agent.last_observation["specials"][tile] & nh.MG_OBJPILE)
    if (level.item_count[tile] >= 2) == pile and any(glyph in item.display_glyphs() for item in level.items[tile]):
        level.item_disagreement_counter[tile] = 0
        chart.agreed[tile], chart.agreed_pile[tile] = glyph, pile
        return
    level.item_disagreement_counter[tile] += 1
    if level.item_disagreement_counter[tile] > _FRAMES_OF_DISAGREEMENT:
        level.item_disagreement_counter[tile] = 0
        level.items[tile] = ()
        level.item_count[tile] = 0


def _chart_shops(agent: Any, level: Any) -> None:
    """Enters the shops whose keepers are seen into the map."""
    welcome = _WELCOME.search(agent.message) if "Welcome" in agent.message else None
    keepers = isin(agent.glyphs, G.SHOPKEEPER) & agent.monster_tracker.peaceful_monster_mask
    shops = agent.notes.chart(level).shops
    for keeper in zip(*(axis.tolist() for axis in keepers.nonzero()), strict=True):
        drawn_from = level.objects.tobytes() + level.walkable.tobytes()
        if keeper not in shops or shops[keeper][0] != drawn_from:
            shops[keeper] = (drawn_from, *_shop_around(level, keeper))
            _, shop, interior = shops[keeper]
            level.shop[shop] = True
            level.shop_interior[interior] = True
        shop = shops[keeper][1]
        if welcome is not None and shop[agent.blstats.y, agent.blstats.x]:
            level.shop_type[shop] = SHOP.name2id[welcome[2]]


def _shop_around(level: Any, keeper: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tiles of a shop with its walls, and those of its inside but for the entry, b1 [21, 79] each."""
    wall = isin(level.objects, G.WALL)
    between_walls = (utils.translate(wall, 1, 0) & utils.translate(wall, -1, 0)) | (
        utils.translate(wall, 0, 1) & utils.translate(wall, 0, -1)
    )
    entry = between_walls & level.walkable
    floor = level.walkable & ~entry
    reached = utils.bfs(*keeper, walkable=floor, walkable_diagonally=floor, can_squeeze=False) != -1
    shop = utils.dilate(reached, radius=1)
    return shop, shop & ~utils.dilate(entry, radius=1, with_diagonal=False)


def update_monsters(tracker: Any) -> None:
    """Finds the monsters of the frame; where it is unclear which are peaceful, the bot asks the game."""
    agent, before = tracker.agent, tracker._last_glyphs
    if before is not None and not agent.notes.status & HALLUCINATING:
        monsters, peaceful = np.empty((2, HEIGHT, WIDTH), np.bool_)
        clear = kernels.follow_monsters(
            agent.glyphs,
            before,
            tracker.peaceful_monster_mask,
            tracker.monster_mask,
            CLASSES,
            agent.blstats.y,
            agent.blstats.x,
            monsters,
            peaceful,
        )
        if clear:
            tracker.monster_mask, tracker.peaceful_monster_mask = monsters, peaceful
            tracker._last_glyphs = agent.glyphs
            return
    _update_monsters(tracker)


_update_monsters = MonsterTracker.update


def get_visible_monsters(agent: Any) -> list[tuple[Any, ...]]:
    """Returns the monsters to fight that one could get to: moves, row, column, kind and glyph; nearest first."""
    tracker = agent.monster_tracker
    number = kernels.hostile_tiles(tracker.monster_mask, tracker.peaceful_monster_mask, agent.notes.tiles)
    return _get_visible_monsters(agent) if number else []


_get_visible_monsters = Agent.get_visible_monsters


def update_milestones(logic: Any) -> None:
    """Notes the level of the oracle and the mines' town, where the frame shows who lives there."""
    if logic.agent.notes.classes & (kernels.ORACLE | kernels.SHOPKEEPER):
        _update_milestones(logic)


_update_milestones = GlobalLogic.update

REPLACEMENTS = (
    Replacement(Agent, "neighbors", neighbors, "state"),
    Replacement(Agent, "bfs", bfs, "state"),
    Replacement(Agent, "update_level", update_level, "state"),
    Replacement(Agent, "get_visible_monsters", get_visible_monsters, "state"),
    Replacement(MonsterTracker, "update", update_monsters, "state"),
    Replacement(GlobalLogic, "update", update_milestones, "state"),
)
