"""The parts of the fine-tuning loss, as functions of tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from strathack.models.heads import PolicyOutput, chosen, marginal_log_probs

Direction = Literal["forward", "reverse"]
"""Of a divergence from a teacher: ``forward`` is KL(teacher ‖ student), ``reverse`` KL(student ‖ teacher)."""


@dataclass(frozen=True)
class Weights:
    """What the parts of a loss are multiplied by.

    Attributes:
        policy: Of the policy's loss; 0 while the critic is trained alone.
        value: Of the critic's.
        entropy: Of the entropy, which is to grow.
        demos: Of the cloning loss.
        kickstart: Of the divergence from a teacher.
    """

    policy: float = 1.0
    value: float = 0.5
    entropy: float = 0.0
    demos: float = 0.0
    kickstart: float = 0.0


@dataclass(frozen=True)
class Parts:
    """The parts of a loss, scalars, each before its weight; those that are not asked for are 0."""

    policy: Tensor
    value: Tensor
    entropy: Tensor
    demos: Tensor
    kickstart: Tensor

    def total(self, weights: Weights) -> Tensor:
        """Their weighted sum. A part of weight 0 is left out, whatever it is."""
        signs = {"entropy": -1.0}
        parts = [(signs.get(name, 1.0) * getattr(weights, name), part) for name, part in vars(self).items()]
        return torch.stack([weight * part for weight, part in parts if weight] or [torch.zeros_like(self.value)]).sum()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the steps of a mask; 0 where it has none.

    Args:
        values: [...].
        mask: bool [...].
    """
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def normalised(advantages: Tensor, mask: Tensor) -> Tensor:
    """Advantages of mean 0 and standard deviation 1 over the steps of a mask."""
    centred = advantages - masked_mean(advantages, mask)
    return centred / (masked_mean(centred**2, mask).sqrt() + 1e-8)


def ppo_loss(log_ratios: Tensor, advantages: Tensor, clip: float, mask: Tensor) -> Tensor:
    """PPO's clipped policy loss (Schulman et al., 2017, equation 7), a mean over steps.

    Args:
        log_ratios: log π(a | x) − log μ(a | x), [T, B].
        advantages: [T, B].
        clip: ε: ratios outside of 1/(1 + ε) to 1 + ε earn no more. The lower bound is the upper one's inverse, not
            1 − ε, so that both are as far in log-probability.
        mask: Which steps count, bool [T, B].
    """
    ratios = torch.where(mask, log_ratios, 0.0).exp()
    clipped = ratios.clamp(1 / (1 + clip), 1 + clip)
    return -masked_mean(torch.minimum(ratios * advantages, clipped * advantages), mask)


def value_loss(values: Tensor, before: Tensor, targets: Tensor, clip: float | None, mask: Tensor) -> Tensor:
    """Half the squared error of values; by option the larger of it and that of values kept near what they were.

    Args:
        values: [T, B].
        before: The values when the actions were taken, [T, B].
        targets: [T, B].
        clip: How far from ``before`` values may be; None for anywhere.
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
    """KL divergence between a teacher's and a student's distributions, nats, f32 [...].

    Args:
        student: What is trained, [...].
        teacher: What it is to stay near; gradients do not go through it.
        direction: See :data:`Direction`.
        strategy: The strategy that the student held, i64 [...]. Then the two are compared as what they are: their
            strategies, and their actions given that strategy. A flat teacher has no strategies, so there, as with
            None, the distributions over actions are compared; the student's is then that of whatever strategy.
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
    if direction == "reverse":
        of_student, of_teacher = of_teacher, of_student
    lowest = torch.finfo(of_teacher.dtype).min
    return (of_teacher.exp() * (of_teacher.clamp(min=lowest) - of_student.clamp(min=lowest))).sum(-1)
