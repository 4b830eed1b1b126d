"""Policies that gain parts: the new parts learn on what the others have learned."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor

from strathack.dataset.errors import InputError
from strathack.models.cleaved import AnyPolicy
from strathack.models.config import EncoderConfig, SymbolsConfig
from strathack.models.policy import Policy

ADDED = re.compile(r"encoders\.\d+\.(inventory|corpses|events|marks)\.|offered\.")
"""Matches the names of the weights of parts that can be added."""

ADDIBLE = "encoder.inventory, encoder.corpses, encoder.events, encoder.marks and heads.offered"

WIDENED = re.compile(r"encoders\.\d+\.out\.weight")
"""Matches the name of the layer that what is added goes into, after everything else."""


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
    _check_order(policy.config.encoder, new.config.encoder)
    weights, old = new.state_dict(), policy.state_dict()
    for name in weights:
        if name not in old and not ADDED.match(name):
            raise InputError(f"set: {name} cannot be added to a policy; {ADDIBLE} can")
    for name, value in old.items():
        there = weights.get(name)
        if there is None:
            raise InputError(f"set: the weights have {name}, which the changed policy lacks")
        if not fitted(there, value, wider=WIDENED.fullmatch(name) is not None):
            raise InputError(f"set: {name} is {list(value.shape)} in the weights, {list(there.shape)} once changed")
    return new


def _check_order(old: EncoderConfig, new: EncoderConfig) -> None:
    """Checks that what an encoder gains comes after everything that it has, as the columns of its last layer do.

    Raises:
        InputError: If a part would come before others.
    """
    if isinstance(old, SymbolsConfig) and isinstance(new, SymbolsConfig):
        last = list(old.parts)[-1]
        between = [name for name in list(new.parts)[: len(old.parts)] if name not in old.parts]
        if between and set(old.parts) <= set(new.parts):
            raise InputError(f"set: encoder.{between[0]} cannot be added to a policy that has encoder.{last} already")


def fitted(there: Tensor, value: Tensor, *, wider: bool) -> bool:
    """Copies a weight to its place in another network.

    Args:
        there: The place, of any shape; overwritten if the weight fits.
        value: The weight: of the place's shape, or a matrix [outputs, fewer inputs].
        wider: Whether the layer may have further inputs, after those of ``value``; they are multiplied by zero.

    Returns:
        Whether the weight fits; where not, the place stays as it is.
    """
    if there.shape == value.shape:
        there.copy_(value)
        return True
    if wider and there.ndim == value.ndim == 2 and len(there) == len(value) and there.shape[1] > value.shape[1]:
        there.zero_()
        there[:, : value.shape[1]] = value
        return True
    return False
