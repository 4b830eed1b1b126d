"""Weights that change as training goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from strathack.dataset.errors import InputError, near_match

FORMS = {
    "constant": ("weight",),
    "linear": ("weight", "end", "updates"),
    "exponential": ("weight", "decay", "floor"),
}
"""Kind → its numbers in order; an exponential's floor may be left out."""


@dataclass(frozen=True)
class Schedule:
    """A weight as a function of the number of updates.

    Attributes:
        kind: ``constant``; ``linear``, from ``weight`` to ``end`` over so many updates; or ``exponential``, multiplied
            by ``decay`` with each update, down to a floor.
        weight: At first.
        end: At last; a floor for an exponential.
        updates: Over how many updates a linear one goes.
        decay: Of an exponential one.
    """

    kind: str = "constant"
    weight: float = 0.0
    end: float = 0.0
    updates: float = 1.0
    decay: float = 1.0

    def at(self, update: int) -> float:
        """The weight after so many updates."""
        if self.kind == "linear":
            share = min(update / self.updates, 1.0)
            return self.weight + share * (self.end - self.weight)
        return max(self.weight * self.decay**update, self.end)

    @classmethod
    def parse(cls, name: str, text: str) -> Schedule:
        """Reads ``0.5``, ``linear:0.5:0:10000`` or ``exponential:0.5:0.99998`` (and ``:0.05``, a floor).

        Args:
            name: The option's, for errors.
            text: What is read.

        Raises:
            InputError: If it is none of these, or contradicts itself.
        """
        kind, *parts = text.split(":") if ":" in text else ("constant", text)
        if kind not in FORMS:
            raise InputError(f"{name}: {kind!r} in {text!r} is unknown{near_match(kind, FORMS)}")
        least = len(FORMS[kind]) - (kind == "exponential")
        if not least <= len(parts) <= len(FORMS[kind]):
            form = ":".join((kind, *FORMS[kind]))
            raise InputError(f"{name}: {text!r} has {len(parts)} numbers; expected {form}")
        numbers = [_number(name, text, part) for part in parts]
        if kind == "constant":
            return cls(weight=numbers[0])
        return _linear(name, text, numbers) if kind == "linear" else _exponential(name, text, numbers)


def _linear(name: str, text: str, numbers: Sequence[float]) -> Schedule:
    weight, end, updates = numbers
    if updates < 1:
        raise InputError(f"{name}: {text!r} goes over {updates:g} updates; expected at least 1")
    return Schedule("linear", weight, end, updates)


def _exponential(name: str, text: str, numbers: Sequence[float]) -> Schedule:
    weight, decay, floor = (*numbers, 0.0)[:3]
    if not 0 < decay <= 1:
        raise InputError(f"{name}: {text!r} is multiplied by {decay:g} with each update; expected above 0, at most 1")
    if floor > weight:
        raise InputError(f"{name}: {text!r} begins at {weight:g}, below its floor of {floor:g}")
    return Schedule("exponential", weight, floor, decay=decay)


def _number(name: str, text: str, part: str) -> float:
    try:
        number = float(part)
    except ValueError:
        raise InputError(f"{name}: {part!r} in {text!r} is no number") from None
    if not (math.isfinite(number) and number >= 0):
        raise InputError(f"{name}: {part} in {text!r} is below 0 or not finite")
    return number
