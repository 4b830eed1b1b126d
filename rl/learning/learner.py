"""One update of a policy: V-trace, PPO, entropy, and the losses that keep it from forgetting."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from strathack.dataset.errors import RunError
from strathack.models.acting import ActingConfig, entropy_of, log_prob_of, steps_held
from strathack.models.cleaved import AnyPolicy, CleavedPolicy
from strathack.models.heads import FlatHeads, HierarchicalHeads, PolicyOutput
from strathack.models.losses import masked_mean
from strathack.models.numbers import ReadLater, skip_unless
from strathack.models.policy import Policy
from strathack.rl.config import APPOConfig, ImitationConfig
from strathack.rl.learning.batches import Batch
from strathack.rl.learning.imitation import Demonstrations, Teacher
from strathack.rl.learning.losses import (
    Parts,
    Weights,
    normalised,
    ppo_loss,
    teacher_divergence,
    value_loss,
)
from strathack.rl.learning.vtrace import vtrace
from strathack.rl.schedules import Schedule

LEARNING_NICENESS = 10
"""Niceness that the learner's thread adds to its own, so that acting has priority (see nice(2))."""

Metrics = dict[str, Tensor]
"""Name → scalar."""


class BadNumbersError(RunError):
    """A loss or a gradient is not finite.

    Args:
        message: One line.
        batch: The batch that caused it.
    """

    def __init__(self, message: str, batch: Batch) -> None:
        super().__init__(message)
        self.batch = batch


@dataclass(frozen=True)
class _Pass:
    """A pass over a batch, until its numbers are known to be finite.

    Attributes:
        update: Updates before it.
        batch: The batch.
        loss: Its loss.
        norm: The gradient's norm.
        is_finite: Whether the norm is finite, on its way to the host.
    """

    update: int
    batch: Batch
    loss: Tensor
    norm: Tensor
    is_finite: ReadLater


