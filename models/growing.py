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
        if not copied(there, value):
            raise InputError(f"set: {name} is {list(value.shape)} in the weights, {list(there.shape)} once changed")
    return new


def copied(there: Tensor, value: Tensor) -> bool:
    """Copies a weight to its place in another network, where the layer may have more inputs.

    A layer's inputs beyond those of ``value`` are multiplied by zero.

    Args:
        there: The place, of any shape; overwritten if the weight fits.
        value: The weight: of the place's shape, or a matrix [outputs, fewer inputs].

    Returns:
        Whether the weight fits; where not, the place stays as it is.
    """
    if there.shape == value.shape:
        there.copy_(value)
        return True
    if there.ndim == value.ndim == 2 and len(there) == len(value) and there.shape[1] > value.shape[1]:
        there.zero_()
        there[:, : value.shape[1]] = value
        return True
    return False
