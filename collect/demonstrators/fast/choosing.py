"""The best weapons and armour, chosen once for as long as nothing they depend on has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autoascend.item import flatten_items
from autoascend.item.inventory import Inventory
from autoascend.item.item_priority_base import ItemPriorityBase

from strathack.collect.demonstrators.fast.replacing import Replacement


def _remembered(method: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a method of the inventory that chooses among items and remembers its last choice.

    A choice depends on the items and what they can be, on the character's strength, dexterity, level and skills, on
    what is worn, and on the arguments.
    """
    name = method.__name__

    def choose(inventory: Any, items: Any = None, *args: Any, **kwargs: Any) -> Any:
        if args:  # one of these methods calls another: the caller remembers
            return method(inventory, items, *args, **kwargs)
        agent = inventory.agent
        among = flatten_items(inventory.items if items is None else items)
        ammunition = kwargs.get("additional_ammo", ())
        worn, stats, character = inventory.items, agent.blstats, agent.character
        made_of = [*among, *ammunition, worn.main_hand, worn.off_hand, worn.suit]
        depends_on = (
            [None if item is None else item.objs for item in made_of],
            len(among),
            (stats.strength, stats.dexterity, stats.experience_level, character.role),
            character.skill_levels.tobytes(),
        )
        options = name, tuple((key, value) for key, value in kwargs.items() if key != "additional_ammo")
        last = agent.notes.choices.get(options)
        if last is not None and _same(last[0], depends_on):
            return _own(last[1])
        choice = method(inventory, items, **kwargs)
        agent.notes.choices[options] = depends_on, _own(choice)
        return choice

    return choose


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Whether two choices depend on the same; items are the same if their lists of objects are the same lists."""
    return (
        before[1:] == now[1:]
        and len(before[0]) == len(now[0])
        and all(one is other for one, other in zip(before[0], now[0], strict=True))
    )


def _own(choice: Any) -> Any:
    """Returns a choice with lists that its caller may change."""
    if isinstance(choice, list):
        return choice.copy()
    return tuple(_own(part) for part in choice) if isinstance(choice, tuple) else choice


def split(priority: Any, items: list[Any], forced_items: list[Any], weight_capacity: Any) -> dict[Any, list[Any]]:
    """Decides how many of which items to carry, by container; remembers the last decisions."""
    if any(item.content is not None for item in (*items, *forced_items)):
        return _split(priority, items, forced_items, weight_capacity)
    agent = priority.agent
    worn, stats, character = agent.inventory.items, agent.blstats, agent.character
    made_of = [*items, *forced_items, worn.main_hand, worn.off_hand, worn.suit]
    depends_on = (
        [None if item is None else item.objs for item in made_of],
        len(items),
        (stats.strength, stats.dexterity, stats.experience_level, character.role, character.alignment),
        character.skill_levels.tobytes(),
        (weight_capacity, priority._take_sacrificial_corpses, priority._drop_gold_till_turn < stats.time),
    )
    last = agent.notes.choices.get("split")
    if last is not None and _same(last[0], depends_on):
        return {container: counts.copy() for container, counts in last[1].items()}
    decision = _split(priority, items, forced_items, weight_capacity)
    agent.notes.choices["split"] = depends_on, {container: counts.copy() for container, counts in decision.items()}
    return decision


_split = ItemPriorityBase.split

REPLACEMENTS = (
    *(
        Replacement(Inventory, name, _remembered(getattr(Inventory, name)))
        for name in ("get_best_melee_weapon", "get_ranged_combinations", "get_best_ranged_set", "get_best_armorset")
    ),
    Replacement(ItemPriorityBase, "split", split),
)
