"""The best weapons and armour, chosen once for as long as nothing they depend on has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import is_
from typing import Any

import nle.nethack as nh
from autoascend import objects
from autoascend.character import Character
from autoascend.global_logic import ItemPriority
from autoascend.item import Item, ItemManager
from autoascend.item.inventory import Inventory
from autoascend.item.item_priority_base import ItemPriorityBase
from autoascend.utils import calc_dps

from strathack.collect.demonstrators.fast.items import flatten, once
from strathack.collect.demonstrators.fast.replacing import Replacement
from strathack.collect.demonstrators.fast.strategies import Run, announced, finish, generator_function


def _remembered(method: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a method of the inventory that chooses among items and remembers its last choice."""
    name = method.__name__

    def choose(inventory: Any, items: Any = None, *args: Any, **kwargs: Any) -> Any:
        if args:  # one of these methods calls another: the caller remembers
            return method(inventory, items, *args, **kwargs)
        ammunition = kwargs.get("additional_ammo", ())
        identities = _owned(inventory) if items is None else _possibilities(flatten(items))
        depends_on = _depends_on(inventory.agent, [*identities, *_possibilities(ammunition)], len(ammunition))
        options = name, items is None, tuple(pair for pair in kwargs.items() if pair[0] != "additional_ammo")
        choices = inventory.agent.notes.choices
        last = choices.get(options)
        if last is None or not _same(last[0], depends_on):
            last = choices[options] = depends_on, method(inventory, items, **kwargs)
        return _own(last[1])

    return choose


def _owned(inventory: Any) -> list[Any]:
    """Returns what identifies all items in the inventory, while nothing more is learned about any item."""
    return [inventory.items.all_items]


def _possibilities(items: Iterable[Any]) -> list[Any]:
    """Returns what identifies items: the lists of what they can be, each item's own."""
    return [item.objs for item in items]


def _depends_on(agent: Any, identities: list[Any], more: Any) -> tuple[Any, ...]:
    """Returns all on which it depends what to do with items; to be compared by :func:`_same`.

    Args:
        agent: The bot's agent.
        identities: Objects that stand for the items, compared by identity.
        more: What else it depends on.
    """
    worn, stats, character = agent.inventory.items, agent.blstats, agent.character
    priority = agent.global_logic.item_priority
    return (
        [*identities, worn.main_hand, worn.off_hand, worn.suit],
        more,
        len(worn.all_items),  # the list grows while the inventory is read
        agent.notes.learned,
        (stats.strength, stats.dexterity, stats.experience_level, character.role, character.alignment),
        character.skill_levels.tobytes(),
        (priority._take_sacrificial_corpses, priority._drop_gold_till_turn < stats.time),
    )


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    return before[1:] == now[1:] and len(before[0]) == len(now[0]) and all(map(is_, before[0], now[0]))


def _own(choice: Any) -> Any:
    """Returns a choice with lists that its caller may change."""
    if isinstance(choice, list):
        return choice.copy()
    return tuple(_own(part) for part in choice) if isinstance(choice, tuple) else choice


def split(priority: Any, items: list[Any], forced_items: list[Any], weight_capacity: Any) -> dict[Any, list[Any]]:
    """Decides how many of which items to carry, by container; remembers the last decisions."""
    identities = _possibilities(flatten([*items, *forced_items]))
    depends_on = _depends_on(priority.agent, identities, (len(items), len(forced_items), weight_capacity))
    choices, key = priority.agent.notes.choices, ("split", len(items))
    last = choices.get(key)
    if last is None or not _same(last[0], depends_on):
        last = choices[key] = depends_on, _decision(priority, items, forced_items, weight_capacity)
    return {container: counts.copy() for container, counts in last[1].items()}