@dataclass(frozen=True)
class Gradients:
    """How the gradients of several learners are combined.

    Attributes:
        averaged: Maps a tensor of this learner to its mean over all learners; None for a single learner.
    """

    averaged: Callable[[Tensor], Tensor] | None = None

    def share_of(self, steps: Tensor) -> Tensor | float:
        """Returns the weight of this learner's mean among the means of all learners, 1 if all have equally many steps.

        Args:
            steps: How many steps this learner learns from, a scalar.
        """
        if self.averaged is None:
            return 1.0
        return steps / self.averaged(steps.float()).clamp(min=1e-6)

    def share(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces the gradients of every learner by their mean over all learners."""
        if self.averaged is None:
            return
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in parameters])
        flat = self.averaged(flat)
        for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = gradient.view_as(parameter).clone()


def freeze(policy: AnyPolicy, parts: Sequence[str]) -> None:
    """Excludes parts of a policy from training (of both policies, if it is cleaved); see ``FROZEN_PARTS``."""
    for module in policy.modules():
        if not isinstance(module, Policy):
            continue
        frozen: list[nn.Module | nn.Parameter] = []
        heads = module.heads
        if "encoder" in parts:
            frozen.append(module.encoders)
        if "core" in parts:
            frozen.append(module.core)
        if "strategy" in parts and isinstance(heads, HierarchicalHeads):
            frozen.append(heads.strategy)
        if "actions" in parts:
            frozen += [heads.actions] if isinstance(heads, FlatHeads) else [heads.hidden, heads.weight, heads.bias]
            frozen += [] if module.offered is None else [module.offered]
        for part in frozen:
            part.requires_grad_(False)


def critic_parameters(policy: AnyPolicy) -> list[nn.Parameter]:
    """Returns the parameters of the value head that gives the policy's values."""
    valued = policy.low if isinstance(policy, CleavedPolicy) else policy
    return list(valued.heads.value.parameters())


def without_dropout(policy: AnyPolicy) -> None:
    """Disables dropout for good: with dropout, the policy that learns would differ from the one that acted."""
    for module in policy.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


class Learner:
    """Trains a policy.

    Args:
        policy: The policy; it is put into training mode, without dropout.
        config: How the policy learns.
        imitation: What keeps the policy from forgetting.
        demonstrations: Streams demonstrations; None clones none.
        teacher: The policy to stay near; None for no teacher.
        gradients: How the gradients of several learners are combined.
        changing: Entered while the weights change, with the number of updates that they will have had.
        autocast: Entered for the forward passes.

    Attributes:
        updates: The number of updates so far.
        optimizer: Adam, with its state.
    """

    def __init__(
        self,
        policy: AnyPolicy,
        config: APPOConfig,
        imitation: ImitationConfig,
        *,
        demonstrations: Demonstrations | None = None,
        teacher: Teacher | None = None,
        gradients: Gradients | None = None,
        changing: Callable[[int], AbstractContextManager[None]] = lambda version: nullcontext(),
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.policy, self.config, self.imitation = policy, config, imitation
        self.demonstrations, self.teacher = demonstrations, teacher
        self._gradients, self._changing, self._autocast = gradients or Gradients(), changing, autocast
        without_dropout(policy)
        policy.train()
        freeze(policy, config.freeze or ())
        self._critic = critic_parameters(policy)
        for parameter in self._critic:  # even if it lies in a frozen part of a cleaved policy
            parameter.requires_grad_(True)
        self._trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        self._holds = steps_held(policy.config, ActingConfig(min_strategy_steps=config.min_strategy_steps)) > 0
        # As in the published code of HiHack: betas are Adam's defaults, epsilon is 1e-7.
        groups: list[dict[str, Any]] = [{"params": self._trained}]
        if config.critic_learning_rate is not None:
            critic = set(self._critic)
            groups = [
                {"params": [parameter for parameter in self._trained if parameter not in critic]},
                {"params": self._critic, "lr": config.critic_learning_rate},
            ]
        self.optimizer = torch.optim.Adam(groups, config.learning_rate, eps=1e-7, fused=True)
        self.updates, self._warmup = 0, config.critic_warmup or 0
        self._last: list[_Pass] = []

    @property
    def _critic_alone(self) -> bool:
        """Whether the next update trains the critic alone."""
        return self.updates < self._warmup

    def update(self, batch: Batch) -> Metrics:
        """Learns from a batch.

        Returns:
            Metrics of the update, on the device.

        Raises:
            BadNumbersError: As :meth:`check`, for the update before.
        """
        self.check()
        with torch.no_grad(), self._autocast():
            teacher = None if self.teacher is None else self.teacher.outputs(batch)
        metrics: Metrics = {}
        weights = self.weights()
        for _ in range(self.config.passes):
            with self._autocast():
                parts, metrics = self._parts(batch, teacher, weights)
            total = parts.total(weights)
            metrics |= {f"loss/{name}": part.detach() for name, part in vars(parts).items()}
            metrics |= {"loss/total": total.detach(), "gradient_norm": self._step(total, batch)}
        self.updates += 1
        return metrics

    def check(self) -> None:
        """Checks the numbers of the last update, which are known only later on a GPU.

        Raises:
            BadNumbersError: If a loss or gradient was not finite; such a pass has left the weights as they were.
        """
        passes, self._last = self._last, []
        for one in passes:
            if not one.is_finite.read():
                found = f"loss: {one.loss.item()}, gradient: {one.norm.item()} at update {one.update}"
                raise BadNumbersError(found, one.batch)

    def weights(self) -> Weights:
        """Returns the weights of the parts of the next update's loss."""
        config = self.config
        if self._critic_alone:
            return Weights(policy=0.0, value=config.value_weight)
        update = self.updates - self._warmup
        return Weights(
            policy=1.0,
            value=config.value_weight,
            entropy=config.entropy or 0.0,
            demos=0.0 if self.demonstrations is None else _weight(self.imitation.demos_weight, update),
            kickstart=0.0 if self.teacher is None else _weight(self.imitation.kickstart_weight, update),
        )

    def _parts(self, batch: Batch, teacher: PolicyOutput | None, weights: Weights) -> tuple[Parts, Metrics]:
        config, imitation = self.config, self.imitation
        outputs, _ = self.policy.unroll(batch.inputs, batch.state, starts=batch.starts)
        output, values = outputs.at(slice(0, len(batch.actions))), outputs.value.float()
        held = (batch.strategy, batch.chose) if self._holds else ()
        log_ratios = log_prob_of(output, batch.actions, *held) - batch.log_prob
        traced = vtrace(
            log_ratios.detach(),
            batch.rewards,
            torch.where(batch.ended, 0.0, config.discount),
            values.detach(),
            batch.acted,
            clip_rho=config.clip_rho,
            clip_c=config.clip_c,
            decay=config.trace_decay,
        )
        lag = self.updates - batch.version
        fresh = batch.acted if config.max_lag is None else batch.acted & (lag <= config.max_lag)
        advantages = normalised(traced.advantages, fresh) if config.normalise_advantages else traced.advantages
        cloning = divergence = values.new_zeros(())
        if self.demonstrations is not None and weights.demos:
            cloning = self.demonstrations.loss(self.policy, values.device, self._gradients.averaged).total
        if teacher is not None:
            divergence = masked_mean(teacher_divergence(output, teacher, imitation.direction, *held[:1]), fresh)
        share = self._gradients.share_of(fresh.sum())
        parts = Parts(
            policy=share * ppo_loss(log_ratios, advantages, config.clip_policy, fresh),
            value=share * value_loss(values[:-1], batch.value, traced.values, config.clip_value or None, fresh),
            entropy=share * masked_mean(entropy_of(output, *held), fresh),
            demos=cloning,
            kickstart=share * divergence,
        )
        clipped = log_ratios.detach().abs() > math.log1p(config.clip_policy)
        metrics = {
            "lag/mean": masked_mean(lag.float(), batch.acted),
            "lag/max": torch.where(batch.acted, lag, 0).max().float(),
            "lag/stale": 1 - fresh.sum() / batch.acted.sum().clamp(min=1),
            "ratio/clipped": masked_mean(clipped.float(), fresh),
            "value/mean": masked_mean(values.detach()[:-1], fresh),
            "value/explained": explained(values.detach()[:-1], traced.values, fresh),
            "reward": masked_mean(batch.rewards, batch.acted),
        }
        return parts, metrics

    def _step(self, total: Tensor, batch: Batch) -> Tensor:
        """Takes one step of the optimiser, and returns the gradient's norm."""
        stepped = self._critic if self._critic_alone else self._trained
        self.optimizer.zero_grad(set_to_none=True)
        total.backward(inputs=stepped)
        self._gradients.share(stepped)
        norm = torch.nn.utils.clip_grad_norm_(stepped, self.config.clip)
        # Gradients are already shared between learners here, so all learners stop, and none waits for another.
        finite = torch.isfinite(norm)
        skip_unless(finite, self.optimizer)
        self._last.append(_Pass(self.updates, batch, total.detach(), norm.detach(), ReadLater(finite)))
        with self._changing(self.updates + 1):
            self.optimizer.step()
        return norm.detach()


def _weight(schedule: Schedule | None, update: int) -> float:
    return 0.0 if schedule is None else schedule.at(update)


def learning_thread(device: torch.device, threads: int) -> Executor:
    """Returns a thread to learn in, over which acting has priority.

    Acting plays only a bounded number of unrolls ahead, so a learner that waits for a core loses nothing; a policy that
    waits for a core keeps all its environments waiting. The thread has to be made before acting begins: MKL has one
    number of threads for the whole process, the one that was set last, and the small matrix products of acting are
    fastest with one thread.

    Args:
        device: The device to learn on.
        threads: Threads for the learner's arithmetic.
    """

    def begin() -> None:
        if sys.platform == "linux":  # elsewhere niceness is that of the whole process
            thread = threading.get_native_id()
            own = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(own + LEARNING_NICENESS, 19))
        torch.set_num_threads(threads)  # of this thread alone, except in MKL
        if device.type == "cuda":
            torch.cuda.set_device(device)  # of this thread alone

    executor = ThreadPoolExecutor(1, "learning", begin)
    executor.submit(lambda: None).result()
    return executor


def explained(values: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Returns the share of the targets' variance that values explain."""
    errors = masked_mean((targets - values) ** 2, mask)
    variance = masked_mean((targets - masked_mean(targets, mask)) ** 2, mask)
    return 1 - errors / variance.clamp(min=1e-8)
