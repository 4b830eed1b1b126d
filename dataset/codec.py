"""Converts dataclasses to plain values and back, to write and read options, policies and runs.

Plain values are what JSON and YAML can hold: strings, numbers, booleans, None, lists and dictionaries. A field's type
hint alone decides how the field is written, so each dataclass declares its content only once.
"""

from __future__ import annotations

import math
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from strathack.dataset.errors import InputError, near_match
from strathack.dataset.files import path_text

Made = TypeVar("Made")


class TextValue(ABC):
    """A value that options and files hold as text; ``parse`` reads it once, and ``str`` writes it."""

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Any:
        """Reads a value. The message of an error begins with what is wrong and does not name the option.

        Raises:
            InputError: If the text is not a valid value.
        """


def split_list(text: str) -> list[str]:
    """Splits a text at commas and strips spaces around the parts."""
    return [part.strip() for part in text.split(",")] if text.strip() else []


class Options:
    """The options of a command, or a group of options that several commands inherit. Each class checks its own options.

    Attributes:
        renamed: Old name → new name of the fields renamed since the previous release. Old names can still be read.
    """

    renamed: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        """Checks the options. Overriding methods must call this one, so that all inherited groups are checked."""


def former_names(kind: type) -> Mapping[str, str]:
    """Returns old name → new name of the renamed fields of a dataclass."""
    return kind.renamed if issubclass(kind, Options) else {}


def is_group(hint: Any) -> bool:
    """Returns whether a field of this type holds further fields instead of being written as one text."""
    return is_dataclass(hint) and not issubclass(typing.cast(type, hint), TextValue)


def hints_of(kind: type) -> Mapping[str, Any]:
    """Returns field → type of a dataclass, fields of its bases included."""
    return _hints_of(typing.cast(Any, kind))


@cache
def _hints_of(kind: Any) -> Mapping[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def to_plain(value: Any) -> Any:
    """Converts a value to plain values.

    Args:
        value: A dataclass, a text value, a path, a sequence or mapping of these, or a plain value. A dataclass in a
            field whose type allows several dataclasses is written with its ``kind``.

    Raises:
        TypeError: If the value is anything else.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, TextValue | str):
        return str(value)
    if isinstance(value, Path):
        return path_text(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _written(hint, getattr(value, name)) for name, hint in hints_of(type(value)).items()}
    if isinstance(value, Mapping):
        return {str(name): to_plain(one) for name, one in value.items()}
    if isinstance(value, Sequence):
        return [to_plain(one) for one in value]
    raise TypeError(f"{value!r} has no plain form")


def _written(hint: Any, value: Any) -> Any:
    """Converts a field's value to plain values."""
    kinds = [one for one in get_args(hint) if is_dataclass(one)]
    return {"kind": value.kind, **to_plain(value)} if len(kinds) > 1 else to_plain(value)


def from_plain(kind: type[Made], values: Any, name: str = "") -> Made:
    """The inverse of :func:`to_plain`. Missing fields get their defaults.

    Args:
        kind: The type to make.
        values: The plain values.
        name: The value's name in error messages, dotted like an option's name.

    Raises:
        InputError: If a field is unknown (the message suggests a known one), or a value does not fit its field.
    """
    return typing.cast(Made, _made(kind, values, name))


def _made(hint: Any, value: Any, name: str) -> Any:
    """Makes a value of a type from plain values."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, name)
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"{name}: {value!r} is unknown{near_match(str(value), map(str, arguments))}")
        return value
    if origin in (tuple, list):
        return _several(hint, value, name)
    if isinstance(hint, type) and issubclass(hint, TextValue):
        return _text_value(hint, value, name)
    if is_dataclass(hint):
        return _dataclass(typing.cast(type, hint), value, name)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) is int:
        return float(value)
    if hint is Any or (isinstance(value, hint) and not (hint is int and isinstance(value, bool))):
        return value
    raise InputError(f"{name}: {_shown(value)} is no {hint.__name__}")


def _one_of(hints: Sequence[Any], value: Any, name: str) -> Any:
    """Makes a value of one of several types; ``kind`` decides between dataclasses."""
    if value is None and type(None) in hints:
        return None
    wanted = [hint for hint in hints if hint is not type(None)]
    if len(wanted) == 1:
        return _made(wanted[0], value, name)
    kinds = {typing.cast(Any, hint).kind: hint for hint in wanted if is_dataclass(hint)}
    values = dict(_dictionary(value, name))
    kind = values.pop("kind", None)
    if kind not in kinds:
        raise InputError(f"{name}.kind: {kind!r} is unknown{near_match(str(kind), kinds)}")
    return _made(kinds[kind], values, name)


def _several(hint: Any, value: Any, name: str) -> Any:
    """Makes a list or tuple, each element of its own type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if not isinstance(value, list | tuple):
        raise InputError(f"{name}: {_shown(value)} is no {hint}")
    each = arguments[:1] * len(value) if origin is list or arguments[-1] is Ellipsis else arguments
    try:
        return origin(_made(one, part, name) for one, part in zip(each, value, strict=True))
    except ValueError:  # an element is invalid, or there are too many or too few
        raise InputError(f"{name}: {tuple(value)!r} is no {hint}") from None


def _dataclass(kind: type, value: Any, name: str) -> Any:
    if isinstance(value, kind):
        return value
    values, hints, old = _dictionary(value, name), hints_of(kind), former_names(kind)
    beginning = f"{name}." if name else ""
    arguments: dict[str, Any] = {}
    for given, one in values.items():
        field = old.get(given, given)
        if field not in hints:
            raise InputError(f"{beginning}{given} is unknown{near_match(given, hints)}")
        arguments[field] = _made(hints[field], one, f"{beginning}{field}")
    try:
        return kind(**arguments)
    except TypeError as error:  # a field without a default is missing
        raise InputError(f"{name or kind.__name__}: {error}") from None
    except InputError as error:
        raise InputError(f"{beginning}{error}") from None


def _text_value(kind: type[TextValue], value: Any, name: str) -> Any:
    if isinstance(value, kind):
        return value
    if isinstance(value, tuple) and issubclass(kind, tuple):  # jsonargparse hands tuples on without their class
        value = str(kind(value))
    if not isinstance(value, str):
        raise InputError(f"{name}: {_shown(value)} is no text")
    try:
        return kind.parse(value)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _dictionary(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{name or 'values'}: {_shown(value)} is no dictionary")
    return value


def _shown(value: Any) -> str:
    return repr(tuple(value) if isinstance(value, list) else value)


def finite(value: Any) -> Any:
    """Returns plain values, None for numbers that are not finite, which JSON does not have."""
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
