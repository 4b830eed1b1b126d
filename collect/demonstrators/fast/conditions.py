"""Cheap tests of when a strategy's condition surely does not hold."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from autoascend.agent import Agent
from autoascend.global_logic import GlobalLogic
from autoascend.glyph import MON, Hunger

from strathack.collect.demonstrators.fast import kernels
from strathack.collect.demonstrators.fast.replacing import Replacement
from strathack.collect.demonstrators.fast.strategies import announced_anew

_FRESH_TURNS = 50
"""A corpse is eaten within so many turns; some never spoil."""

_NEVER_SPOILING = frozenset(MON.id_from_name(name) for name in ("lizard", "lichen"))


def _not_swallowed(agent: Any) -> bool:
    return not agent.notes.classes & kernels.SWALLOW


def _no_guard(logic: Any) -> bool:
    return not logic.agent.notes.classes & kernels.GUARD


def _in_order(agent: Any) -> bool:
    """Whether hit points and hunger call neither for a potion nor for a prayer."""
    stats = agent.blstats
    return (
        stats.hitpoints >= 8
        and not stats.hitpoints < 1 / 3 * stats.max_hitpoints
        and stats.hunger_state < Hunger.FAINTING
    )


def is_corpse_editable(agent: Any, monster_id: int, age_turn: int) -> bool:
    """Returns whether a corpse may be eaten by this character at its age."""
    character = agent.character
    if agent.blstats.time - age_turn >= _FRESH_TURNS and monster_id not in _NEVER_SPOILING:
        return False
    return _is_edible_fresh(character.race, character.role, int(monster_id))


@lru_cache(maxsize=4096)
def _is_edible_fresh(race: int, role: int, monster_id: int) -> bool:
    eater = SimpleNamespace(character=SimpleNamespace(race=race, role=role), blstats=SimpleNamespace(time=0))
    return bool(_is_corpse_editable(eater, monster_id, 0))


_is_corpse_editable = Agent._is_corpse_editable


REPLACEMENTS = (
    announced_anew(Agent, "engulfed_fight", _not_swallowed),
    announced_anew(Agent, "emergency_strategy", _in_order),
    announced_anew(GlobalLogic, "follow_guard", _no_guard),
    Replacement(Agent, "_is_corpse_editable", is_corpse_editable),
)
