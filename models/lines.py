"""Words in lines of characters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (as everywhere)


def says(lines: Tensor, words: bytes) -> Tensor:
    """Returns which lines, u8 [..., W], have these words: bool [...]."""
    return found(lines, words).any(-1)


def found(lines: Tensor, words: bytes) -> Tensor:
    """Returns where these words begin in lines, u8 [..., W]: bool [..., W]."""
    width = lines.shape[-1] - len(words) + 1
    there = torch.ones_like(lines[..., :width], dtype=torch.bool)
    for place, letter in enumerate(words):
        there &= lines[..., place : place + width] == letter
    return F.pad(there, (0, len(words) - 1))
