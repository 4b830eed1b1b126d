"""Chooses an action for each lane from a policy's outputs; if configured, keeps a strategy for some steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from strathack.dataset.errors import InputError
from strathack.dataset.schema import BLStat
from strathack.models.cleaved import AnyConfig, AnyPolicy
from strathack.models.config import Combine, HierarchicalConfig
from strathack.models.cores import State
from strathack.models.distinct import Memory, OfDistinct, is_worth_finding, remembering
from strathack.models.heads import PolicyOutput, chosen, marginal_log_probs

WARMEST = 3.0
"""The largest factor by which impatience multiplies the temperature."""

CALMED_BY_TURN = 10
"""Idle steps that a turn makes up for; so that after a circle, what led into it is left behind, too."""


@dataclass(frozen=True)
class ActingConfig:
    """How a policy acts.

    Attributes:
        greedy: Take the most likely choice instead of drawing one.
        min_strategy_steps: Choose a strategy, and keep it for at least this many steps of a game. 0 chooses none:
            actions come from the policy's one distribution over actions. A policy that combines its heads by sampling
            has no such distribution, so for it 0 means 1.
        temperature: Divides the logits of what is drawn: below 1, likely choices become likelier; 1 draws from the
            policy's own distributions.
        patience: Steps in which no turn passes after which the temperature rises, in proportion to their number and up
            to ``WARMEST`` times; 0 for never. A clone that does what its demonstrator never did may go in circles
            through prompts and menus.
    """

    greedy: bool = False
    min_strategy_steps: int = 0
    temperature: float = 1.0
    patience: int = 0

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: If a field is invalid; the message names the field.
        """
        if self.min_strategy_steps < 0:
            raise InputError(f"min_strategy_steps: {self.min_strategy_steps} is below 0")
        if not self.temperature > 0 or math.isinf(self.temperature):
            raise InputError(f"temperature: {self.temperature} is not above 0 and finite")
        if self.patience < 0:
            raise InputError(f"patience: {self.patience} is below 0")
        if self.patience and self.greedy:
            raise InputError("patience: with greedy there is nothing to draw; leave one out")


@dataclass(frozen=True)
class Act:
    """The choices for each lane.

    Attributes:
        action: Indices of the actions, i64 [B].
        strategy: Indices of the strategies pursued, i64 [B]: the strategies held; without holding, those that most
            likely led to the actions. None for a flat policy.
        log_prob: Log-probabilities of the actions; with holding, of the strategies (where chosen anew) and the
            actions. f32 [B].
        chose: Whether the strategy was chosen anew, bool [B]; None without holding.
        output: The policy's outputs.
    """

    action: Tensor
    strategy: Tensor | None
    log_prob: Tensor
    chose: Tensor | None
    output: PolicyOutput


OWN_STATE = frozenset({"held_strategy", "held_steps", "idle_steps", "idle_turn"})
"""The parts of the state that are not the policy's."""


