"""Fights: where it is good to stand."""

from __future__ import annotations

import numba
import numpy as np
from autoascend.combat import movement_priority

from strathack.collect.demonstrators.fast.replacing import Replacement


@numba.njit("void(f8[:,:],i8,i8,f8,i8,b1)", cache=True)
def _around(priority: np.ndarray, y: int, x: int, value: float, radius: int, at_least: bool) -> None:
    """Adds a value to the tiles at a distance, or raises them to at least the value; what is no number stays so."""
    for row in range(max(0, y - radius), min(y + radius + 1, priority.shape[0])):
        for column in range(max(0, x - radius), min(x + radius + 1, priority.shape[1])):
            if max(abs(row - y), abs(column - x)) != radius:
                continue
            if not at_least:
                priority[row, column] += value
            elif value > priority[row, column]:
                priority[row, column] = value


@numba.njit("void(f8[:,:],i8,i8,f8,b1[:,:],i8,b1)", cache=True)
def _along_rays(
    priority: np.ndarray, y: int, x: int, value: float, walkable: np.ndarray, radius: int, at_least: bool
) -> None:
    """Does so along the eight directions, up to what cannot be walked on."""
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy == 0 and dx == 0:
                continue
            for distance in range(1, radius + 1):
                row, column = y + dy * distance, x + dx * distance
                if not (0 <= row < priority.shape[0] and 0 <= column < priority.shape[1]) or not walkable[row, column]:
                    break
                if not at_least:
                    priority[row, column] += value
                elif value > priority[row, column]:
                    priority[row, column] = value


def draw_around(priority: np.ndarray, y: int, x: int, value: float, radius: int = 1, operation: str = "add") -> None:
    """Changes the priority of the tiles at a distance."""
    assert operation in ("add", "max"), operation
    _around(priority, y, x, value, radius, operation == "max")


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
    _along_rays(priority, y, x, value, walkable, radius, operation == "max")


REPLACEMENTS = (
    Replacement(movement_priority, "_draw_around", draw_around, "none"),
    Replacement(movement_priority, "_draw_ranged", draw_ranged, "none"),
)
