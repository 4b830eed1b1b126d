"""The losses of offline reinforcement learning, as functions of tensors.

Each takes the values of single steps; a step whose next one is not known is masked by whoever takes the means.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def taken(values: Tensor, actions: Tensor) -> Tensor:
    """Returns the values of the actions taken: from [..., actions] and i64 [...] to [...]."""
    return values.gather(-1, actions[..., None]).squeeze(-1)


def td_targets(rewards: Tensor, terminated: Tensor, next_values: Tensor, discount: float) -> Tensor:
    """Returns r + γ V(s'), and r where the game is over with the step.

    Args:
        rewards: r, [...].
        terminated: Whether the game itself ends with the step, bool [...].
        next_values: V(s') by the target network, [...].
        discount: γ.
    """
    return rewards + discount * torch.where(terminated, 0.0, next_values)


def advantage_weights(advantages: Tensor, inverse_temperature: float, largest: float) -> Tensor:
    """Returns exp(A · β), at most ``largest``: the weights of the steps in the losses of AWAC and IQL, [...].

    Args:
        advantages: A, [...].
        inverse_temperature: β.
        largest: The largest weight.
    """
    # Clamped before the exponential, which would overflow.
    return (advantages * inverse_temperature).clamp(max=math.log(largest)).exp()


def awac_advantages(values: Tensor, log_probs: Tensor, actions: Tensor) -> Tensor:
    """Returns Q(s, a) − Σ π(a' | s) Q(s, a'): the advantage of the actions taken (Nair et al., "AWAC", 2020), [...].

    Args:
        values: Q, [..., actions].
        log_probs: log π, [..., actions].
        actions: The actions taken, i64 [...].
    """
    return taken(values, actions) - (log_probs.exp() * values).sum(-1)


def expectile_loss(errors: Tensor, expectile: float) -> Tensor:
    """Returns |τ − 1(u < 0)| u² (Kostrikov, Nair and Levine, "Implicit Q-Learning", 2021), [...].

    Args:
        errors: u, by how much the target is above the estimate, [...].
        expectile: τ.
    """
    return torch.where(errors < 0, 1 - expectile, expectile) * errors**2


def conservative_gap(values: Tensor, actions: Tensor) -> Tensor:
    """Returns log Σ exp Q(s, a') − Q(s, a) (Kumar et al., "Conservative Q-Learning", 2020), [...].

    Args:
        values: Q, [..., actions].
        actions: The actions taken, i64 [...].
    """
    return values.logsumexp(-1) - taken(values, actions)


def mixed(values: Tensor, weights: Tensor) -> Tensor:
    """Returns a convex combination of several value functions (Agarwal et al., "REM", 2020).

    Args:
        values: [..., heads, actions].
        weights: Weights that sum to 1, [heads].

    Returns:
        [..., actions].
    """
    # bf16 would round values by more than rewards are worth.
    with torch.autocast(values.device.type, enabled=False):
        return torch.einsum("...ha,h->...a", values, weights)
