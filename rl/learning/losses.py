"""The parts of the fine-tuning loss, as functions of tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from strathack.models.heads import PolicyOutput, chosen, marginal_log_probs
from strathack.models.losses import masked_mean

Direction = Literal["forward", "reverse"]
"""Of a divergence from a teacher: ``forward`` is KL(teacher ‖ student), ``reverse`` is KL(student ‖ teacher)."""


@dataclass(frozen=True)
class Weights:
    """The weights of the parts of a loss.

    Attributes:
        policy: Weight of the policy's loss; 0 while the critic is trained alone.
        value: Weight of the critic's loss.
        entropy: Weight of the entropy, which is maximised.
        demos: Weight of the cloning loss.
        kickstart: Weight of the divergence from a teacher.
    """

    policy: float = 1.0
    value: float = 0.5
    entropy: float = 0.0
    demos: float = 0.0
    kickstart: float = 0.0


@dataclass(frozen=True)
class Parts:
    """The parts of a loss before weighting, scalars; parts that are not used are 0."""

    policy: Tensor
    value: Tensor
    entropy: Tensor
    demos: Tensor
    kickstart: Tensor

    def total(self, weights: Weights) -> Tensor:
        """Returns the weighted sum of the parts. A part of weight 0 is left out, even if it is not finite."""
        parts = [
            (weights.policy, self.policy), (weights.value, self.value), (-weights.entropy, self.entropy),
            (weights.demos, self.demos), (weights.kickstart, self.kickstart),
        ]  # fmt: skip
        return torch.stack([weight * part for weight, part in parts if weight] or [torch.zeros_like(self.value)]).sum()


def normalised(advantages: Tensor, mask: Tensor) -> Tensor:
    """Returns advantages scaled to mean 0 and standard deviation 1 over the steps in a mask."""
    centred = advantages - masked_mean(advantages, mask)
    return centred / (masked_mean(centred**2, mask).sqrt() + 1e-8)


def ppo_loss(log_ratios: Tensor, advantages: Tensor, clip: float, mask: Tensor) -> Tensor:
    """PPO's clipped policy loss (Schulman et al., 2017, equation 7), a mean over steps.

    Args:
        log_ratios: log π(a | x) − log μ(a | x), [T, B].
        advantages: [T, B].
        clip: ε: ratios outside of 1/(1 + ε) to 1 + ε bring no further gain. The lower bound is the inverse of the
            upper one, not 1 − ε, so that both are equally far in log-probability.
        mask: Which steps count, bool [T, B].
    """
    ratios = torch.where(mask, log_ratios, 0.0).exp()
    clipped = ratios.clamp(1 / (1 + clip), 1 + clip)
    return -masked_mean(torch.minimum(ratios * advantages, clipped * advantages), mask)


def value_loss(values: Tensor, before: Tensor, targets: Tensor, clip: float | None, mask: Tensor) -> Tensor:
    """Returns half the squared error of values; with ``clip``, the larger of the errors with and without clipping.

    Args:
        values: [T, B].
        before: The values when the actions were taken, [T, B].
        targets: [T, B].
        clip: How far from ``before`` clipped values may be; None for no clipping.
        mask: Which steps count, bool [T, B].
    """
    errors = (values - targets) ** 2
    if clip is not None:
        near = before + (values - before).clamp(-clip, clip)
        errors = torch.maximum(errors, (near - targets) ** 2)
    return masked_mean(errors, mask) / 2


def teacher_divergence(
    student: PolicyOutput, teacher: PolicyOutput, direction: Direction, strategy: Tensor | None = None
) -> Tensor:
    """Returns the KL divergence between a teacher's and a student's distributions, nats, f32 [...].

    Args:
        student: The outputs of the policy that is trained, [...].
        teacher: The outputs of the teacher; gradients do not go through them.
        direction: See :data:`Direction`.
        strategy: The strategy that the student held, i64 [...]. If it is given, two divergences are added: between
            the distributions over strategies, and between the distributions over actions given that strategy. With
            None, only the distributions over actions are compared. A flat teacher has no strategies; its distribution
            over actions is compared with that of the student over all of its strategies.
    """
    if strategy is None:
        return _divergence(student.action_logits, teacher.action_logits, direction)
    if teacher.strategy_logits is None or teacher.strategywise_logits is None:
        return _divergence(marginal_log_probs(student), teacher.action_logits, direction)
    assert student.strategy_logits is not None
    assert student.strategywise_logits is not None
    of_student, of_teacher = (
        chosen(student.strategywise_logits, strategy),
        chosen(teacher.strategywise_logits, strategy),
    )
    of_strategies = _divergence(student.strategy_logits, teacher.strategy_logits, direction)
    return of_strategies + _divergence(of_student, of_teacher, direction)


def _divergence(student: Tensor, teacher: Tensor, direction: Direction) -> Tensor:
    of_student, of_teacher = (logits.float().log_softmax(-1) for logits in (student, teacher.detach()))
    p, q = (of_student, of_teacher) if direction == "reverse" else (of_teacher, of_student)
    lowest = torch.finfo(p.dtype).min
    return (p.exp() * (p.clamp(min=lowest) - q.clamp(min=lowest))).sum(-1)
