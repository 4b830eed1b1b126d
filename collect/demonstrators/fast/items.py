"""Items: what their texts mean, and what is asked of them again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib import import_module
from types import FunctionType
from typing import Any

import nle.nethack as nh
import numpy as np
from autoascend import agent, global_logic, objects
from autoascend.item import Item, ItemManager, flatten_items
from autoascend.item import inventory as inventory_module
from autoascend.item.inventory import Inventory
from autoascend.item.inventory_items import InventoryItems

from strathack.collect.demonstrators.fast.replacing import Replacement

# ---- what items are -------------------------------------------------------------------------------------------------


def _facts(item: Any) -> dict[Any, Any]:
    """Returns what is known of an item; empty again when the list of what it can be is another one.

    The bot assigns a new list when it learns more; it never changes one.
    """
    fields = vars(item)
    objs, facts = fields.get("facts", _NO_FACTS)
    if objs is not item.objs:
        facts = {}
        fields["facts"] = item.objs, facts
    return facts


_NO_FACTS: tuple[None, dict[Any, Any]] = (None, {})


def once(method: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a method of items that is computed once for what the item can be.

    Only for methods of what is fixed when an item is made, apart from the list of what it can be.
    """
    name = method.__name__

    def remembered(item: Any, *args: Any) -> Any:
        key = (name, *args) if args else name
        try:
            objs, facts = item.facts
            if objs is item.objs:
                return facts[key]
        except (AttributeError, KeyError):
            pass
        fact = _facts(item)[key] = method(item, *args)
        return fact

    return remembered


def is_possible_container(item: Any) -> bool:
    """Returns whether an item may be a container that was not looked into."""
    return item.content is None and _may_contain(item)


_may_contain = once(Item.is_possible_container)
_light = once(Item.unit_weight)


def unit_weight(item: Any, with_content: bool = True) -> int:
    """Returns the weight of one item; containers weigh what their content weighs."""
    return _unit_weight(item, with_content) if item.content is not None else _light(item)


_unit_weight = Item.unit_weight


def is_fired_projectile(item: Any, launcher: Any = None) -> bool:
    """Returns whether an item is fired, from any launcher or from this one."""
    return _is_fired(item) if launcher is None else _is_fired_projectile(item, launcher)


_is_fired_projectile = Item.is_fired_projectile
_is_fired = once(Item.is_fired_projectile)

# ---- what texts mean ------------------------------------------------------------------------------------------------


object_utils = import_module("autoascend.objects.utils")  # the package's attribute of that name is another module
_possibilities_from_glyph = object_utils.possibilities_from_glyph
_possibilities = cache(_possibilities_from_glyph)


def possibilities_from_glyph(glyph: int) -> list[Any]:
    """Returns what an object with this glyph can be; the list is the caller's."""
    return _possibilities(int(glyph)).copy()


def _words() -> Mapping[str, Sequence[int]]:
    """Returns the objects by the words of their names and descriptions, and by these words' plurals."""
    by_word: dict[str, list[int]] = {}
    for number in range(nh.NUM_OBJECTS):
        description = nh.objdescr.from_idx(number)
        words = f"{description.oc_name or ''} {description.oc_descr or ''}".split()
        for word in {*words, *(word + "s" for word in words)}:
            by_word.setdefault(word, []).append(number)
    return by_word


_WORDS = _words()
_UNKNOWN = [objects.from_name("unknown")]


@lru_cache(maxsize=2**18)
def _parse_name(name: str) -> tuple[list[Any], list[int]]:
    """Returns what a name can be and its glyphs, by the bot's own code over those objects that share a word with it."""
    numbers = sorted({number for word in name.split() for number in _WORDS.get(word, ())})

    def some_of(*bounds: int) -> Sequence[int]:
        return numbers if bounds == (nh.NUM_OBJECTS,) else range(*bounds)

    parse = FunctionType(_PARSE_NAME.__code__, {**_PARSE_NAME.__globals__, "range": some_of})
    objs, glyphs = parse(name)
    if objs == _UNKNOWN:  # also for the names that the bot translates first
        objs, glyphs = _PARSE_NAME(name)
    return objs, glyphs


_PARSE_NAME: Any = ItemManager.parse_name.__wrapped__.__wrapped__  # below the copies and the memo


def parse_name(name: str) -> tuple[list[Any], list[int]]:
    """Returns what a name can be and its glyphs; the lists are the caller's."""
    objs, glyphs = _parse_name(name)
    return objs.copy(), glyphs.copy()


def get_item_from_text(manager: Any, text: str, category: Any = None, glyph: Any = None, *, position: Any) -> Any:
    """Returns the item that a text describes.

    While nothing more becomes known about objects, the same text means the same; the item is always a new one.
    """
    if manager.agent.character.prop.hallu:
        return _get_item_from_text(manager, text, category, glyph, position=position)
    known = _known(manager)
    key = text, category, glyph
    made = manager.agent.notes.items.get(key)
    if made is not None and made[0] == known:
        return _copy(made[1])
    item = _get_item_from_text(manager, text, category, glyph, position=position)
    if item.content is None and not item.is_possible_container() and item.objs != _UNKNOWN and known == _known(manager):
        _facts(item)
        manager.agent.notes.items[key] = known, _copy(item)
    return item


_get_item_from_text = ItemManager.get_item_from_text


def _known(manager: Any) -> tuple[Any, ...]:
    """Returns a value that changes when something becomes known about objects: all but prices is only added to."""
    return (
        len(manager.object_to_glyph),
        len(manager.glyph_to_object),
        len(manager._glyph_to_possible_wand_types),
        len(manager._is_not_bag_of_tricks),
        tuple(manager._glyph_to_price_range.items()),
        manager.agent.character.role,
    )


