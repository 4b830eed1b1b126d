"""The cloning loss, as functions of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (as everywhere)

from strathack.dataset.actions import ACTION_NAMES, NO_ACTION
from strathack.dataset.errors import InputError
from strathack.models.heads import PolicyOutput, chosen

UNKNOWN = -1
"""In targets: the step has no known action or strategy."""


@dataclass(frozen=True)
class Targets:
    """The actions taken and the strategies pursued, as a policy's own indices.

    Attributes:
        actions: i64 [T, B]; ``UNKNOWN`` on padding and where no key was recorded.
        strategies: i64 [T, B]; ``UNKNOWN`` on padding and where there was no strategy; None for a flat policy.
    """

    actions: Tensor
    strategies: Tensor | None


@dataclass(frozen=True)
class CloningLoss:
    """The parts of a loss, scalars.

    Attributes:
        total: action + strategy weight · strategy + head weight · head.
        action: Mean negative log-likelihood of the actions, nats.
        strategy: Mean negative log-likelihood of the strategies, nats; 0 for a flat policy.
        head: Mean negative log-likelihood of the actions given the strategy pursued, nats; 0 for a flat policy.
    """

    total: Tensor
    action: Tensor
    strategy: Tensor
    head: Tensor


def cloning_loss(
    output: PolicyOutput,
    targets: Targets,
    strategy_weight: float,
    class_weights: Tensor | None = None,
    head_weight: float = 0.0,
    averaged: Callable[[Tensor], Tensor] | None = None,
) -> CloningLoss:
    """Action NLL + λ · strategy NLL + μ · NLL of the action given the strategy, over the steps where each is known.

    In a mixture's likelihood, each head's gradient is weighted by how well the head already predicts the action. So
    where another head predicts the action, the head of the strategy pursued learns nothing, and the first two terms
    pull the strategy's probability in opposite directions: both stay at ln 2. The last term trains the head of the
    strategy pursued on its own steps.

    Args:
        output: A policy's outputs, [T, B, …].
        targets: The actions taken and the strategies pursued.
        strategy_weight: λ.
        class_weights: A weight for each strategy, [strategies].
        head_weight: μ.
        averaged: Returns the mean of a tensor over the learners that average their gradients; None for one learner.
            It gives each step the same weight on every learner; otherwise, a rare label on one learner would outweigh
            the labels on others.
    """
    sums = [nll_sum(output.action_logits, targets.actions)]
    if output.strategy_logits is not None and targets.strategies is not None:
        sums.append(nll_sum(output.strategy_logits, targets.strategies, class_weights))
        if head_weight and output.strategywise_logits is not None:
            own = chosen(output.strategywise_logits, targets.strategies.clamp(min=0))
            sums.append(nll_sum(own, torch.where(targets.strategies >= 0, targets.actions, UNKNOWN)))
    counts = torch.stack([count for _, count in sums])
    counts = counts if averaged is None else averaged(counts)
    means = [_mean(total, count) for (total, _), count in zip(sums, counts, strict=True)]
    action, strategy, head = (*means, *[torch.zeros_like(means[0])] * (3 - len(means)))
    return CloningLoss(action + strategy_weight * strategy + head_weight * head, action, strategy, head)


def nll_sum(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns the sum of the negative log-likelihoods of the known targets, and the divisor for their mean.

    Args:
        logits: [..., classes].
        targets: i64 [...]; ``UNKNOWN`` targets are left out.
        weights: A weight for each class, [classes]; the mean is then a weighted one.

    Returns:
        Two scalars, f32.
    """
    log_probs = logits.flatten(0, -2).float().log_softmax(-1)
    targets = targets.flatten()
    total = F.nll_loss(log_probs, targets, weights, ignore_index=UNKNOWN, reduction="sum")
    known = targets >= 0
    count = known if weights is None else weights[targets.clamp(min=0)] * known
    return total, count.sum().to(total.dtype)


