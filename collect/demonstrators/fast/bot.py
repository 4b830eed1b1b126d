"""The fast bot: its parts together."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any

from strathack.collect.demonstrators.fast import (
    choosing,
    conditions,
    exploring,
    fighting,
    gathering,
    glyphs,
    items,
    maps,
    stepping,
    strategies,
)
from strathack.collect.demonstrators.fast.checking import Checker, checked
from strathack.collect.demonstrators.fast.notes import Notes
from strathack.collect.demonstrators.fast.replacing import Replacement, replaced

Prepare = Callable[[Any], None]
"""Prepares an agent, once it is made."""

PARTS: dict[str, tuple[Replacement, ...]] = {
    "glyphs": glyphs.REPLACEMENTS,
    "maps": maps.REPLACEMENTS,
    "stepping": stepping.REPLACEMENTS,
    "strategies": strategies.REPLACEMENTS,
    "conditions": conditions.REPLACEMENTS,
    "exploring": exploring.REPLACEMENTS,
    "items": items.REPLACEMENTS,
    "gathering": gathering.REPLACEMENTS,
    "choosing": choosing.REPLACEMENTS,
    "fighting": fighting.REPLACEMENTS,
}
"""What is replaced, by the part that replaces it; a later part may replace what an earlier one did."""


def replacements(without: Container[str] = ()) -> list[Replacement]:
    """Returns what makes the bot the fast one, but for the parts that are left out."""
    return [one for part, ones in PARTS.items() if part not in without for one in ones]


@contextmanager
def fast_bot(without: Container[str] = ()) -> Iterator[Prepare]:
    """Within the context, the bot of this process is the fast one, but for the parts that are left out."""
    with replaced(replacements(without)):
        yield _take_notes


@contextmanager
def checked_bot(seed: int) -> Iterator[Prepare]:
    """Within the context, the bot of this process is the fast one, and compares itself with the bot as installed.

    Raises:
        DifferenceError: At the first difference, out of the function that differs.
    """
    checker = Checker(seed)

    def prepare(agent: Any) -> None:
        _take_notes(agent)
        checker.watch(agent)

    with replaced(checked(checker, replacements())):
        yield prepare


def _take_notes(agent: Any) -> None:
    agent.notes = Notes(agent)