class ActingPolicy:
    """Acts with a policy.

    The state is the policy's; with holding, the strategy held and for how many steps; with patience, the idle steps and
    the turn of the frame before.

    Args:
        policy: The policy; it should be in evaluation mode.
        config: How to act.
        generator: Generator for drawing; None for PyTorch's default.
        remembers: On CPUs, keep what was computed for parts of the screen and the inventory from step to step, as most
            of them are seen again. Then :meth:`forget` is to be called whenever weights have changed.

    Raises:
        InputError: If strategies are to be held, but the policy is flat; or with patience, if it does not see turns.
    """

    def __init__(
        self,
        policy: AnyPolicy,
        config: ActingConfig | None = None,
        generator: torch.Generator | None = None,
        *,
        remembers: bool = False,
    ) -> None:
        self.policy, self.config, self.generator = policy, config or ActingConfig(), generator
        self._memory = Memory()
        on_host = remembers and is_worth_finding(next(policy.parameters()).device)
        self._rememberers = [one for one in policy.modules() if isinstance(one, OfDistinct)] if on_host else []
        if self.config.min_strategy_steps and not policy.config.strategies:
            raise InputError("min_strategy_steps: a flat policy has no strategies to hold")
        if self.config.patience and "blstats" not in policy.config.observations:
            raise InputError("patience: the policy does not see blstats, which count turns")
        self._hold = steps_held(policy.config, self.config)

    @property
    def holds(self) -> bool:
        """Whether strategies are chosen and held, so that a choice is a strategy and an action."""
        return self._hold > 0

    def initial_state(self, lanes: int, device: torch.device | None = None) -> State:
        """Returns the state before a game: name → [B, …]."""
        state = self.policy.initial_state(lanes, device)
        device = next(self.policy.parameters()).device if device is None else device
        names = [*["held_strategy", "held_steps"] * bool(self._hold), *["idle_steps", "idle_turn"] * self._is_patient]
        return state | {name: torch.zeros(lanes, dtype=torch.long, device=device) for name in names}

    def forget(self, modules: Iterable[nn.Module]) -> None:
        """Forgets what the policy's modules computed; to be called with those whose weights have changed."""
        self._memory.forget(modules)

    @property
    def _is_patient(self) -> bool:
        return self.config.patience > 0

    @torch.no_grad()
    def act(
        self, inputs: Mapping[str, Tensor], state: Mapping[str, Tensor], uniforms: Tensor | None = None
    ) -> tuple[Act, State]:
        """Chooses an action for each lane.

        Args:
            inputs: See :meth:`strathack.models.policy.Policy.step`.
            state: The state before the step.
            uniforms: Numbers from [0, 1) that decide what is drawn, one for the strategy and one for the action,
                f32 [B, 2]; by default the generator decides.

        Returns:
            The choices, and the state after the step.
        """
        with remembering(self._rememberers, self._memory):
            of_policy = {name: part for name, part in state.items() if name not in OWN_STATE}
            output, after = self.policy.step(inputs, of_policy)
        temperature: float | Tensor = self.config.temperature
        if self._is_patient:
            turn = inputs["blstats"][:, BLStat.TIME].long()
            idle = idle_steps(turn, state["idle_turn"], state["idle_steps"], inputs["first"].bool())
            after |= {"idle_steps": idle, "idle_turn": turn}
            temperature = temperature * (idle / self.config.patience).clamp(1, WARMEST)
        drawn_from = tempered(output, temperature)
        if not self._hold:
            action = self._chosen(drawn_from.action_logits, uniforms, 1)
            return Act(action, likely_strategy(output, action), log_prob_of(drawn_from, action), None, output), after
        assert drawn_from.strategy_logits is not None
        assert drawn_from.strategywise_logits is not None
        # A strategy that lasts longer than the minimum was chosen again.
        anew = inputs["first"].bool() | (state["held_steps"] >= self._hold) | (state["held_steps"] == 0)
        strategy = torch.where(anew, self._chosen(drawn_from.strategy_logits, uniforms, 0), state["held_strategy"])
        action = self._chosen(chosen(drawn_from.strategywise_logits, strategy), uniforms, 1)
        after |= {"held_strategy": strategy, "held_steps": torch.where(anew, 0, state["held_steps"]) + 1}
        return Act(action, strategy, log_prob_of(drawn_from, action, strategy, anew), anew, output), after

    def _chosen(self, logits: Tensor, uniforms: Tensor | None, column: int) -> Tensor:
        if self.config.greedy:
            return logits.argmax(-1)
        if uniforms is not None:
            return drawn(logits, uniforms[:, column])
        return raced(logits.float().softmax(-1), self.generator)