def _copy(item: Any) -> Any:
    copied = object.__new__(Item)
    fields = vars(copied)
    fields.update(vars(item))
    fields["objs"], fields["glyphs"] = item.objs.copy(), item.glyphs.copy()
    fields["facts"] = fields["objs"], item.facts[1]
    return copied


# ---- the inventory --------------------------------------------------------------------------------------------------

_SLOTS = (
    ((objects.Weapon, objects.WepTool), None, "main_hand"),
    (objects.Armor, objects.ARM_SHIELD, "off_hand"),
    (objects.Armor, objects.ARM_SUIT, "suit"),
    (objects.Armor, objects.ARM_HELM, "helm"),
    (objects.Armor, objects.ARM_GLOVES, "gloves"),
    (objects.Armor, objects.ARM_BOOTS, "boots"),
    (objects.Armor, objects.ARM_CLOAK, "cloak"),
    (objects.Armor, objects.ARM_SHIRT, "shirt"),
)


def update_items(items: Any, force: bool = False) -> None:
    """Reads the inventory anew if it has changed."""
    observation = items.agent.last_observation
    strings = observation["inv_strs"]
    if force:
        items._recheck_containers = True
    elif items._previous_inv_strs is not None:
        before = items._previous_inv_strs
        if strings is before or strings.tobytes() == before.tobytes():
            return
    items._clear()
    items._previous_inv_strs = strings
    manager = items.agent.inventory.item_manager
    entries = _entries(observation)
    for letter, text, category, glyph in entries:
        item = manager.get_item_from_text(text, category=category, glyph=glyph, position=None)
        items.all_items.append(item)
        items.all_letters.append(letter)
        if item.equipped:
            _equip(items, item, entries)
        if item.is_possible_container() or (item.is_container() and items._recheck_containers):
            items.agent.inventory.check_container_content(item)
            if (items.agent.last_observation["inv_strs"] != strings).any():
                items.update()
                return
        items.total_weight += item.weight()
    items._recheck_containers = False


def _entries(observation: Mapping[str, np.ndarray]) -> list[tuple[str, str, Any, Any]]:
    """Returns letter, text, category and glyph of each item, by letter; an entry may be shown twice."""
    entries = set()
    strings = observation["inv_strs"]
    letters = observation["inv_letters"].tolist()
    for row in strings[:, 0].nonzero()[0].tolist():
        text = strings[row].tobytes().decode().strip("\0")
        glyph = int(observation["inv_glyphs"][row])
        entries.add((chr(letters[row]), text, int(observation["inv_oclasses"][row]), glyph))
    assert len(entries) == len({letter for letter, *_ in entries}), "letters in inventory are not unique"
    return [
        (letter, text, category, None if nh.glyph_is_body(glyph) or nh.glyph_is_statue(glyph) else glyph)
        for letter, text, category, glyph in sorted(entries)
    ]


def _equip(items: Any, item: Any, entries: list[Any]) -> None:
    for types, sub, name in _SLOTS:
        if isinstance(item.objs[0], types) and (sub is None or sub == item.objs[0].sub):
            assert getattr(items, name) is None, ((name, getattr(items, name), item), str(items), entries)
            setattr(items, name, item)
            return


def get_items_below_me(inventory: Any, assume_appropriate_message: bool = False) -> list[Any]:
    """Learns what lies below the player, from the message where that is enough."""
    player = inventory.agent
    message = player.message
    if (
        not assume_appropriate_message
        or not player._is_updating_state
        or player.popup
        or "objects here." in message
        or "Something is " in message
    ):
        return _get_items_below_me(inventory, assume_appropriate_message)
    inventory.engraving_below_me = ""
    items, letters = [], []
    if _SEEN in message:
        text = message[message.index(_SEEN) + len(_SEEN) :]
        place = (*player.current_level().key(), player.blstats.y, player.blstats.x)
        items = [inventory.item_manager.get_item_from_text(text[: text.index(".")], position=place)]
        letters = [None]
    inventory.items_below_me, inventory.letters_below_me = items, letters
    return items


_SEEN = "You see here "
_get_items_below_me = Inventory.get_items_below_me


def flatten(items: Iterable[Any]) -> list[Any]:
    """Returns items, each followed by those in it."""
    listed = list(items)
    if all(item.content is None for item in listed):
        return listed
    return _flatten(listed)


_flatten = flatten_items

REPLACEMENTS = (
    *(
        Replacement(module, "flatten_items", flatten)
        for module in (agent, global_logic, inventory_module, import_module("autoascend.item.utils"))
    ),
    *(
        Replacement(Item, name, once(getattr(Item, name)))
        for name in (
            "is_corpse",
            "is_statue",
            "display_glyphs",
            "can_be_dropped_from_inventory",
            "is_launcher",
            "is_thrown_projectile",
            "is_food",
            "is_offensive_usable_wand",
            "get_weapon_bonus",
        )
    ),
    Replacement(Item, "is_fired_projectile", is_fired_projectile),
    Replacement(Item, "is_possible_container", is_possible_container),
    Replacement(Item, "unit_weight", unit_weight),
    Replacement(object_utils, "possibilities_from_glyph", possibilities_from_glyph),
    Replacement(objects, "possibilities_from_glyph", possibilities_from_glyph),
    Replacement(ItemManager, "parse_name", staticmethod(parse_name)),
    Replacement(ItemManager, "get_item_from_text", get_item_from_text, "state"),
    Replacement(InventoryItems, "update", update_items, "state"),
    Replacement(Inventory, "get_items_below_me", get_items_below_me, "state"),
)
