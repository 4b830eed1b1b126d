"""V-trace (Espeholt et al., "IMPALA", 2018, section 4.1): targets from games that an older policy played."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class VTrace:
    """What values are to be, and how much better than they an action was.

    Attributes:
        values: vₛ, [T, B].
        advantages: r + γ vₛ₊₁ − V(xₛ), [T, B]; without IMPALA's ρ, since PPO's ratio stands in its place.
    """

    values: Tensor
    advantages: Tensor


@torch.no_grad()
def vtrace(
    log_ratios: Tensor,
    rewards: Tensor,
    discounts: Tensor,
    values: Tensor,
    acted: Tensor,
    *,
    clip_rho: float = 1.0,
    clip_c: float = 1.0,
    decay: float = 1.0,
) -> VTrace:
    """V-trace targets of unrolls.

    A game that ended has a discount of 0 at its last step. One that was cut has one more frame, which shows what it
    came to and on which nobody acted: there nothing is weighed, so its target is its value, and the step before it
    is bootstrapped from that value.

    Args:
        log_ratios: log π(a | x) − log μ(a | x), the policy to improve over the one that acted, [T, B].
        rewards: [T, B].
        discounts: γ, and 0 where the game ended with the step, [T, B].
        values: V(x) of every frame and of the one after the last step, [T + 1, B].
        acted: Whether an action was taken on a frame, bool [T, B].
        clip_rho: ρ̄, the largest weight of a step.
        clip_c: c̄, the largest weight of what comes after it.
        decay: λ, by which c is multiplied (remark 2 of the paper).

    Returns:
        The targets; gradients do not go through them.
    """
    ratios = torch.where(acted, log_ratios, -torch.inf).exp()
    rho, c = ratios.clamp(max=clip_rho), decay * ratios.clamp(max=clip_c)
    deltas = rho * (rewards + discounts * values[1:] - values[:-1])
    corrections = torch.zeros_like(values)
    for step in reversed(range(len(rewards))):
        corrections[step] = deltas[step] + discounts[step] * c[step] * corrections[step + 1]
    targets = values + corrections
    return VTrace(targets[:-1], rewards + discounts * targets[1:] - values[:-1])