def raced(probabilities: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draws from distributions by the argmax of p / e, with e from Exp(1), in half the time of ``torch.multinomial``.

    Args:
        probabilities: f32 [..., choices].
        generator: Generator for drawing; None for PyTorch's default.

    Returns:
        The choices, i64 [...].
    """
    return (probabilities / torch.empty_like(probabilities).exponential_(generator=generator)).argmax(-1)


def idle_steps(turn: Tensor, before: Tensor, idle: Tensor, first: Tensor) -> Tensor:
    """Returns for how many steps no turn has passed, less what turns that passed made up for.

    Args:
        turn: The turn, i64 [B].
        before: The turn of the frame before, i64 [B].
        idle: The idle steps up to the frame before, i64 [B].
        first: Whether a game starts at this frame, bool [B].
    """
    passed = (turn != before) | first
    return torch.where(first, 0, torch.where(passed, (idle - CALMED_BY_TURN).clamp(min=0), idle + 1))


def tempered(output: PolicyOutput, temperature: float | Tensor) -> PolicyOutput:
    """Returns a policy's outputs with all logits divided by a temperature, or by one for each lane, [B]."""
    if isinstance(temperature, float) and temperature == 1:
        return output

    def divided(logits: Tensor) -> Tensor:
        if isinstance(temperature, Tensor):
            return logits.float() / temperature.view(-1, *[1] * (logits.ndim - 1))
        return logits.float() / temperature

    logits = {name: value for name, value in vars(output).items() if name.endswith("_logits") and value is not None}
    return replace(output, **{name: divided(value) for name, value in logits.items()})


def drawn(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draws by a number from [0, 1): the first choice at which the cumulative probability exceeds the number.

    Args:
        logits: Unnormalised log-probabilities, [B, choices].
        uniform: The numbers, f32 [B].

    Returns:
        The choices, i64 [B].
    """
    cumulative = logits.float().softmax(-1).cumsum(-1)
    # Rounded probabilities may not sum to 1. Scaled by their sum, a number near 1 draws the last possible choice.
    return torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True).squeeze(-1)


def steps_held(config: AnyConfig, acting: ActingConfig) -> int:
    """Returns the least number of steps for which a strategy is kept; 0 where none is chosen."""
    return max(acting.min_strategy_steps, int(combine_of(config) == "sampled"))


def combine_of(config: AnyConfig) -> Combine | None:
    """Returns how a policy combines its action heads; None for a flat policy."""
    return config.heads.combine if isinstance(config.heads, HierarchicalConfig) else None


def without_draws(output: PolicyOutput, config: AnyConfig) -> PolicyOutput:
    """Returns outputs whose action logits are over all strategies, where they are those of a drawn strategy's head."""
    if combine_of(config) != "sampled":
        return output
    return replace(output, action_logits=marginal_log_probs(output))


def likely_strategy(output: PolicyOutput, action: Tensor) -> Tensor | None:
    """Returns the strategy that most likely led to an action: that of the largest p(strategy) · p(action | strategy).

    Args:
        output: A policy's outputs, [...].
        action: Indices of the actions, i64 [...].

    Returns:
        Indices of the strategies, i64 [...]; None for a flat policy.
    """
    if output.strategy is not None or output.strategy_logits is None:
        return output.strategy
    assert output.strategywise_logits is not None
    by_strategy = output.strategywise_logits.float().log_softmax(-1)
    given = by_strategy.gather(-1, action[..., None, None].expand(*by_strategy.shape[:-1], 1)).squeeze(-1)
    return (output.strategy_logits.float().log_softmax(-1) + given).argmax(-1)


def log_prob_of(
    output: PolicyOutput, action: Tensor, strategy: Tensor | None = None, chose: Tensor | None = None
) -> Tensor:
    """Returns the exact log-probability of what was chosen.

    Args:
        output: A policy's outputs, [...].
        action: Indices of the actions, i64 [...].
        strategy: The strategy that was held, i64 [...]; None without holding.
        chose: Whether the strategy was chosen at this very step, bool [...]; required with ``strategy``.

    Returns:
        Log-probabilities, f32 [...]: of the action, by the policy's one distribution over actions; with a strategy
        held, of the action given the strategy plus, where the strategy was chosen, of the strategy.
    """
    if strategy is None:
        return _log_prob(output.action_logits, action)
    assert output.strategy_logits is not None
    assert output.strategywise_logits is not None
    assert chose is not None
    log_prob = _log_prob(chosen(output.strategywise_logits, strategy), action)
    return log_prob + torch.where(chose, _log_prob(output.strategy_logits, strategy), 0.0)


def entropy_of(output: PolicyOutput, strategy: Tensor | None = None, chose: Tensor | None = None) -> Tensor:
    """Returns the entropy of the choice that :func:`log_prob_of` evaluates, nats, f32 [...]; arguments as there."""
    if strategy is None:
        return _entropy(output.action_logits)
    assert output.strategy_logits is not None
    assert output.strategywise_logits is not None
    assert chose is not None
    entropy = _entropy(chosen(output.strategywise_logits, strategy))
    return entropy + torch.where(chose, _entropy(output.strategy_logits), 0.0)


def _log_prob(logits: Tensor, choice: Tensor) -> Tensor:
    return logits.float().log_softmax(-1).gather(-1, choice[..., None]).squeeze(-1)


def _entropy(logits: Tensor) -> Tensor:
    log_probs = logits.float().log_softmax(-1)
    # A strategy unknown to the high part of a cleaved policy has a log-probability of −∞, and 0 · −∞ would be NaN.
    return -(log_probs.exp() * log_probs.clamp(min=torch.finfo(log_probs.dtype).min)).sum(-1)
