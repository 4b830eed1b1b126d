"""Weights that change during training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from strathack.dataset.codec import TextValue
from strathack.dataset.errors import InputError, near_match

FORMS = {
    "constant": ("weight",),
    "linear": ("weight", "end", "updates"),
    "exponential": ("weight", "decay", "floor"),
}
"""Kind → the names of its numbers, in order; the floor of an exponential may be left out."""


@dataclass(frozen=True)
class Schedule(TextValue):
    """A weight as a function of the number of updates.

    Attributes:
        kind: ``constant``; ``linear``, from ``weight`` to ``end`` over ``updates`` updates; or ``exponential``,
            multiplied by ``decay`` with each update, down to a floor.
        weight: The weight at first.
        end: The last weight of a linear schedule; the floor of an exponential one.
        updates: The number of updates over which a linear schedule changes.
        decay: The factor by which an exponential schedule is multiplied with each update.
    """

    kind: str = "constant"
    weight: float = 0.0
    end: float = 0.0
    updates: float = 1.0
    decay: float = 1.0

    def at(self, update: int) -> float:
        """Returns the weight after ``update`` updates."""
        if self.kind == "linear":
            share = min(update / self.updates, 1.0)
            return self.weight + share * (self.end - self.weight)
        return max(self.weight * self.decay**update, self.end)

    @property
    def is_ever_above_zero(self) -> bool:
        """Whether the weight is above 0 at any time."""
        return self.weight > 0 or self.end > 0

    def __str__(self) -> str:
        """The inverse of :meth:`parse`."""
        if self.kind == "constant":
            return _text(self.weight)
        linear = self.kind == "linear"
        numbers = (self.weight, self.end, self.updates) if linear else (self.weight, self.decay, self.end)
        return ":".join((self.kind, *map(_text, numbers)))

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Reads ``0.5``, ``linear:0.5:0:10000`` or ``exponential:0.5:0.99998`` (``:0.05`` may follow, a floor).

        Raises:
            InputError: If the text has none of these forms, or contradicts itself.
        """
        kind, *parts = text.split(":") if ":" in text else ("constant", text or "0")
        if kind not in FORMS:
            raise InputError(f"{kind!r} in {text!r} is unknown{near_match(kind, FORMS)}")
        least = len(FORMS[kind]) - (kind == "exponential")
        if not least <= len(parts) <= len(FORMS[kind]):
            form = ":".join((kind, *FORMS[kind]))
            raise InputError(f"{text!r} has {len(parts)} numbers; expected {form}")
        numbers = [_number(text, part) for part in parts]
        if kind == "constant":
            return cls(weight=numbers[0])
        return _linear(text, numbers) if kind == "linear" else _exponential(text, numbers)


def _linear(text: str, numbers: Sequence[float]) -> Schedule:
    weight, end, updates = numbers
    if updates < 1:
        raise InputError(f"{text!r} goes over {updates:g} updates; expected at least 1")
    return Schedule("linear", weight, end, updates)


def _exponential(text: str, numbers: Sequence[float]) -> Schedule:
    weight, decay, floor = (*numbers, 0.0)[:3]
    if not 0 < decay <= 1:
        raise InputError(f"{text!r} is multiplied by {decay:g} with each update; expected above 0, at most 1")
    if floor > weight:
        raise InputError(f"{text!r} begins at {weight:g}, below its floor of {floor:g}")
    return Schedule("exponential", weight, floor, decay=decay)


def _text(number: float) -> str:
    """Returns the shortest text that reads back as the same number."""
    return str(int(number)) if number == int(number) else repr(number)


def _number(text: str, part: str) -> float:
    try:
        number = float(part)
    except ValueError:
        raise InputError(f"{part!r} in {text!r} is no number") from None
    if not (math.isfinite(number) and number >= 0):
        raise InputError(f"{part} in {text!r} is below 0 or not finite")
    return number
