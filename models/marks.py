"""Marks of the map's cells: what NLE tells of them beside a character and a colour.

A pet looks like a hostile animal of its kind, a pile like the object on its top; a statue or a corpse differs from what
it looks like by its colour at most. The glyphs that AutoAscend plays by tell them apart, and so do the flags that NLE
calls ``specials``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everywhere)

from strathack.dataset.schema import SCREEN_COLUMNS, SCREEN_ROWS

PET, CORPSE, STATUE, PILE = 8, 1, 32, 64
"""Flags of NLE: ``MG_PET``, ``MG_CORPSE``, ``MG_STATUE`` and ``MG_OBJPILE`` of ``nle.nethack``."""

MARKS = (PET, CORPSE, STATUE, PILE, CORPSE | PILE, STATUE | PILE)
"""The flags by which cells are marked, from mark 1 on; 0 is of all others. With them, cells just fit into 15 bits."""


class Marks(nn.Module):
    """Tells cells of the map apart by their marks, which are there below menus, too.

    Args:
        embedding: Elements of a cell's embedding, to which a mark's is added; at first it is zero.
    """

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(len(MARKS), embedding))
        self.register_buffer("mark_of", _mark_of_flags(), persistent=False)

    def marked(self, cells: Tensor, specials: Tensor, kinds: int) -> Tensor:
        """Returns the screen's cells with their marks.

        Args:
            cells: Kinds of cells, i16 [N, 24, 80].
            specials: As NLE has them, u8 [N, 21, 79].
            kinds: How many kinds of cells there are without marks.

        Returns:
            Mark · kinds + kind, i16 [N, 24, 80].
        """
        marks = self.mark_of[specials.int()]
        rows, columns = marks.shape[1:]
        return cells + kinds * F.pad(marks, (0, SCREEN_COLUMNS - columns, 1, SCREEN_ROWS - 1 - rows))

    def embedded(self, table: Tensor) -> Tensor:
        """Returns the embeddings of all kinds of cells with each mark, from those without: [(1 + marks) · kinds, C]."""
        marks = F.pad(self.weight, (0, 0, 1, 0)).to(table.dtype)
        return (marks[:, None] + table).flatten(0, 1)


def _mark_of_flags() -> Tensor:
    """Returns the mark of every combination of flags, i16 [256]; a pet hides what lies below it."""
    told = [flags & PET or flags & (CORPSE | STATUE | PILE) for flags in range(256)]
    return torch.tensor([1 + MARKS.index(flags) if flags in MARKS else 0 for flags in told], dtype=torch.int16)
