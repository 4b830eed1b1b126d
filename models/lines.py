"""Lines of characters: those at the top of the screen, and words in them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (as everywhere)

_LETTERS = 8
"""Letters that are compared at once: as many as an integer holds."""


def top_lines(tty_chars: Tensor, lines: int = 1) -> Tensor:
    """Returns the top lines as groups of eight characters each, i64 [N, 1, 1, 1, 10 · lines]."""
    return tty_chars[:, :lines].flatten(1).contiguous().view(torch.int64)[:, None, None, None]


def windows_of(lines: Tensor) -> Tensor:
    """Returns the eight letters from each place of lines on, as one number each; zeros follow the last.

    Args:
        lines: u8 [..., W].

    Returns:
        i64 [..., W].
    """
    letters = F.pad(lines, (0, _LETTERS - 1)).unfold(-1, _LETTERS, 1)
    return letters.contiguous().view(torch.int64)[..., 0]


def places_of(words: bytes, windows: Tensor) -> Tensor:
    """Returns where words begin in lines.

    Args:
        words: ASCII.
        windows: Of the lines, see :func:`windows_of`, i64 [..., W].

    Returns:
        bool [..., W].
    """
    there = torch.ones_like(windows, dtype=torch.bool)
    for start in range(0, len(words), _LETTERS):
        part = words[start : start + _LETTERS]
        letters = F.pad(windows[..., start:], (0, start))
        if len(part) < _LETTERS:
            letters = letters & ((1 << 8 * len(part)) - 1)
        there &= letters == int.from_bytes(part, "little")
    return there


def has_words(words: bytes, windows: Tensor) -> Tensor:
    """Returns which lines have words, by their windows: i64 [..., W] to bool [...]."""
    return places_of(words, windows).any(-1)
