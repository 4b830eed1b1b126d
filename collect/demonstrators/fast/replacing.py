"""Puts functions in the place of others for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

Check = Literal["result", "state", "strategy", "none"]


@dataclass(frozen=True)
class Replacement:
    """A function and the one that stands in its place.

    Attributes:
        owner: The module or class that has the function.
        name: Its name there.
        new: What stands in its place: a function, property or static method.
        check: How the two can be compared while a game is played: by their ``result``; by the ``state`` that they
            leave, too; as methods that make a ``strategy``, by its condition; or, since they step the game, only by
            the keys (``none``).
    """

    owner: Any
    name: str
    new: Any
    check: Check = "result"

    def __post_init__(self) -> None:
        """Checks that there is something to replace.

        Raises:
            AttributeError: If the owner itself has no such attribute.
        """
        if self.name not in vars(self.owner):
            raise AttributeError(f"{self.owner.__name__} has no {self.name!r} to replace")

    def __str__(self) -> str:
        """Returns the full name of what is replaced."""
        module = getattr(self.owner, "__module__", None)
        return f"{module}.{self.owner.__qualname__}.{self.name}" if module else f"{self.owner.__name__}.{self.name}"


@contextmanager
def replaced(replacements: Iterable[Replacement]) -> Iterator[None]:
    """Within the context, every replacement stands in its place."""
    originals = []
    try:
        for replacement in replacements:
            originals.append((replacement.owner, replacement.name, vars(replacement.owner)[replacement.name]))
            setattr(replacement.owner, replacement.name, replacement.new)
        yield
    finally:
        for owner, name, original in reversed(originals):
            setattr(owner, name, original)
