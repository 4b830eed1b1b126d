"""Texts as bags of trigrams: what stands in a text, wherever it stands."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everywhere)

from strathack.models.distinct import copied, distinct

TRIGRAMS = 4096
MESSAGE_FEATURES = 64
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


class WordsEncoder(nn.Module):
    """Encodes the words of the message, in the top line or the top two: a sum over their trigrams, then a layer.

    The same word means the same wherever it stands, as "kills" does in "Idefix kills the newt." and after another
    message; a layer over the characters' places has to learn it for every place.

    Args:
        units: Units of the layer.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.trigrams = nn.EmbeddingBag(TRIGRAMS, MESSAGE_FEATURES, mode="sum", padding_idx=0)
        # As in the inventory: a message has some 25 trigrams, too.
        nn.init.normal_(self.trigrams.weight, std=0.2)
        self.out = nn.Linear(MESSAGE_FEATURES, units)

    def forward(self, groups: Tensor, lanes: int | None = None) -> Tensor:
        """From the top lines, groups of eight characters i64 [N, 1, 1, 1, G], to [N, units].

        See :func:`strathack.models.distinct.distinct` for ``lanes``.
        """
        lines, which = distinct(groups, lanes)
        chars = lines.view(torch.uint8)
        blank = chars == ord(" ")
        found = trigrams(chars).masked_fill_(blank[:, :-2] & blank[:, 1:-1] & blank[:, 2:], 0)
        return copied(F.elu(self.out(F.elu(self.trigrams(found)))), which.flatten())
