"""Distances and directions on the map, in words."""

from __future__ import annotations

import numpy as np

ROWS, COLUMNS = 21, 79

DISTANCES = ("very far", "far", "near", "very near", "adjacent")
"""In the order in which they are told."""

DIRECTIONS = (
    "north", "northnortheast", "northeast", "eastnortheast", "east", "eastsoutheast", "southeast", "southsoutheast",
    "south", "southsouthwest", "southwest", "westsouthwest", "west", "westnorthwest", "northwest", "northnorthwest",
)  # fmt: skip


def distance_of(rows: int, columns: int) -> int:
    """Returns the index in ``DISTANCES`` of an offset; the greater of both numbers counts."""
    steps = max(abs(rows), abs(columns))
    return next(index for index, least in enumerate((20, 6, 3, 2, 0)) if steps >= least) if steps else 0


def direction_of(rows: int, columns: int) -> int:
    """Returns the index in ``DIRECTIONS`` of an offset; rows count downwards."""
    diagonal = min(abs(rows), abs(columns))
    vertical = ("", "south", "north")[np.sign(rows)]
    horizontal = ("", "east", "west")[np.sign(columns)]
    further = (vertical if abs(rows) > diagonal else "") + (horizontal if abs(columns) > diagonal else "")
    return DIRECTIONS.index(further + (vertical + horizontal if diagonal else ""))
