"""Heads turn the core's output into action probabilities: an action head, or a strategy head and one per strategy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everywhere)

from strathack.dataset.errors import InputError
from strathack.models.config import Combine, FlatConfig, HeadsConfig, HierarchicalConfig


@dataclass(frozen=True)
class PolicyOutput:
    """A policy's outputs for each frame; [...] is [T, B] for an unroll and [B] for a step.

    Attributes:
        action_logits: Unnormalised log-probabilities of the actions, [..., actions].
        value: Estimated return, [...].
        strategy_logits: Unnormalised log-probabilities of the strategies, [..., strategies]; None for a flat policy.
        strategywise_logits: Unnormalised log-probabilities of the actions given each strategy, [..., strategies,
            actions]; None for a flat policy.
        strategy: The strategy whose action head gave ``action_logits``, i64 [...]; None for a flat policy or a
            mixture.
    """

    action_logits: Tensor
    value: Tensor
    strategy_logits: Tensor | None = None
    strategywise_logits: Tensor | None = None
    strategy: Tensor | None = None

    def at(self, step: int | slice) -> PolicyOutput:
        """Returns one or several steps of an unroll."""
        parts = {name: value[step] for name, value in vars(self).items() if value is not None}
        return replace(self, **parts)


def make_heads(config: HeadsConfig, inputs: int, actions: int) -> nn.Module:
    """Makes the heads of a configuration: a module from [..., inputs] (and labels) to a :class:`PolicyOutput`.

    Args:
        config: The configuration.
        inputs: Elements of the core's output.
        actions: How many actions there are.

    Raises:
        InputError: If there are no strategies.
    """
    if isinstance(config, FlatConfig):
        return FlatHeads(config, inputs, actions)
    if not config.strategies:
        raise InputError(f"heads.strategies: there are none; those of a {config.label} come from a dataset or a policy")
    return HierarchicalHeads(config, inputs, actions)


def in_32_bits(layer: nn.Linear, features: Tensor) -> Tensor:
    """Applies a layer in 32 bits, also under autocast: bf16 would round values by more than rewards are worth."""
    with torch.autocast(features.device.type, enabled=False):
        output: Tensor = layer(features.float())
        return output


class FlatHeads(nn.Module):
    """An action head and a value head.

    Args:
        config: Its configuration.
        inputs: Elements of the core's output.
        actions: How many actions there are.
    """

    def __init__(self, config: FlatConfig, inputs: int, actions: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = inputs
        for units in config.hidden:
            layers += [nn.Linear(size, units), nn.ELU()]
            size = units
        self.actions = nn.Sequential(*layers, nn.Linear(size, actions))
        self.value = nn.Linear(inputs, 1)

    def forward(self, features: Tensor, labels: Tensor | None = None, gains: Tensor | None = None) -> PolicyOutput:
        """From [..., inputs]; labels are ignored, ``gains`` [..., actions] are added to the logits."""
        logits = self.actions(features)
        logits = logits if gains is None else logits + gains.to(logits.dtype)
        return PolicyOutput(logits, in_32_bits(self.value, features).squeeze(-1))


class HierarchicalHeads(nn.Module):
    """A strategy head, an action head of two layers for each strategy, and a value head.

    The action heads' weights are kept together, so that all heads are computed in two products.

    Args:
        config: Its configuration.
        inputs: Elements of the core's output.
        actions: How many actions there are.

    Attributes:
        strategy: The strategy head.
        hidden: The action heads' first layers: strategies · hidden units.
        weight: The weights of the action heads' second layers, [strategies, hidden, actions].
        bias: The biases of the action heads' second layers, [strategies, 1, actions].
        value: The value head.
    """

    def __init__(self, config: HierarchicalConfig, inputs: int, actions: int) -> None:
        super().__init__()
        self.config = config
        strategies = len(config.strategies)
        bound = config.hidden**-0.5
        self.strategy = nn.Linear(inputs, strategies)
        self.hidden = nn.Linear(inputs, strategies * config.hidden)
        self.weight = nn.Parameter(torch.empty(strategies, config.hidden, actions).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(strategies, 1, actions).uniform_(-bound, bound))
        self.value = nn.Linear(inputs, 1)

    def forward(self, features: Tensor, labels: Tensor | None = None, gains: Tensor | None = None) -> PolicyOutput:
        """From [..., inputs].

        Args:
            features: The core's output.
            labels: Indices of the strategies that were pursued, i64 [...]; below 0 where unknown. Used only in
                training with ``combine="label"``.
            gains: Added to the logits of every action head, [..., actions].
        """
        strategies = len(self.config.strategies)
        hidden = F.elu(self.hidden(features)).flatten(0, -2).view(-1, strategies, self.config.hidden)
        by_strategy = torch.baddbmm(self.bias.to(hidden.dtype), hidden.transpose(0, 1), self.weight.to(hidden.dtype))
        by_strategy = by_strategy.transpose(0, 1).view(*features.shape[:-1], strategies, -1)
        if gains is not None:
            by_strategy = by_strategy + gains.to(by_strategy.dtype)[..., None, :]
        value = in_32_bits(self.value, features).squeeze(-1)
        return combined(
            self.strategy(features), by_strategy, value, self.config.combine, labels if self.training else None
        )


def combined(
    strategy_logits: Tensor, strategywise_logits: Tensor, value: Tensor, combine: Combine, labels: Tensor | None
) -> PolicyOutput:
    """Combines the distributions over actions given each strategy into one.

    Args:
        strategy_logits: [..., strategies].
        strategywise_logits: [..., strategies, actions].
        value: [...].
        combine: How to combine; see :class:`strathack.models.config.HierarchicalConfig`.
        labels: For ``combine="label"``, the strategies, i64 [...]; below 0, or None, for the most likely strategy.
    """
    output = PolicyOutput(strategywise_logits[..., 0, :], value, strategy_logits, strategywise_logits)
    if combine == "mixture":
        return replace(output, action_logits=mixture_log_probs(strategy_logits, strategywise_logits))
    if combine == "values":
        weights = strategy_logits.float().softmax(-1)
        # bf16 would round values by more than rewards are worth.
        with torch.autocast(weights.device.type, enabled=False):
            values = torch.einsum("...k,...ka->...a", weights, strategywise_logits.float())
        return replace(output, action_logits=values)
    if combine == "sampled":
        choice = F.gumbel_softmax(strategy_logits.float(), hard=True)
        logits = torch.einsum("...k,...ka->...a", choice.to(strategywise_logits.dtype), strategywise_logits)
        return replace(output, action_logits=logits, strategy=choice.argmax(-1))
    strategy = strategy_logits.argmax(-1)
    if labels is not None:
        strategy = torch.where(labels >= 0, labels, strategy)
    return replace(output, action_logits=chosen(strategywise_logits, strategy), strategy=strategy)


def mixture_log_probs(strategy_logits: Tensor, strategywise_logits: Tensor) -> Tensor:
    """Returns the exact marginal: log Σₖ p(k) p(a | k).

    Args:
        strategy_logits: [..., strategies].
        strategywise_logits: [..., strategies, actions].

    Returns:
        Log-probabilities, f32 [..., actions]; none is below log 2⁻¹²⁶ = −87.3, since 32 bits hold no smaller
        probability in full precision.
    """
    log_probs: Tensor = _Mixture.apply(strategy_logits, strategywise_logits)
    return log_probs


class _Mixture(torch.autograd.Function):
    """The marginal by sums of probabilities: one exponential for each logit, and none in the backward pass.

    With weights w(a) = gradient of log p(a) / p(a) and q(k) = p(k) Σₐ p(a | k) w(a), the gradients are
    p(a | k) (p(k) w(a) − q(k)) for the logit of a given k, and q(k) − p(k) Σⱼ q(j) for the logit of k.
    """

    @staticmethod
    def forward(ctx: Any, strategy_logits: Tensor, strategywise_logits: Tensor) -> Tensor:
        ctx.dtypes = strategy_logits.dtype, strategywise_logits.dtype
        with torch.autocast(strategy_logits.device.type, enabled=False):
            strategy = strategy_logits.float().softmax(-1)[..., None, :]
            actions = strategywise_logits.to(torch.float32, memory_format=torch.contiguous_format).softmax(-1)
            marginal = (strategy @ actions).clamp_(min=torch.finfo(torch.float32).tiny)
            ctx.save_for_backward(strategy, actions, marginal)
            return marginal.squeeze(-2).log()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        strategy, actions, marginal = ctx.saved_tensors
        with torch.autocast(strategy.device.type, enabled=False):
            weights = gradients[0].float()[..., None, :] / marginal
            probabilities = strategy.transpose(-1, -2)
            own = probabilities * (actions @ weights.transpose(-1, -2))
            for_strategies = (own - probabilities * own.sum(-2, keepdim=True)).squeeze(-1)
            for_actions = (probabilities * weights).sub_(own).mul_(actions)
        return for_strategies.to(ctx.dtypes[0]), for_actions.to(ctx.dtypes[1])


def marginal_log_probs(output: PolicyOutput) -> Tensor:
    """Returns log-probabilities of the actions, marginalised over strategies: f32 [..., actions]."""
    if output.strategy_logits is None or output.strategywise_logits is None:
        return output.action_logits.float().log_softmax(-1)
    return mixture_log_probs(output.strategy_logits, output.strategywise_logits)


def chosen(strategywise: Tensor, strategy: Tensor) -> Tensor:
    """Selects what belongs to one strategy: from [..., strategies, actions] and i64 [...] to [..., actions]."""
    places = strategy[..., None, None].expand(*strategy.shape, 1, strategywise.shape[-1])
    return strategywise.gather(-2, places).squeeze(-2)
