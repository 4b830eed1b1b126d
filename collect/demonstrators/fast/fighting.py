"""Fights: where it is good to stand."""

from __future__ import annotations

import numpy as np
from autoascend.combat import movement_priority

from strathack.collect.demonstrators.fast import kernels
from strathack.collect.demonstrators.fast.replacing import Replacement


def draw_around(priority: np.ndarray, y: int, x: int, value: float, radius: int = 1, operation: str = "add") -> None:
    """Changes the priority of the tiles at a distance."""
    assert operation in ("add", "max"), operation
    kernels.draw_around(priority, y, x, value, radius, operation == "max")


def draw_ranged(
    priority: np.ndarray,
    y: int,
    x: int,
    value: float,
    walkable: np.ndarray,
    radius: int = 1,
    operation: str = "add",
) -> None:
    """Changes the priority of the tiles from which one could shoot at another."""
    assert operation in ("add", "max"), operation
    kernels.draw_rays(priority, y, x, value, walkable, radius, operation == "max")


REPLACEMENTS = (
    Replacement(movement_priority, "_draw_around", draw_around, "none"),
    Replacement(movement_priority, "_draw_ranged", draw_ranged, "none"),
)