def _mean(total: Tensor, count: Tensor) -> Tensor:
    return total / count.clamp(min=torch.finfo(total.dtype).tiny)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean over the steps in a mask; 0 if no step is in it.

    Args:
        values: [...].
        mask: bool [...].
    """
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def action_table(actions: Sequence[str]) -> np.ndarray:
    """Returns a table from a dataset's indices of actions to a policy's.

    Args:
        actions: The policy's actions by name.

    Returns:
        i64 [256]; ``UNKNOWN`` for 255, no action.

    Raises:
        InputError: If a dataset may hold actions that the policy does not have.
    """
    missing = [name for name in ACTION_NAMES if name not in actions]
    if missing:
        raise InputError(
            f"actions: the policy has {len(actions)}, without {', '.join(missing[:3])}{' …' * (len(missing) > 3)}; "
            f"a dataset holds any of the {len(ACTION_NAMES)} of NetHackChallenge"
        )
    return _table(ACTION_NAMES, actions)


def strategy_table(
    names: Sequence[str], strategies: Sequence[str], label: str, held: Sequence[str] | None = None
) -> np.ndarray:
    """Returns a table from the codes of a dataset's label to the indices of a policy's strategies.

    Args:
        names: The label's names in the dataset; a name's place is its code.
        strategies: Names of the policy's strategies.
        label: Name of the label, for error messages.
        held: The names that games may hold; by default all.

    Returns:
        i64 [256]; ``UNKNOWN`` for codes without a name, or of a name that no game holds and the policy does not have.
        Look up a code of −1 at 255.

    Raises:
        InputError: If the dataset has a name that the policy does not have.
    """
    missing = [name for name in (names if held is None else held) if name not in strategies]
    if missing:
        raise InputError(
            f"{label}: the dataset has {', '.join(missing[:5])}{' …' * (len(missing) > 5)}, "
            f"for which the policy has no action head; it has {', '.join(strategies)}"
        )
    return _table(names, strategies)


def _table(names: Sequence[str], places: Sequence[str]) -> np.ndarray:
    table = np.full(256, UNKNOWN)
    table[: len(names)] = [places.index(name) if name in places else UNKNOWN for name in names]
    return table


def inputs_of(batch: Mapping[str, Tensor], actions: Tensor) -> dict[str, Tensor]:
    """Turns a batch of a stream into inputs of a policy, with ``previous_action`` as the policy's own indices.

    Args:
        batch: The batch, with ``previous_action`` as indices of the dataset's actions.
        actions: See :func:`action_table`.
    """
    before = actions[batch["previous_action"].long()]
    return {**batch, "previous_action": torch.where(before == UNKNOWN, NO_ACTION, before)}


def targets_of(batch: Mapping[str, Tensor], actions: Tensor, strategies: Tensor | None, label: str | None) -> Targets:
    """Returns the targets of a batch of a stream.

    Args:
        batch: The batch, with ``actions``, ``mask`` and the label.
        actions: See :func:`action_table`.
        strategies: See :func:`strategy_table`; None for a flat policy.
        label: The label's name; None for a flat policy.
    """
    mask = batch["mask"]
    done = torch.where(mask, actions[batch["actions"].long()], UNKNOWN)
    if strategies is None or label is None:
        return Targets(done, None)
    return Targets(done, torch.where(mask, strategies[batch[label].long() % 256], UNKNOWN))


def discounted_sums(rewards: Tensor, first: Tensor, before: Tensor, discount: float) -> Tensor:
    """Returns the discounted sums of the rewards of each game so far: Gₜ = γ Gₜ₋₁ + rₜ, starting at 0 in each game.

    Args:
        rewards: [T, B].
        first: Whether a game starts at a step, bool [T, B].
        before: G before the first step, [B].
        discount: γ.

    Returns:
        [T, B].
    """
    sums = []
    for reward, begins in zip(rewards, first, strict=True):
        before = discount * torch.where(begins, 0.0, before) + reward
        sums.append(before)
    return torch.stack(sums)
