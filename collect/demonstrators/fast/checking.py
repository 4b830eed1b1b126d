"""Runs what was replaced beside what replaces it, on the same state, and compares results and side effects.

A check captures the bot's state, runs the new function, captures what it made of the state, puts the state back, runs
the original, and compares. Within an original all functions are the originals. What the bot does between checks is the
fast bot's; functions that step the game cannot run twice, they show in the keys that are pressed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from operator import eq, is_
from typing import Any, NoReturn

import numpy as np
from autoascend.item import Item

from strathack.collect.demonstrators.base import DifferenceError
from strathack.collect.demonstrators.fast.replacing import Replacement
from strathack.collect.demonstrators.fast.strategies import Run, finish, make


class _SteppedError(BaseException):
    """A function that is being compared would step the game."""


class Checker:
    """Compares replaced functions with the originals while a game is played.

    Args:
        seed: The game's seed, for the message about a difference.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._agent: Any = None
        self._mode = "play"
        """``play``: calls are compared; ``new`` and ``original``: within one that is being compared."""
        self.compared: dict[str, int] = {}
        """How often each function was compared."""

    def watch(self, agent: Any) -> None:
        """Compares for this agent from now on."""
        self._agent = agent
        step = agent.env.step

        def guarded(action: Any) -> Any:
            if self._mode != "play":
                raise _SteppedError
            return step(action)

        agent.env.step = guarded

    def checked(self, replacement: Replacement) -> Replacement:
        """Returns a replacement that compares; it is to be made before anything is replaced."""
        original = vars(replacement.owner)[replacement.name]
        if replacement.check == "none":
            return replacement
        if replacement.check == "strategy":
            new: Any = partial(self._make_strategy, str(replacement), original, replacement.new)
            return Replacement(replacement.owner, replacement.name, _method(new), replacement.check)
        unwrapped_new, unwrapped, wrap = _unwrapped(replacement.new, original)
        compare = partial(self._call, str(replacement), replacement.check == "state", unwrapped, unwrapped_new)
        return Replacement(replacement.owner, replacement.name, wrap(_method(compare)), replacement.check)

    @contextmanager
    def _within(self, mode: str) -> Iterator[None]:
        before, self._mode = self._mode, mode
        try:
            yield
        finally:
            self._mode = before

    def _call(self, name: str, has_effects: bool, original: Any, new: Any, *args: Any, **kwargs: Any) -> Any:
        if self._mode != "play" or self._agent is None:
            return (original if self._mode == "original" else new)(*args, **kwargs)
        before = State(self._agent) if has_effects else None
        try:
            with self._within("new"):
                found = _outcome(new, args, kwargs)
        except _SteppedError:
            if before is None:
                self._differ(name, "steps the game", "is declared not to change anything")
            before.restore()
            return new(*args, **kwargs)
        after = State(self._agent) if has_effects else None
        if before is not None:
            before.restore()
        try:
            with self._within("original"):
                expected = _outcome(original, args, kwargs)
        except _SteppedError:
            self._differ(name, "steps the game", "does not")
        self._compare(name, found, expected, after)
        return _result(expected)

    def _make_strategy(self, name: str, original: Any, new: Any, *args: Any, **kwargs: Any) -> Any:
        if self._mode != "play" or self._agent is None:
            return (original if self._mode == "original" else new)(*args, **kwargs)
        return make(partial(self._run_strategy, name, original, new, args, kwargs))

    def _run_strategy(self, name: str, original: Any, new: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
        run = new(*args, **kwargs).strategy()
        if self._mode != "play":
            yield next(run)
            return finish(run)
        before = State(self._agent)
        with self._within("new"):
            found = _outcome(next, (run,), {})
        after = State(self._agent)
        before.restore()
        with self._within("original"):
            expected = _outcome(next, (original(*args, **kwargs).strategy(),), {})
        self._compare(name, found, expected, after)
        yield _result(found)
        return finish(run)

    def _compare(self, name: str, found: Any, expected: Any, after: State | None) -> None:
        self.compared[name] = self.compared.get(name, 0) + 1
        if not _equal(_described(found), _described(expected)):
            self._differ(f"{name} gives", _shown(found), _shown(expected))
        if after is not None:
            difference = after.difference(State(self._agent))
            if difference is not None:
                self._differ(f"{name} leaves {difference[0]}", *map(_shown, difference[1:]))

    def _differ(self, what: str, found: str, expected: str) -> NoReturn:
        raise DifferenceError(
            f"seed {self._seed}, step {self._agent.step_count}: {what} {found}; the bot's own: {expected}"
        )


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that becomes a method where it is an attribute of a class."""
    return lambda *args, **kwargs: function(*args, **kwargs)


def _unwrapped(new: Any, original: Any) -> tuple[Any, Any, Callable[[Any], Any]]:
    """Returns the functions below properties and static methods, and what makes such a thing of a function."""
    if isinstance(original, property):
        return new.fget, original.fget, property
    if isinstance(original, staticmethod):
        return new.__func__, original.__func__, staticmethod
    return new, original, lambda function: function


def _outcome(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Any]:
    try:
        return "result", function(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  (the bot takes any error for a panic)
        return "error", error


def _result(outcome: tuple[str, Any]) -> Any:
    kind, value = outcome
    if kind == "error":
        raise value
    return value


class State:
    """A copy of all of the bot's state that may change between two steps.

    Levels other than the current one, and the bot's statistics about itself, are left out but for their counts of
    events.
    """

    def __init__(self, agent: Any) -> None:
        inventory, level = agent.inventory, agent.levels.get(_level_key(agent))
        self._agent = agent
        self._random = agent.rng.get_state(legacy=False)
        self._owners = {
            "agent": agent,
            "level": level,
            "inventory": inventory,
            "items": inventory.items,
            "item_manager": inventory.item_manager,
            "monster_tracker": agent.monster_tracker,
            "global_logic": agent.global_logic,
            "item_priority": agent.global_logic.item_priority,
            "character": agent.character,
            "stats_logger": agent.stats_logger,
        }
        lying = inventory.items_below_me or ()
        self._items = [
            (item, *(getattr(item, name) for name in _OF_ITEMS)) for item in (*inventory.items.all_items, *lying)
        ]
        self._fields = {
            (name, key): (value, _COPIES[type(value)](value) if type(value) in _COPIES else value)
            for name, owner in self._owners.items()
            if owner is not None
            for key, value in vars(owner).items()
            if key not in _LEFT_OUT
        }

    def restore(self) -> None:
        """Puts the state back as it was."""
        self._agent.rng.set_state(self._random)
        for item, *fields in self._items:
            for field, value in zip(_OF_ITEMS, fields, strict=True):
                setattr(item, field, value)
        for name, owner in self._owners.items():
            if owner is not None:
                for key in [key for key in vars(owner) if key not in _LEFT_OUT and (name, key) not in self._fields]:
                    delattr(owner, key)
        for (name, key), (value, copy) in self._fields.items():
            if value is not copy and not _unchanged(value, copy):
                _put_back(value, copy)
            vars(self._owners[name])[key] = value

    def difference(self, other: State) -> tuple[str, Any, Any] | None:
        """Returns a field that differs and its two values, or None."""
        mine, others = self._random["state"], other._random["state"]
        if mine["pos"] != others["pos"] or not np.array_equal(mine["key"], others["key"]):
            return "agent.rng", mine["pos"], others["pos"]
        for (item, *fields), (another_item, *other_fields) in zip(self._items, other._items, strict=False):
            if item is not another_item:
                break  # which the lists of items tell, too
            for name, one, another in zip(_OF_ITEMS, fields, other_fields, strict=True):
                if not _same(one, another):
                    return f"item.{name}", one, another
        for field in self._fields.keys() | other._fields.keys():
            if field not in self._fields or field not in other._fields:
                return ".".join(field), field in self._fields, field in other._fields
            one, another = self._fields[field][1], other._fields[field][1]
            if not _same(one, another):
                return ".".join(field), one, another
        return None


_OF_ITEMS = ("objs", "content", "container_id")
"""What changes of an item as the bot learns about it."""

_LEFT_OUT = frozenset(
    ("agent", "env", "rng", "levels", "notes", "facts", "_cumulative_values", "gold", "_message_history", "all_panics")
)


def _level_key(agent: Any) -> tuple[int, int] | None:
    return (agent.blstats.dungeon_number, agent.blstats.level_number) if hasattr(agent, "blstats") else None


def _copy_of_dict(value: dict[Any, Any]) -> dict[Any, Any]:
    if value and isinstance(next(iter(value.values())), dict):
        return {key: dict(inner) for key, inner in value.items()}
    return dict(value)


_COPIES: Mapping[type, Callable[[Any], Any]] = {
    np.ndarray: np.ndarray.copy,
    list: list,
    set: set,
    dict: _copy_of_dict,
    defaultdict: _copy_of_dict,
}


def _put_back(value: Any, copy: Any) -> None:
    if isinstance(value, np.ndarray):
        if value.flags.writeable:
            value[...] = copy
    elif isinstance(value, list):
        value[:] = copy
    elif isinstance(value, set):
        value.clear()
        value.update(copy)
    elif isinstance(value, dict) and (value or copy):
        inners = dict(value)
        value.clear()
        for key, inner in copy.items():
            was = inners.get(key)
            if isinstance(inner, dict) and isinstance(was, dict):
                was.clear()
                was.update(inner)
                value[key] = was
            else:
                value[key] = inner


def _described(value: Any) -> Any:
    """Returns a value as what can be compared: items by their fields, orders and all."""
    if isinstance(value, Item):
        return {key: _described(field) for key, field in vars(value).items() if key != "facts"}
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return [(place, _described(one)) for place, one in enumerate(value.ravel()) if one is not None and len(one)]
        return value
    if isinstance(value, dict):
        return [(_described(key), _described(one)) for key, one in value.items()]
    if isinstance(value, (list, tuple)):
        return [_described(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Exception):
        return type(value).__name__
    if type(value).__module__.startswith("autoascend."):  # of the bot's other objects, only the kind counts
        return type(value).__qualname__
    return value


def _unchanged(one: Any, other: Any) -> bool:
    """Whether two copies hold the same objects, in the same order; quick, and true only where they are equal."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        # The bytes of an array of objects are the objects' addresses.
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return (
            len(one) == len(other)
            and all(map(is_, one.values(), other.values()))
            and all(map(eq, one.keys(), other.keys()))
        )
    return isinstance(one, (list, tuple)) and len(one) == len(other) and all(map(is_, one, other))


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same to the bot."""
    return _unchanged(one, other) or _equal(_described(one), _described(other))


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    return bool(one == other)


def _shown(value: Any) -> str:
    return " ".join(repr(value).split())[:200]


def checked(checker: Checker, replacements: Iterable[Replacement]) -> list[Replacement]:
    """Returns replacements that compare; what replaces a replacement compares with the bot's own function."""
    latest = {(replacement.owner, replacement.name): replacement for replacement in replacements}
    return [checker.checked(replacement) for replacement in latest.values()]