class _Load:
    """What is to be carried: how many of each item, by weight and number of slots."""

    def __init__(self, forced_items: Iterable[Any], capacity: Any) -> None:
        self.counts: dict[Any, int] = {}
        self._left = capacity
        for item in forced_items:
            self._left -= item.weight()
            self.counts[item] = item.count

    def take(self, item: Any) -> None:
        """Takes as many of an item as can be carried."""
        if self._left < 0 or len(self.counts) >= ItemPriority.MAX_NUMBER_OF_ITEMS:
            return
        weight, taken = item.unit_weight(with_content=False), self.counts.get(item, 0)
        self.counts[item] = min(item.count, taken + int(self._left // weight))
        self._left -= weight * (self.counts[item] - taken)


def _decision(priority: Any, items: list[Any], forced_items: list[Any], capacity: Any) -> dict[Any, list[Any]]:
    agent, load = priority.agent, _Load(forced_items, capacity)
    bags = [item for item in items if item.content is not None and _is_sound_bag(item)]
    for item in bags:
        load.take(item)
    if priority._drop_gold_till_turn < agent.blstats.time:
        for item in items:
            if item.category == nh.COIN_CLASS:
                load.take(item)
    _take_best_of(agent, forced_items + items, load)
    for item in _in_order_of_use(priority, items):
        load.take(item)

    counts = [load.counts.get(item, 0) for item in items]
    nothing = [0] * len(items)
    decision = {None: counts}
    if bags:
        decision[bags[-1]] = nothing
    for item, count in zip(items, counts, strict=True):
        if item.content is not None and item not in bags[-1:] and count:
            decision[item] = nothing
    return decision


def _take_best_of(agent: Any, items: list[Any], load: _Load) -> None:
    for allow_unknown_status in (False, True):
        weapon = agent.inventory.get_best_melee_weapon(items=items, allow_unknown_status=allow_unknown_status)
        armor = agent.inventory.get_best_armorset(items=items, allow_unknown_status=allow_unknown_status)
        for item in (weapon, *armor):
            if item is not None:
                load.take(item)


def _in_order_of_use(priority: Any, items: list[Any]) -> Iterator[Any]:
    """Yields the items to carry beside the best weapon and armour, those that matter most first; some twice."""
    agent = priority.agent
    character = agent.character
    shoots = character.role in _SHOOTERS
    for item in items:
        if _is_healing(item):
            yield item
        if shoots and item.is_unambiguous() and (item.is_launcher() or item.is_fired_projectile()):
            yield item
    if character.alignment == Character.LAWFUL:
        swords = [item for item in items if item.objs[0].name == "long sword"]
        yield from sorted(swords, key=lambda item: -calc_dps(*character.get_melee_bonus(item)))[:1]
    thrown = [item for item in items if item.is_thrown_projectile()]
    yield from sorted(thrown, key=lambda item: -calc_dps(*character.get_ranged_bonus(None, item)))
    food = [item for item in items if item.is_food() and not item.is_corpse()]
    yield from sorted(food, key=_food_order)
    if priority._take_sacrificial_corpses:
        yield from filter(agent.global_logic.can_sacrify, items)
    by_weight = sorted(items, key=lambda item: item.unit_weight(with_content=False))
    for item in by_weight:
        if item.category in _SMALL_THINGS and item.content is None and not item.is_possible_container():
            yield item
    for item in by_weight:
        if (
            item.status == Item.UNKNOWN
            and item.content is None
            and item.category in _THINGS
            and not isinstance(item.objs[0], objects.Container)
            and not item.is_corpse()
        ):
            yield item


_SHOOTERS = (Character.RANGER, Character.ROGUE, Character.SAMURAI, Character.TOURIST)
_SMALL_THINGS = (
    nh.POTION_CLASS,
    nh.RING_CLASS,
    nh.AMULET_CLASS,
    nh.WAND_CLASS,
    nh.SCROLL_CLASS,
    nh.TOOL_CLASS,
)
_THINGS = (*_SMALL_THINGS, nh.WEAPON_CLASS, nh.ARMOR_CLASS, nh.FOOD_CLASS, nh.GEM_CLASS, nh.SPBOOK_CLASS)
_HEALING = [objects.from_name(name, nh.POTION_CLASS) for name in ("healing", "extra healing", "full healing")]


@once
def _is_healing(item: Any) -> bool:
    return bool(item.is_unambiguous() and item.object in _HEALING)


@once
def _is_sound_bag(item: Any) -> bool:
    return item.status in (Item.UNCURSED, Item.BLESSED) and item.objs[0].desc == "bag"


@once
def _food_order(item: Any) -> float:
    return float(-item.nutrition_per_weight() - 1000 * (item.objs[0].name == "sprig of wolfsbane"))


def get_melee_bonus(character: Any, item: Any, monster: Any = None, large_monster: bool = False) -> tuple[Any, Any]:
    """Returns what a weapon adds to the roll to hit, and its damage; remembered with the item."""
    if item is None or monster is not None or character.role == Character.MONK:
        return _get_melee_bonus(character, item, monster, large_monster)
    stats = character.agent.blstats
    strength, dexterity, level = stats.strength, stats.dexterity, stats.experience_level
    return _melee_bonus(item, character, large_monster, strength, dexterity, level, character.skill_levels.tobytes())


@once
def _melee_bonus(item: Any, character: Any, large_monster: bool, *_: Any) -> tuple[Any, Any]:
    return _get_melee_bonus(character, item, None, large_monster)


_get_melee_bonus = Character.get_melee_bonus


def _arrange_items(inventory: Any) -> Run:
    """Drops, picks up and stows items until all is as it should be, which is remembered."""
    agent = inventory.agent
    if agent.character.prop.polymorph:
        yield False
    identities = [*_owned(inventory), inventory.items_below_me]
    depends_on = _depends_on(agent, identities, agent.character.carrying_capacity)
    arranged = agent.notes.choices.get("arranged")
    if arranged is not None and _same(arranged, depends_on):
        yield False
    run = _arrange(inventory)
    passed = next(run)
    if not passed:
        agent.notes.choices["arranged"] = depends_on
    yield passed
    finish(run)


_arrange = generator_function(Inventory.arrange_items)


def update_possible_objects(manager: Any, item: Any) -> None:
    """Strikes out what an item cannot be by what has become known."""
    _update_possible_objects(manager, item)
    manager.agent.notes.learned += 1


_update_possible_objects = ItemManager.update_possible_objects


def check_container_content(inventory: Any, item: Any) -> None:
    """Looks into a container."""
    notes = inventory.agent.notes
    notes.learned += 1
    try:
        _check_container_content(inventory, item)
    finally:
        notes.learned += 1


_check_container_content = Inventory.check_container_content

REPLACEMENTS = (
    Replacement(ItemManager, "update_possible_objects", update_possible_objects, "state"),
    Replacement(Inventory, "check_container_content", check_container_content, "none"),
    *(
        Replacement(Inventory, name, _remembered(getattr(Inventory, name)))
        for name in ("get_best_melee_weapon", "get_ranged_combinations", "get_best_ranged_set", "get_best_armorset")
    ),
    Replacement(Character, "get_melee_bonus", get_melee_bonus),
    Replacement(ItemPriorityBase, "split", split),
    Replacement(Inventory, "arrange_items", announced("inventory.arrange_items", _arrange_items), "strategy"),
)
