"""Events: what messages told of, how many turns ago, as far as it tells what to do now.

A god saves those who are near death or starving, and is angry at those who ask again too soon; a vault's guard kills
those who take up the gold that they were told to drop; lycanthropy is told of once, and cured by a prayer. No frame
tells how long ago any of this was, and a core forgets it. AutoAscend keeps notes; this is what a policy notes, in its
state, and tells its encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everywhere)

from strathack.dataset.schema import HUNGER_STATES, BLStat
from strathack.models.cores import State
from strathack.models.lines import has_words, windows_of

EVENTS = "events"
"""What the encoder's input is called."""


@dataclass(frozen=True)
class Event:
    """Something that the top line tells of.

    Attributes:
        begins: Words that tell that it happens.
        ends: Words after which it is as if it had not happened, if there are any.
    """

    begins: bytes
    ends: bytes | None = None


PRAYER, GUARD, FEVER = range(3)
NOTED = {
    PRAYER: Event(b"You begin praying"),
    GUARD: Event(b"drop that "),  # gold, money or hidden money, by how often he has said it
    FEVER: Event(b"You feel feverish.", ends=b"You feel purified."),
}
"""Events by their numbers. Being feverish is the beginning of lycanthropy."""

FIRST_TURN = 300
"""The turn after which AutoAscend prays for the first time."""
AGES = (50, 100, 200, 300, 400, 500, 600, 800, 1000)
"""Turns after which an event is of the next class. AutoAscend takes up no gold for 100 turns after it dropped its own
before a guard, and does not pray for 500 turns after a prayer, or 400 where it faints."""
KINDS = 2 + len(AGES) + 1
"""What is told of an event: a class of ages; or that it has not happened, or has ended, until FIRST_TURN or later."""

SHARES = (2, 3, 5, 6, 7)
"""Parts of all hit points below which the hero is in the next class. AutoAscend prays below a fifth, from level 6 below
a sixth; gods help at that much, and from level 14 at a seventh (``critically_low_hp`` of NetHack 3.6's pray.c)."""
FEW = 6
"""Hit points below which AutoAscend prays, and gods help, whatever their part of all."""
HEALTHS = len(SHARES) + 2
NEEDS = HEALTHS + HUNGER_STATES + 2
"""Reasons to pray, or not to: classes of hit points, states of hunger, and whether the hero is feverish."""

NEVER = -1
_TURNS = "events.turns"


class EventMemory(nn.Module):
    """How long ago each event was, as top lines told of it in this game; it has no weights.

    The state: ``events.turns``, the turn in which each was, −1 if it was not, i32 [B, E].
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ages", torch.tensor(AGES, dtype=torch.int32), persistent=False)

    def initial_state(self, lanes: int, device: torch.device | None = None) -> State:
        """Returns the state before a game; for ``device`` see :meth:`strathack.models.policy.Policy.initial_state`."""
        return {_TURNS: torch.full((lanes, len(NOTED)), NEVER, dtype=torch.int32, device=device)}

    @torch.no_grad()
    def forward(self, inputs: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[Tensor, State]:
        """Follows an unroll.

        Args:
            inputs: ``tty_chars``, ``blstats`` and ``first``, [T, B, …].
            state: The state before the first frame; other entries are ignored.

        Returns:
            What is told of each event at each frame, u8 [T, B, E], below ``KINDS``; the state after the last frame.
        """
        turn = inputs["blstats"][..., BLStat.TIME, None].int()
        windows = windows_of(inputs["tty_chars"][:, :, 0])
        begins = torch.stack([has_words(event.begins, windows) for event in NOTED.values()], -1)
        first = inputs["first"].bool()
        ends = [first if event.ends is None else first | has_words(event.ends, windows) for event in NOTED.values()]
        # The last frame that tells of an event, or of its end, says when it was; number 0 is the state before.
        numbers = torch.arange(1, len(turn) + 1, device=turn.device)[:, None, None]
        last = torch.where(begins | torch.stack(ends, -1), numbers, 0).cummax(0).values
        turns = torch.cat([state[_TURNS][None], torch.where(begins, turn, NEVER)]).gather(0, last)
        ages = 2 + torch.bucketize(turn - turns, self.ages)
        return torch.where(turns == NEVER, turn > FIRST_TURN, ages).to(torch.uint8), {_TURNS: turns[-1]}


class EventsEncoder(nn.Module):
    """Encodes how long ago the last prayer was together with each need for one, and how long ago a guard was there.

    Args:
        units: Units of the layer.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.codes = nn.EmbeddingBag(KINDS * (NEEDS + 1), units, mode="sum")
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, told: Tensor, blstats: Tensor) -> Tensor:
        """From what is told of events, u8 [N, E], and i32 [N, 27] to [N, units]."""
        kinds = told.int()
        prayers = kinds[:, PRAYER, None] * NEEDS + needs_of(kinds[:, FEVER], blstats)
        return F.elu(self.codes(torch.cat([prayers, KINDS * NEEDS + kinds[:, GUARD, None]], 1)) + self.bias)


def needs_of(fever: Tensor, blstats: Tensor) -> Tensor:
    """Returns the hero's needs, from what is told of its fever, i32 [N], and i32 [N, 27]: i32 [N, 3]."""
    hunger = blstats[:, BLStat.HUNGER].clamp(0, HUNGER_STATES - 1)
    needs = [health_of(blstats), HEALTHS + hunger, HEALTHS + HUNGER_STATES + (fever >= 2)]
    return torch.stack([need.int() for need in needs], 1)


def health_of(blstats: Tensor) -> Tensor:
    """Returns the class of hit points, the larger the fewer there are: i32 [N, 27] to i64 [N], below ``HEALTHS``."""
    points, most = blstats[:, BLStat.HP], blstats[:, BLStat.HPMAX]
    below = torch.stack([points * share < most for share in SHARES]).sum(0)
    return below.masked_fill(points < FEW, HEALTHS - 1)
