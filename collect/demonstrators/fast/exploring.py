"""Exploring: what to visit, where to search, which doors to open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import nle.nethack as nh
import numpy as np
from autoascend.character import Character
from autoascend.exploration_logic import ExplorationLogic
from autoascend.glyph import G

from strathack.collect.demonstrators.fast import kernels
from strathack.collect.demonstrators.fast.glyphs import CLASSES
from strathack.collect.demonstrators.fast.kernels import HEIGHT, WIDTH
from strathack.collect.demonstrators.fast.maps import neighbors, shared_bfs
from strathack.collect.demonstrators.fast.replacing import Replacement
from strathack.collect.demonstrators.fast.strategies import Run, announced, make, preempted

_UNEVEN_SEARCHES = 400
"""Where one tile has been searched so many times more than others, the bot is stuck, and dares to walk on traps …"""

_VERY_UNEVEN_SEARCHES = 500
"""… and, beyond this, to attack whom it would spare."""

_SEARCHES_AT_ONCE = 5
_ATTEMPTS_AT_A_DOOR = 6


@dataclass(frozen=True)
class Exploration:
    """How to explore; the arguments of the bot's ``explore1``.

    Attributes:
        search_prio_limit: The least promise of a place to search; None to search anywhere in the end.
        door_open_count: How often a door is tried.
        kick_doors: Whether doors may be kicked in.
        trap_search_offset: How often to search for traps before going on.
        check_altar_alignment: Whether to look at altars.
        fast_go_to: Whether to travel.
    """

    search_prio_limit: int | None = 0
    door_open_count: int = 4
    kick_doors: bool = True
    trap_search_offset: int = 0
    check_altar_alignment: bool = True
    fast_go_to: bool = False


def _exploring(logic: Any, *args: Any, **kwargs: Any) -> Run:
    """Explores the level; what may preempt it is made when it is entered."""
    how, agent = Exploration(*args, **kwargs), logic.agent
    visiting = make(partial(_open_visit_search, logic, how))
    gathering = preempted(
        visiting, agent, cache(lambda: [agent.inventory.gather_items(), logic.untrap_traps().every(10)])
    )
    searching = preempted(gathering, agent, cache(lambda: [logic.search_neighbors_for_traps(how.trap_search_offset)]))
    return searching.strategy()


def _open_visit_search(logic: Any, how: Exploration) -> Run:
    agent = logic.agent
    entered = False
    targets = np.empty(HEIGHT * WIDTH, np.int32)
    while True:
        if how.check_altar_alignment and _is_on_unknown_altar(agent):
            act: Callable[[], Any] | None = logic.check_altar().run
        elif _closed_door_beside(agent, how) is not None:
            act = partial(_open_door, agent, how)
        else:
            act = _trip(agent, how, targets)
        if act is None:
            if not entered:
                yield False
            return
        if not entered:
            entered = True
            yield True
        act()


def _is_on_unknown_altar(agent: Any) -> bool:
    altars = agent.current_level().altars
    return bool(altars) and altars.get((agent.blstats.y, agent.blstats.x)) == Character.UNKNOWN


def _closed_door_beside(agent: Any, how: Exploration) -> tuple[int, int] | None:
    """Returns a door to open, the first in an order that is drawn even if there is none."""
    tiles = neighbors(agent, agent.blstats.y, agent.blstats.x, diagonal=False)
    if agent.notes.classes & kernels.DOOR_CLOSED:
        opened = agent.current_level().door_open_count
        for tile in tiles:
            if agent.glyphs[tile] in G.DOOR_CLOSED and (how.kick_doors or opened[tile] < how.door_open_count):
                return tile
    return None


def _open_door(agent: Any, how: Exploration) -> None:
    door = _closed_door_beside(agent, how)
    if door is None:
        return
    with agent.panic_if_position_changes():
        if agent.open_door(*door):
            return
        if "locked" not in agent.message and any(agent.open_door(*door) for _ in range(_ATTEMPTS_AT_A_DOOR)):
            return
        while how.kick_doors and agent.glyphs[door] in G.DOOR_CLOSED:
            agent.kick(*door)


def _trip(agent: Any, how: Exploration, targets: np.ndarray) -> Callable[[], None] | None:
    """Chooses among what is worth a visit or a search; returns how to go there, or None if nothing is.

    Where nothing near is worth it and the search may go on anywhere, the most promising place is taken.
    """
    level = agent.current_level()
    to_visit = kernels.tiles_to_visit(agent.glyphs, level.seen, level.door_open_count, CLASSES, how.door_open_count)
    moves = shared_bfs(agent)
    priorities = kernels.search_priorities(level.objects, level.walkable, level.search_count, moves, CLASSES)
    _dare(agent, level)
    if how.check_altar_alignment:
        for altar, alignment in level.altars.items():
            if alignment == Character.UNKNOWN:
                to_visit[altar] = True
    lowest = how.search_prio_limit or 0
    number = kernels.nearest_targets(to_visit, priorities, moves, lowest, targets)
    if number:
        return partial(_take_trip, agent, how, targets[:number], to_visit, priorities >= lowest)
    if how.search_prio_limit is not None and how.search_prio_limit >= 0:
        return None
    _dare(agent, level)
    if how.search_prio_limit is None:
        priorities -= moves * 4
    else:
        priorities[priorities < how.search_prio_limit] = -np.inf
        priorities -= moves * np.isfinite(priorities) * 100
    to_search = np.isfinite(priorities)
    worth = (to_visit | to_search) & (moves != -1)
    if not worth.any():
        return None
    best = ((priorities == priorities[worth].max()) & worth).ravel().nonzero()[0]
    return partial(_take_trip, agent, how, best, to_visit, to_search)


def _take_trip(agent: Any, how: Exploration, targets: np.ndarray, to_visit: np.ndarray, to_search: np.ndarray) -> None:
    # Not Python's integers: the bot subtracts its unsigned place from them.
    target = divmod(np.int64(targets[agent.rng.randint(len(targets))]), WIDTH)
    agent.go_to(*target, fast=how.fast_go_to)
    if to_search[target] and not to_visit[target]:
        agent.search(_SEARCHES_AT_ONCE)


def _dare(agent: Any, level: Any) -> None:
    """Lets the bot walk on traps, and attack all, after it has searched one place far more often than others."""
    of, known_total, uneven = agent.notes.search
    total, most, spread = kernels.search_spread(level.search_count, known_total if of is level else -1)
    if not total:
        return
    if not np.isnan(spread):  # counts only grow, so that the same sum tells that nothing has changed
        uneven = spread
        agent.notes.search = level, total, uneven
    agent.stats_logger.log_max_value("search_diff", uneven)
    stats = agent.blstats
    if (
        uneven > _UNEVEN_SEARCHES
        and stats.hitpoints == stats.max_hitpoints
        and level.search_count[stats.y, stats.x] == most
    ):
        agent.stats_logger.log_event("allow_walk_traps")
        agent._allow_walking_through_traps_turn = agent._last_turn
        if uneven > _VERY_UNEVEN_SEARCHES:
            agent.stats_logger.log_event("allow_attack_all")
            agent._allow_attack_all_turn = agent._last_turn


def search_neighbors_for_traps(logic: Any, offset: int = 0) -> Any:
    """Returns the strategy that searches for traps beside the player."""
    return make(partial(_search_for_traps, logic.agent, offset))


def _search_for_traps(agent: Any, offset: int) -> Run:
    level, stats = agent.current_level(), agent.blstats
    times = kernels.searches_for_traps(
        level.objects,
        agent.last_observation["specials"],
        level.was_on,
        level.search_count,
        CLASSES,
        nh.MG_OBJPILE,
        stats.y,
        stats.x,
        offset,
    )
    yield times > 0
    for _ in range(times):
        agent.search()


REPLACEMENTS = (
    Replacement(ExplorationLogic, "explore1", announced("explore1", _exploring), "strategy"),
    Replacement(ExplorationLogic, "search_neighbors_for_traps", search_neighbors_for_traps, "strategy"),
)
