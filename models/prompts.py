"""Prompts: which keys they offer, and what actions gain by it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everywhere)

from strathack.models.config import CHARACTERS
from strathack.models.distinct import OfDistinct, copied
from strathack.models.lines import top_lines

OFFERED = 3.0
"""How many nats a key gains at first by being offered."""

EXCLUDED = 20.0
"""How many nats a key loses where a prompt neither offers it nor takes it as escape: enough to outweigh any preference.

It is not learned: in 13,780 prompts of games of AutoAscend, no other key was ever pressed, so that a clone that presses
one by mistake has never seen how to go on, and answers for ever.
"""

_OPEN, _CLOSE, _SPACE, _DASH, _QUESTION, _ESCAPE = map(ord, "[] -?\x1b")
_NO_ITEMS = "$?*"


def offered_keys(lines: Tensor) -> Tensor:
    """Returns which keys a prompt offers in brackets.

    "What do you want to eat? [$a-ch or ?*]" offers $, a, b, c and h; "Really attack? [yn] (n)" offers y and n. "What do
    you want to throw? [$ or ?*]" offers nothing, since gold alone is no item to choose.

    Args:
        lines: Characters, u8 [N, W].

    Returns:
        bool [N, 256], by the keys' bytes.
    """
    chars = lines.long()
    after, second = _later(chars, 1), _later(chars, 2)
    ends = (chars == _CLOSE) | ((chars == _SPACE) & (after == ord("o")) & (second == ord("r")))
    opened = (chars == _OPEN).cumsum(1) > 0
    inside = opened & ((ends & opened).cumsum(1) == 0) & (chars != _OPEN) & (chars != _SPACE)
    low, high = F.pad(chars[:, :-1], (1, 0), value=_OPEN), after
    ranges = inside & (chars == _DASH) & (low != _OPEN) & (low < high) & (high != _CLOSE) & (high != _SPACE)
    counts = torch.zeros(len(chars), CHARACTERS + 1, dtype=torch.int32, device=chars.device)
    single = torch.where(inside & ~ranges, chars, CHARACTERS)
    counts.scatter_add_(1, single, torch.ones_like(single, dtype=torch.int32))
    # The keys between the ends of ranges, as a sum of steps up and down.
    steps = torch.zeros_like(counts)
    up = ranges.int()
    steps.scatter_add_(1, torch.where(ranges, low, CHARACTERS), up).scatter_add_(1, high, -up)
    offered = (counts + steps.cumsum(1))[:, :CHARACTERS] > 0
    items = offered.clone()
    for key in _NO_ITEMS:
        items[:, ord(key)] = False
    return offered & items.any(1, keepdim=True)


def asked(lines: Tensor) -> Tensor:
    """Returns which lines, u8 [N, W], ask a question that is answered by one of the keys in brackets: bool [N, 1]."""
    chars = lines.long()
    questions = (chars == _QUESTION) & (_later(chars, 1) == _SPACE) & (_later(chars, 2) == _OPEN)
    return questions.any(1, keepdim=True)


def _later(chars: Tensor, places: int) -> Tensor:
    """Returns what stands that many places later in the line; blanks follow the last."""
    return F.pad(chars[:, places:], (0, places), value=_SPACE)


class OfferedKeys(OfDistinct):
    """What each action gains, in nats, where its key is among those that a prompt offers, and loses where it is not.

    A prompt offers the letters of the items that go with it, or the answers to a question. Their places in the line
    differ, so that a network that sees the line alone hardly learns to choose one of them. A prompt is in the top line,
    or goes on in the one below.

    Args:
        keys: The byte that each action sends.
    """

    def __init__(self, keys: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((len(keys),), OFFERED))
        self.register_buffer("keys", torch.tensor(keys), persistent=False)

    def forward(self, tty_chars: Tensor, lanes: int | None = None) -> Tensor:
        """From u8 [N, 24, 80] to [N, actions]; see :func:`strathack.models.distinct.distinct` for ``lanes``."""
        gains, which = self.computed("lines", self._of_lines, top_lines(tty_chars, 2), lanes)
        return copied(gains, which.flatten())

    def _of_lines(self, groups: Tensor) -> Tensor:
        lines = groups.view(torch.uint8)
        offered = offered_keys(lines).index_select(1, self.keys)
        excluded = asked(lines) & ~offered & (self.keys != _ESCAPE)
        return offered * self.weight - excluded * EXCLUDED
