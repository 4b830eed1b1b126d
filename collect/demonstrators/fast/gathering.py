"""Looking at items and gathering them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from autoascend.item.inventory import Inventory

from strathack.collect.demonstrators.fast import kernels
from strathack.collect.demonstrators.fast.glyphs import CLASSES
from strathack.collect.demonstrators.fast.items import flatten
from strathack.collect.demonstrators.fast.kernels import HEIGHT, WIDTH
from strathack.collect.demonstrators.fast.maps import shared_bfs
from strathack.collect.demonstrators.fast.replacing import Replacement
from strathack.collect.demonstrators.fast.strategies import Run, announced

_TILES = HEIGHT * WIDTH


def _check_items(inventory: Any) -> Run:
    """Goes to the nearest thing that lies where no items are known."""
    agent = inventory.agent
    if not agent.notes.classes & kernels.LITTER:
        yield False
    level, moves = agent.current_level(), shared_bfs(agent)
    found = np.empty(_TILES, np.int32)
    number = kernels.nearest_unknown(agent.glyphs, level.item_count, moves, CLASSES, found)
    yield number > 0
    agent.go_to(*divmod(int(found[agent.rng.randint(number)]), WIDTH))


def _go_to_unchecked_containers(inventory: Any) -> Run:
    """Goes to the nearest tile on which nothing but possible containers lies."""
    agent = inventory.agent
    items, moves, tiles = _tiles_with_items(agent)
    nearest = [tile for tile in tiles if _are_possible_containers(items[tile])]
    yield bool(nearest)
    closest = [tile for tile in nearest if moves[tile] == moves[nearest[0]]]
    agent.go_to(*closest[agent.rng.randint(len(closest))])


def _are_possible_containers(items: Iterable[Any]) -> bool:
    for item in items:  # noqa: SIM110  (a generator takes twice the time)
        if not item.is_possible_container():
            return False
    return True


def _tiles_with_items(agent: Any) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Returns the level's items, the moves to each tile, and the reachable tiles with items, nearest first."""
    level = agent.current_level()
    lying = level.item_count != 0
    if not lying.any():
        return level.items, level.item_count, []
    moves = shared_bfs(agent)
    found = np.empty(_TILES, np.int32)
    number = kernels.nearest_first(lying, moves, found)
    return level.items, moves, [divmod(tile, WIDTH) for tile in found[:number].tolist()]


def _go_to_item_to_pickup(inventory: Any) -> Run:
    """Goes to the nearest item that is worth taking along."""
    agent = inventory.agent
    level, moves = agent.current_level(), shared_bfs(agent)
    found = np.empty(_TILES, np.int32)
    number = kernels.nearest_first(level.item_count.astype(np.bool_) & ~level.shop_interior, moves, found)
    places: dict[Any, tuple[int, int]] = {}
    for tile in found[:number].tolist():
        place = divmod(tile, WIDTH)
        for item in level.items[place]:
            assert item not in places
            places[item] = place
    if not places:
        yield False
    places = {inner: place for item, place in places.items() for inner in flatten([item])}
    mine = flatten(inventory.items)
    free = [item for item in mine if item.can_be_dropped_from_inventory()]
    forced = [item for item in mine if not item.can_be_dropped_from_inventory()]
    split = agent.global_logic.item_priority.split(free + list(places), forced, agent.character.carrying_capacity)
    counts = [sum(numbers) for numbers in zip(*split.values(), strict=True)][len(free) :]
    yield any(counts)
    # The tiles stand nearest first already.
    agent.go_to(*next(place for place, count in zip(places.values(), counts, strict=True) if count))


REPLACEMENTS = (
    Replacement(Inventory, "check_items", announced("inventory.check_items", _check_items), "strategy"),
    Replacement(
        Inventory,
        "go_to_unchecked_containers",
        announced("inventory.go_to_unchecked_containers", _go_to_unchecked_containers),
        "strategy",
    ),
    Replacement(
        Inventory,
        "go_to_item_to_pickup",
        announced("inventory.go_to_item_to_pickup", _go_to_item_to_pickup),
        "strategy",
    ),
)
