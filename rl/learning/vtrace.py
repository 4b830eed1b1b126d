"""V-trace (Espeholt et al., "IMPALA", 2018, section 4.1): targets from games that an older policy played."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class VTrace:
    """Targets for the values, and the advantages of the actions.

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
    """Returns the V-trace targets of unrolls.

    A game that ended has a discount of 0 at its last step. A game that was cut has one more frame, its final one, on
    which no action was taken: there the weights ρ and c are 0, so the target of that frame is its value, and the step
    before it is bootstrapped from that value.

    Args:
        log_ratios: log π(a | x) − log μ(a | x), with π the policy to improve and μ the policy that acted, [T, B].
        rewards: [T, B].
        discounts: γ, or 0 if the game ended with the step, [T, B].
        values: V(x) of every frame, including the frame after the last step, [T + 1, B].
        acted: Whether an action was taken on a frame, bool [T, B].
        clip_rho: ρ̄, the largest weight of a step.
        clip_c: c̄, the largest weight of the correction that comes from the next step.
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
