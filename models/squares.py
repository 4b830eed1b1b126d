"""Squares of cells around a place."""

from __future__ import annotations

import torch
from torch import Tensor


def square_around(row: Tensor, column: Tensor, side: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Returns a square of cells, whose cell (side // 2, side // 2) is at a place.

    Args:
        row: The place's row, i64 [...].
        column: Its column, i64 [...].
        side: Cells on a side.
        rows: Rows that there are.
        columns: Columns that there are.

    Returns:
        The cells' places, row · columns + column, i64 [..., side, side], the nearest that there is for those outside;
        and which are inside, bool of the same shape.
    """
    offsets = torch.arange(side, device=row.device) - side // 2
    down, across = row[..., None] + offsets, column[..., None] + offsets
    inside = ((down >= 0) & (down < rows))[..., :, None] & ((across >= 0) & (across < columns))[..., None, :]
    return down.clamp(0, rows - 1)[..., :, None] * columns + across.clamp(0, columns - 1)[..., None, :], inside
