"""Colours of strategies, which are the same in every picture, and of the terminal that shows the game."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from strathack.dataset.labels import STRATEGIES

COLOURS: Mapping[str, str] = {
    "explore": "#4e79a7",
    "fight": "#e15759",
    "ground_eat": "#59a14f",
    "wait_out": "#bab0ac",
    "emergency": "#f28e2b",
    "inventory_eat": "#8cd17d",
    "offer_corpses": "#b07aa1",
    "init": "#79706e",
    "solve_sokoban": "#9c755f",
    "engulfed_fight": "#ff9d9a",
    "follow_guard": "#d4a6c8",
    "cure_disease": "#86bcb6",
    "recover": "#edc948",
    "unlabelled": "#dddddd",
}
"""Strategy → its colour."""

OTHER_COLOUR = "#499894"
"""The colour of all strategies that are not in ``COLOURS``."""

TERMINAL: tuple[str, ...] = (
    "#4d5566", "#d05252", "#4fae57", "#b98a34", "#5a82e0", "#b565c4", "#3fb0ae", "#c3c7cf",
    "#7a8394", "#f0884a", "#7fdc7a", "#f2d64b", "#86aefc", "#e79af0", "#79e3e0", "#ffffff",
)  # fmt: skip
"""The sixteen colours of a terminal, on BACKGROUND. Black is a grey, as it is in most terminals' NetHack."""

BACKGROUND = "#10131a"


def colour_of(name: str) -> str:
    """Returns a strategy's colour, ``#rrggbb``."""
    return COLOURS.get(name, OTHER_COLOUR)


def rgb(colour: str) -> tuple[int, int, int]:
    """Returns ``#rrggbb`` as three numbers from 0 to 255."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def in_order(names: Iterable[str]) -> list[str]:
    """Returns strategies in the order of their ordinals, then other names in the order given."""
    given = list(names)
    return [*(name for name in STRATEGIES if name in given), *(name for name in given if name not in STRATEGIES)]
