"""A cleaved policy has two parts: one chooses the strategy, the other the action given each strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from strathack.dataset.codec import from_plain, to_plain
from strathack.dataset.errors import InputError, near_match
from strathack.models.config import HeadsConfig, HierarchicalConfig, PolicyConfig
from strathack.models.cores import State
from strathack.models.heads import PolicyOutput, combined
from strathack.models.hub import OnHub
from strathack.models.policy import Policy

PARTS = ("high", "low")


@dataclass(frozen=True)
class CleavedConfig:
    """Configuration of a cleaved policy.

    Attributes:
        high: The part that chooses the strategy.
        low: The part that chooses the action given each strategy; its strategies, its way to combine heads and its
            values are also those of the whole policy.
        frozen: Names of the parts that are not trained, of ``high`` and ``low``.
    """

    high: PolicyConfig
    low: PolicyConfig
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks that the two parts fit together.

        Raises:
            InputError: If they do not.
        """
        for part in PARTS:
            if not getattr(self, part).strategies:
                raise InputError(f"{part}: a flat policy; expected one with strategies")
        for part in self.frozen:
            if part not in PARTS:
                raise InputError(f"freeze: {part!r} is unknown{near_match(part, PARTS)}")
        missing = [name for name in self.high.strategies if name not in self.low.strategies]
        if missing:
            raise InputError(f"low: has no action head for {', '.join(missing)}, which high may choose")
        if self.high.actions != self.low.actions:
            raise InputError(f"low: {len(self.low.actions)} actions, others than the {len(self.high.actions)} of high")

    @property
    def actions(self) -> tuple[str, ...]:
        """The names of the actions, in order of their indices."""
        return self.low.actions

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies."""
        return self.low.strategies

    @property
    def label(self) -> str | None:
        """The label that gives the strategy pursued at each step."""
        return self.high.label

    @property
    def heads(self) -> HeadsConfig:
        """The heads that choose actions."""
        return self.low.heads

    @property
    def is_legacy(self) -> bool:
        """Whether either part is; see :class:`PolicyConfig`."""
        return self.high.is_legacy or self.low.is_legacy

    @property
    def observations(self) -> tuple[str, ...]:
        """Observation keys that either part needs."""
        return tuple(dict.fromkeys((*self.high.observations, *self.low.observations)))

    def to_values(self) -> dict[str, Any]:
        """Returns plain values."""
        values: dict[str, Any] = to_plain(self)
        return values


class CleavedPolicy(nn.Module, OnHub):
    """Two policies that act as one; see :class:`CleavedConfig`. Has the methods of :class:`Policy`.

    Args:
        config: Its configuration.
    """

    def __init__(self, config: CleavedConfig) -> None:
        super().__init__()
        self.config = config
        self.about = {}
        self.high, self.low = Policy(config.high), Policy(config.low)
        for part in config.frozen:
            getattr(self, part).requires_grad_(False)
        places = [config.low.strategies.index(name) for name in config.high.strategies]
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self.train()

    def train(self, mode: bool = True) -> CleavedPolicy:
        """Sets the mode, as for any module; but a frozen part stays in evaluation mode, without dropout."""
        super().train(mode)
        for part in self.config.frozen:
            getattr(self, part).eval()
        return self

    def initial_state(self, lanes: int, device: torch.device | None = None) -> State:
        """See :meth:`Policy.initial_state`."""
        states = {part: getattr(self, part).initial_state(lanes, device) for part in PARTS}
        return {f"{part}.{name}": value for part, state in states.items() for name, value in state.items()}

    def unroll(
        self,
        inputs: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        labels: Tensor | None = None,
        starts: Sequence[int] | None = None,
    ) -> tuple[PolicyOutput, State]:
        """See :meth:`Policy.unroll`."""
        outputs: dict[str, PolicyOutput] = {}
        after: State = {}
        for part in PARTS:
            own = {name.removeprefix(f"{part}."): value for name, value in state.items() if name.startswith(f"{part}.")}
            outputs[part], new = getattr(self, part).unroll(inputs, own, starts=starts)
            after |= {f"{part}.{name}": value for name, value in new.items()}
        return self._joined(outputs["high"], outputs["low"], labels if self.training else None), after

    def step(self, inputs: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[PolicyOutput, State]:
        """See :meth:`Policy.step`."""
        output, after = self.unroll({name: value[None] for name, value in inputs.items()}, state)
        return output.at(0), after

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        labels: Tensor | None = None,
        starts: Sequence[int] | None = None,
    ) -> tuple[PolicyOutput, State]:
        """The same as :meth:`unroll`."""
        return self.unroll(inputs, state, labels, starts)

    def _joined(self, high: PolicyOutput, low: PolicyOutput, labels: Tensor | None) -> PolicyOutput:
        assert high.strategy_logits is not None
        assert low.strategy_logits is not None
        assert low.strategywise_logits is not None
        # Strategies that the high part does not know are never chosen.
        logits = torch.full_like(low.strategy_logits, -torch.inf, dtype=high.strategy_logits.dtype)
        logits = logits.index_copy(-1, self.places, high.strategy_logits)
        heads = self.config.low.heads
        assert isinstance(heads, HierarchicalConfig)
        return combined(logits, low.strategywise_logits, low.value, heads.combine, labels)


AnyConfig = PolicyConfig | CleavedConfig
AnyPolicy = Policy | CleavedPolicy


def in_training_mode(policy: AnyPolicy) -> bool:
    """Returns whether all modules of trained parts are in training mode, and no module of a frozen part is."""
    frozen = policy.config.frozen if isinstance(policy.config, CleavedConfig) else ()
    still = {module for part in frozen for module in getattr(policy, part).modules()}
    return all(module.training != (module in still) for module in policy.modules())


def make_policy(config: AnyConfig) -> AnyPolicy:
    """Makes the policy of a configuration, with fresh weights."""
    return CleavedPolicy(config) if isinstance(config, CleavedConfig) else Policy(config)


def config_from_values(values: Mapping[str, Any]) -> AnyConfig:
    """The inverse of either configuration's ``to_values``.

    Raises:
        InputError: If the values describe no configuration.
    """
    return from_plain(CleavedConfig, values) if "high" in values else PolicyConfig.from_values(values)
