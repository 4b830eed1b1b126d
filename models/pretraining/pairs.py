"""Pairs of frames of one game, drawn from an unroll and from frames that are kept of the unrolls before.

All draws are PyTorch's, so that a resumed run draws what an uninterrupted one would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from strathack.dataset.schema import OBSERVATIONS
from strathack.models.cores import State, steps_since

NONE = -1
"""In a history: the slot holds no frame of the present game."""


@dataclass(frozen=True)
class Places:
    """Where the steps of an unroll are in their games.

    Attributes:
        age: Steps of its game before each step, i64 [T, B].
        begins: The first step of the same game in the unroll, i64 [T, B].
        ends: The last step of the same game in the unroll, i64 [T, B].
    """

    age: Tensor
    begins: Tensor
    ends: Tensor


def places_of(first: Tensor, mask: Tensor, age: Tensor) -> Places:
    """Finds where steps are in their games.

    Args:
        first: Whether a game starts at a step, bool [T, B].
        mask: Whether a step is no padding, bool [T, B].
        age: Steps before the unroll of the game that each lane is in, i64 [B].
    """
    steps = torch.arange(len(first), device=first.device)[:, None].expand(first.shape)
    begins = torch.where(first, steps, 0).cummax(0).values
    # A game ends where the next one starts, or where padding does.
    stops = torch.cat([first[1:] | ~mask[1:], torch.ones_like(first[:1])])
    ends = torch.where(stops, steps, len(first)).flip(0).cummin(0).values.flip(0)
    return Places(steps_since(first, age), begins, ends)


@dataclass(frozen=True)
class Pairs:
    """Pairs of steps of an unroll.

    Attributes:
        first: The earlier step of each pair, i64 [N].
        second: The later step, i64 [N].
        lane: Its lane, i64 [N].
        known: Whether there is such a pair; a game's last step has no later one, bool [N].
    """

    first: Tensor
    second: Tensor
    lane: Tensor
    known: Tensor


def later_pairs(places: Places, mask: Tensor, pairs: int, continuation: float) -> Pairs:
    """Draws pairs whose distance is geometric: P(Δ) ∝ γ^(Δ − 1), as far as the game or the unroll goes on.

    Args:
        places: Where the steps are in their games.
        mask: Whether a step is no padding, bool [T, B].
        pairs: Pairs in each lane.
        continuation: γ.
    """
    steps, lanes = mask.shape
    device = mask.device
    lane = torch.arange(lanes, device=device).repeat(pairs)
    first = torch.randint(steps, (pairs * lanes,), device=device)
    left = places.ends[first, lane] - first
    # The inverse of the distribution function, 1 − γ^Δ as a share of what it is at the last step.
    drawn = torch.rand(pairs * lanes, device=device, dtype=torch.float64)
    drawn = drawn * (1 - continuation ** left.double())
    distance = 1 + ((1 - drawn).log() / math.log(continuation)).floor().long()
    second = first + torch.minimum(distance, left)
    return Pairs(first, second, lane, (left > 0) & mask[first, lane])


def candidates_of(pairs: Pairs) -> Tensor:
    """Returns among which later frames each pair is to find its own: those of all pairs that there are, each once.

    Args:
        pairs: The pairs.

    Returns:
        For each pair in a row, whether the later frame of the one in the column counts, bool [N, N].
    """
    same = (pairs.lane[:, None] == pairs.lane) & (pairs.second[:, None] == pairs.second)
    itself = torch.eye(len(pairs.lane), dtype=torch.bool, device=pairs.lane.device)
    # Of several pairs with one later frame, the first counts for all others.
    repeated = (same & pairs.known).tril(-1).any(1)
    return itself | (pairs.known & ~repeated & ~same)


@dataclass(frozen=True)
class FarPairs:
    """Pairs of a step of an unroll and an earlier frame of its game, from the unroll or from the history.

    Attributes:
        step: The later frame's step, i64 [N].
        lane: Its lane, i64 [N].
        slot: The slot of the history that holds the earlier frame; ``NONE`` where it is in the unroll, i64 [N].
        before: The earlier frame's step where it is in the unroll, i64 [N].
        distance: Steps between the two, i64 [N].
        known: Whether there is such a pair; a game's first step has no earlier one, bool [N].
    """

    step: Tensor
    lane: Tensor
    slot: Tensor
    before: Tensor
    distance: Tensor
    known: Tensor


def far_pairs(places: Places, mask: Tensor, history_ages: Tensor, pairs: int, longest: int) -> FarPairs:
    """Draws pairs whose distance is log-uniform, from 1 to the age of the later frame or to ``longest``.

    The history holds some earlier frames alone, so that a distance that reaches beyond the unroll becomes that of the
    nearest one it holds.

    Args:
        places: Where the steps are in their games.
        mask: Whether a step is no padding, bool [T, B].
        history_ages: The age of the frame in each slot of the history, ``NONE`` where there is none, i64 [B, slots].
        pairs: Pairs in each lane.
        longest: The most steps between two frames.
    """
    steps, lanes = mask.shape
    device = mask.device
    lane = torch.arange(lanes, device=device).repeat(pairs)
    step = torch.randint(steps, (pairs * lanes,), device=device)
    age = places.age[step, lane]
    most = age.clamp(max=longest)
    wanted = (torch.rand(len(step), device=device) * most.clamp(min=1).double().log()).exp().round().long()
    wanted = torch.minimum(wanted.clamp(min=1), most)
    within = step - places.begins[step, lane]
    # A game that has begun in this unroll has nothing in the history.
    older = age > within
    gaps = (age - wanted)[:, None] - history_ages[lane]
    gaps = torch.where((history_ages[lane] == NONE) | ~older[:, None], torch.iinfo(torch.int64).max, gaps.abs())
    nearest, slot = gaps.min(1)
    kept = (wanted > within) & (nearest < torch.iinfo(torch.int64).max)
    before = step - torch.minimum(wanted, within)
    distance = torch.where(kept, age - history_ages[lane, slot], step - before)
    known = mask[step, lane] & (distance > 0) & (distance <= longest)
    return FarPairs(step, lane, torch.where(kept, slot, NONE), before, distance, known)


class History:
    """Frames of the unrolls before: one of each unroll, as far back as pairs reach.

    Args:
        keys: The observations that are kept.
        slots: Frames that are kept of each lane.
    """

    def __init__(self, keys: Sequence[str], slots: int) -> None:
        self.keys, self.slots = tuple(keys), slots

    def empty(self, lanes: int, device: torch.device) -> State:
        """Returns the memory before anything was seen.

        Args:
            lanes: Number of lanes, B.
            device: Device of the memory.
        """
        frames = {
            f"history_{key}": torch.zeros((lanes, self.slots, *OBSERVATIONS[key].shape), dtype=torch.uint8)
            for key in self.keys
        }
        ages = {"history_age": torch.full((lanes, self.slots), NONE), "age": torch.zeros(lanes, dtype=torch.int64)}
        return {name: value.to(device) for name, value in (frames | ages).items()}

    def after(self, memory: Mapping[str, Tensor], inputs: Mapping[str, Tensor], first: Tensor, places: Places) -> State:
        """Returns the memory after an unroll: its last frame takes the place of the oldest one.

        Args:
            memory: The memory before it.
            inputs: The observations, [T, B, …].
            first: Whether a game starts at a step, bool [T, B].
            places: Where the steps are in their games.
        """
        age = places.age[-1]
        # What was kept of the game before is of no use any more.
        ages = torch.where(first.any(0)[:, None], NONE, memory["history_age"])
        slot = ages.argmin(1)
        lanes = torch.arange(len(age), device=age.device)
        frames = {
            f"history_{key}": memory[f"history_{key}"].index_put((lanes, slot), inputs[key][-1]) for key in self.keys
        }
        return {**frames, "history_age": ages.index_put((lanes, slot), age), "age": age + 1}

    def frames(self, memory: Mapping[str, Tensor], inputs: Mapping[str, Tensor], pairs: FarPairs) -> dict[str, Tensor]:
        """Returns the earlier frame of each pair: observation key → [N, …].

        Args:
            memory: The memory before the unroll.
            inputs: The observations, [T, B, …].
            pairs: The pairs.
        """
        found = {}
        for key in self.keys:
            kept = memory[f"history_{key}"][pairs.lane, pairs.slot.clamp(min=0)]
            seen = inputs[key][pairs.before, pairs.lane]
            found[key] = torch.where((pairs.slot == NONE).view(-1, *[1] * (seen.ndim - 1)), seen, kept)
        return found
