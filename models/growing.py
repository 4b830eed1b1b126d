"""Policies that gain parts: the new parts learn on what the others have learned."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from strathack.dataset.errors import InputError
from strathack.models.cleaved import AnyPolicy
from strathack.models.policy import Policy


def grown(policy: AnyPolicy, changes: Sequence[str]) -> Policy:
    """Returns a policy with parts added, which keeps all its weights.

    A layer that gets more inputs multiplies the new ones by zero, so that the encoder's new parts have no effect before
    they learn. Gains of offered keys (``heads.offered``) have their own at once.

    Args:
        policy: The policy.
        changes: As for :meth:`strathack.models.config.PolicyConfig.changed`.

    Raises:
        InputError: If the policy is a cleaved one, or a change does more than add; the message names the weights that
            have no place.
    """
    if not isinstance(policy, Policy):
        raise InputError("set: a cleaved policy cannot be changed")
    new = Policy(policy.config.changed(changes))
    weights = new.state_dict()
    for name, value in policy.state_dict().items():
        there = weights.get(name)
        if there is None:
            raise InputError(f"set: the weights have {name}, which the changed policy lacks")
        if there.shape == value.shape:
            there.copy_(value)
        elif is_wider(there, value):
            there.zero_()
            there[:, : value.shape[1]] = value
        else:
            raise InputError(f"set: {name} is {list(value.shape)} in the weights, {list(there.shape)} once changed")
    return new


def is_wider(matrix: Tensor, other: Tensor) -> bool:
    """Returns whether a layer's weights, [outputs, inputs], are those of the same layer with more inputs."""
    return matrix.ndim == other.ndim == 2 and len(matrix) == len(other) and matrix.shape[1] > other.shape[1]
