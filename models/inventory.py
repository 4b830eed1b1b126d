"""The inventory as a vector: what stands in its lines, under which letters.

From one frame to the next the inventory is mostly the same, and most of its lines are whenever it is not. Both are
therefore encoded once for each distinct one in a batch (:mod:`strathack.models.distinct`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everywhere)

from strathack.dataset.schema import OBSERVATIONS
from strathack.models.distinct import OfDistinct, copied

SLOTS, WIDTH = OBSERVATIONS["inv_strs"].shape
WORD = 8
"""Bytes that are compared at a time."""

LETTERS = 128
TRIGRAMS = 4096
FEATURES = 32
_FACTOR = 31


def trigrams(lines: Tensor) -> Tensor:
    """Returns the rows of a table that stand for a text's trigrams: three characters each that follow each other.

    Where a trigram stands does not matter, so "a dagger (weapon in hand)" and "3 +1 daggers" share most of theirs.
    There are more trigrams than rows, so that some share one.

    Args:
        lines: Texts, u8 [U, W], zeros after their ends.

    Returns:
        i32 [U, W − 2]: 1 to 4095; 0 where the text has ended.
    """
    codes = lines.int()
    mixed = (codes[:, :-2] * _FACTOR + codes[:, 1:-1]) * _FACTOR + codes[:, 2:]
    return (mixed % (TRIGRAMS - 1) + 1).masked_fill_(codes[:, 2:] == 0, 0)


class InventoryEncoder(OfDistinct):
    """Encodes the inventory: a sum over its items, each a function of two layers of its text and its letter.

    Args:
        units: Units of the last layer.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.names = nn.EmbeddingBag(TRIGRAMS, FEATURES, mode="sum", padding_idx=0)
        # A text has some 25 trigrams.
        nn.init.normal_(self.names.weight, std=0.2)
        self.letters = nn.Embedding(LETTERS, FEATURES)
        self.item = nn.Sequential(nn.ELU(), nn.Linear(FEATURES, 2 * FEATURES), nn.ELU())
        self.out = nn.Linear(2 * FEATURES, units)

    def forward(self, inv_strs: Tensor, inv_letters: Tensor, lanes: int | None = None) -> Tensor:
        """From u8 [N, 55, 80] and u8 [N, 55] to [N, units].

        See :func:`strathack.models.distinct.distinct` for ``lanes``.
        """
        whole = F.pad(torch.cat([inv_strs.flatten(1), inv_letters], 1), (0, -SLOTS % WORD)).view(torch.int64)
        carried, places = self.computed("inventories", self._of_inventories, whole[:, None, None, None], lanes)
        return copied(carried, places.flatten())

    def _of_inventories(self, inventories: Tensor) -> Tensor:
        strings, letters, _ = inventories.view(torch.uint8).split([SLOTS * WIDTH, SLOTS, -SLOTS % WORD], 1)
        lines = strings.unflatten(1, (SLOTS, WIDTH)).view(torch.int64)[:, :, None, None]
        names, which = self.computed("lines", self._of_lines, lines)
        named = copied(names, which.flatten()).view(*letters.shape, -1)
        items = self.item(named + self.letters(letters.int().clamp(max=LETTERS - 1)))
        carried = (items * (letters > 0)[..., None]).sum(1)
        return F.elu(self.out(carried))

    def _of_lines(self, lines: Tensor) -> Tensor:
        return self.names(trigrams(lines.view(torch.uint8)))
