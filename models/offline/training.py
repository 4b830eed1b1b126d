"""Offline reinforcement learning as a LightningModule: AWAC, IQL, CQL and REM on streams of recorded games."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strathack.dataset import Dataset
from strathack.dataset.devices import TensorBatch, sent
from strathack.dataset.errors import InputError
from strathack.dataset.figures import tells_rewards
from strathack.dataset.schema import ENDS, ORIGINS, TERMINATED_ENDS
from strathack.models.acting import raced, without_draws
from strathack.models.cleaved import AnyPolicy
from strathack.models.config import HierarchicalConfig
from strathack.models.cores import State
from strathack.models.label_tables import LabelTables
from strathack.models.learning import Learned, StreamModule
from strathack.models.losses import discounted_sums, inputs_of, masked_mean, nll_sum, targets_of
from strathack.models.metrics import Result, Tally, result_of, tally
from strathack.models.offline.losses import (
    advantage_weights,
    awac_advantages,
    conservative_gap,
    expectile_loss,
    mixed,
    taken,
    td_targets,
)
from strathack.models.offline.networks import Valued, ValuedPolicy, WithTarget
from strathack.models.options import TrainConfig
from strathack.models.policy import Policy

RETURNS = "returns"
"""In the memory: the discounted sum of the rewards of each lane's game so far, [B]."""

_ONLINE = "networks.online.policy."
_POLICY = "policy."


@dataclass(frozen=True)
class OfflineSums(Tally):
    """Sums over steps.

    Attributes:
        td_steps: Steps whose TD error is known.
        td_error: Sum of their squared TD errors, of all value functions.
        value: Sum of the values of the actions taken.
        weight: Sum of the weights of the steps in the policy's loss; 0 without such weights.
    """

    td_steps: Tensor
    td_error: Tensor
    value: Tensor
    weight: Tensor


@dataclass(frozen=True)
class OfflineResult(Result):
    """What :class:`Result` tells of the policy, and what its values are like.

    Attributes:
        td_error: Mean squared TD error.
        value: Mean value of the actions taken.
        weight: Mean weight of a step in the policy's loss; 0 without such weights.
    """

    td_error: float
    value: float
    weight: float

    def scalars(self) -> dict[str, float]:
        """Returns the numbers by name."""
        return super().scalars() | {name: getattr(self, name) for name in ("td_error", "value", "weight")}


@dataclass(frozen=True)
class Steps:
    """What is known of the steps of a batch, each [T, B].

    Attributes:
        actions: The actions taken, i64; 0 where unknown.
        rewards: Scaled rewards, f32.
        known: Whether the action is known, bool.
        terminated: Whether the game itself is over with the step, bool.
        follows: Whether the step's TD error is known: the game is over, or goes on with the next row, bool.
    """

    actions: Tensor
    rewards: Tensor
    known: Tensor
    terminated: Tensor
    follows: Tensor


@dataclass(frozen=True)
class Parts:
    """The parts of a loss, each a value for every step, [T, B].

    Attributes:
        policy: The policy's loss; counts where the action is known.
        critic: The loss of the values; counts where the TD error is known.
        td_error: The squared TD error.
        weight: The weight of the step in the policy's loss.
    """

    policy: Tensor
    critic: Tensor
    td_error: Tensor
    weight: Tensor


class OfflineModule(StreamModule):
    """Learns from recorded games what actions are worth, and a policy of it.

    Args:
        policy: The policy.
        config: The options.
        tables: Tables from the dataset's codes to the policy's indices.
        dataset: The games, of all splits.
        share_done: Returns the share of the training that is done, 0 to 1.
        about: Plain values to save in checkpoints, which describe the training data.
        log_every: Optimiser steps between logged rows.
    """

    network = "policy"
    monitored = "td_error"
    headline = "TD error"
    # Some algorithms use no value of the state.
    has_idle_parameters = True
    # A small TD error does not make a good policy, so that the last checkpoint is the one to be played.
    keeps_best = False
    config: TrainConfig
    validated: OfflineResult | None

    def __init__(
        self,
        policy: Policy,
        config: TrainConfig,
        tables: LabelTables,
        dataset: Dataset,
        share_done: Callable[[], float],
        about: Mapping[str, Any] | None = None,
        log_every: int = 50,
    ) -> None:
        super().__init__(config, share_done, about, log_every)
        self.policy = policy
        self.networks = WithTarget(
            ValuedPolicy(policy, config.algorithm, config.offline.heads), config.offline.target_rate
        )
        self.label = tables.label
        self._terminated = {split: terminated_games(dataset.select(split=split)) for split in ("train", "validation")}
        for name in ("actions", "strategies"):
            value = getattr(tables, name)
            self.register_buffer(name, None if value is None else torch.from_numpy(value), persistent=False)
        # Of the discounted returns so far: how many, and the sum of their squares.
        self.register_buffer("returns", torch.zeros(2, dtype=torch.float64))

    @property
    def model(self) -> WithTarget:
        """The policy with its value heads, and the target network."""
        return self.networks

    def initial_memory(self, lanes: int) -> State:
        """See :meth:`StreamModule.initial_memory`."""
        return {**self.networks.initial_state(lanes, self.device), RETURNS: torch.zeros(lanes, device=self.device)}

    def learn(self, batch: TensorBatch, memory: State) -> Learned:
        """See :meth:`StreamModule.learn`."""
        targets = targets_of(batch, self.actions, self.strategies, self.label)
        state = {name: value for name, value in memory.items() if name != RETURNS}
        online, slow, after = self.networks(inputs_of(batch, self.actions), state, batch["starts"])
        steps, returns = self._steps(batch, targets.actions, memory[RETURNS])
        parts = self._parts(online, slow, steps)
        policy, critic = masked_mean(parts.policy, steps.known), masked_mean(parts.critic, steps.follows)
        loss = policy + critic
        if online.output.strategy_logits is not None and targets.strategies is not None:
            total, count = nll_sum(online.output.strategy_logits, targets.strategies)
            loss = loss + self.config.strategy_weight * total / count.clamp(min=1)
        with torch.no_grad():
            shown = online.output if self.training else without_draws(online.output, self.policy.config)
            cloned = vars(tally(shown, targets))
            value = taken(online.values.mean(-2), steps.actions)
            sums = {
                "td_steps": steps.follows.sum(),
                "td_error": (parts.td_error * steps.follows).sum(),
                "value": (value * steps.known).sum(),
                "weight": (parts.weight * steps.known).sum(),
            }
        totals = OfflineSums(**cloned, **{name: value.double() for name, value in sums.items()})
        return Learned(loss, online.output.action_logits, totals, {**after, RETURNS: returns})

    def _take_in(self, sums: Tensor, mask: Tensor) -> None:
        """Takes discounted returns into the scale of rewards, those of all processes alike."""
        new = torch.stack([mask.sum(), (sums.double() ** 2 * mask).sum()]).double()
        self.returns += new if self.trainer.world_size == 1 else self.averaged(new)

    def _steps(self, batch: TensorBatch, actions: Tensor, before: Tensor) -> tuple[Steps, Tensor]:
        """Returns what is known of the steps, by the scale with these, and the discounted returns after the last."""
        mask, options = batch["mask"], self.config.offline
        rewards = torch.where(mask, batch["rewards"].float().clamp(min=0), 0.0)
        sums = discounted_sums(rewards, batch["first"].bool(), before, options.discount)
        if self.training:
            self._take_in(sums, mask)
        scale = (self.returns[1] / self.returns[0].clamp(min=1)).sqrt()
        scaled = rewards / torch.where(scale > 0, scale, 1.0).float()
        ended = batch["dones"].bool() & mask
        games = self._terminated["train" if self.training else "validation"]
        terminated = sent(games[batch["game"].clamp(min=0)], mask.device) & ended
        on = torch.cat([mask[1:] & ~batch["first"][1:].bool(), torch.zeros_like(mask[:1])])
        known = actions >= 0
        steps = Steps(
            actions=actions.clamp(min=0),
            rewards=scaled.clamp(max=options.reward_clip),
            known=known,
            terminated=terminated,
            follows=known & (terminated | (on & ~ended)),
        )
        return steps, sums[-1]

    def _parts(self, online: Valued, slow: Valued, steps: Steps) -> Parts:
        by_algorithm: Mapping[str, Callable[[Valued, Valued, Steps], Parts]] = {
            "awac": self._awac, "iql": self._iql, "cql": self._cql, "rem": self._rem,
        }  # fmt: skip
        return by_algorithm[self.config.algorithm](online, slow, steps)

    def _awac(self, online: Valued, slow: Valued, steps: Steps) -> Parts:
        options = self.config.offline
        log_probs = online.output.action_logits.float().log_softmax(-1)
        values = online.values.squeeze(-2)
        with torch.no_grad():
            next_values = of_next(taken(slow.values.squeeze(-2), raced(log_probs.exp())))
            targets = td_targets(steps.rewards, steps.terminated, next_values, options.discount)
            advantages = awac_advantages(values, log_probs, steps.actions)
            weight = advantage_weights(advantages, 1 / options.temperature, options.largest_weight)
        error = (taken(values, steps.actions) - targets) ** 2
        return Parts(-taken(log_probs, steps.actions) * weight, error, error.detach(), weight)

    def _iql(self, online: Valued, slow: Valued, steps: Steps) -> Parts:
        options = self.config.offline
        log_probs = online.output.action_logits.float().log_softmax(-1)
        with torch.no_grad():
            worth = taken(slow.values, steps.actions[..., None].expand(slow.values.shape[:-1])).min(-1).values
            next_values = of_next(online.state_value.detach())
            targets = td_targets(steps.rewards, steps.terminated, next_values, options.discount)
            weight = advantage_weights(worth - online.state_value, options.temperature, options.largest_weight)
        both = taken(online.values, steps.actions[..., None].expand(online.values.shape[:-1]))
        error = ((both - targets[..., None]) ** 2).sum(-1)
        state = expectile_loss(worth - online.state_value, options.expectile)
        return Parts(-taken(log_probs, steps.actions) * weight, error + state, error.detach(), weight)

    def _cql(self, online: Valued, slow: Valued, steps: Steps) -> Parts:
        values = online.values.squeeze(-2)
        error = self._greedy_error(values, slow.values.squeeze(-2), steps)
        gap = conservative_gap(values, steps.actions)
        return Parts(gap, self.config.offline.td_weight * error, error.detach(), torch.zeros_like(error))

    def _rem(self, online: Valued, slow: Valued, steps: Steps) -> Parts:
        weights = torch.rand(online.values.shape[-2], device=online.values.device)
        weights = weights / weights.sum()
        error = self._greedy_error(mixed(online.values, weights), mixed(slow.values, weights), steps)
        nothing = torch.zeros_like(error)
        return Parts(nothing, error, error.detach(), nothing)

    def _greedy_error(self, values: Tensor, slow: Tensor, steps: Steps) -> Tensor:
        """Returns the squared TD error towards the largest value of the next step."""
        next_values = of_next(slow.max(-1).values)
        targets = td_targets(steps.rewards, steps.terminated, next_values, self.config.offline.discount)
        return (taken(values, steps.actions) - targets) ** 2

    def after_step(self) -> None:
        """Moves the target network; see :meth:`StreamModule.after_step`."""
        self.networks.follow()

    def empty(self) -> OfflineSums:
        """See :meth:`StreamModule.empty`."""
        return OfflineSums.empty(len(self.policy.config.strategies))

    def summary(self, sums: OfflineSums) -> OfflineResult:
        """See :meth:`StreamModule.summary`."""
        steps = float(sums.steps) or math.nan
        return OfflineResult(
            **vars(result_of(sums, self.policy.config.strategies)),
            td_error=float(sums.td_error) / (float(sums.td_steps) or math.nan),
            value=float(sums.value) / steps,
            weight=float(sums.weight) / steps,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the policy's weights once; see :meth:`StreamModule.on_save_checkpoint`."""
        super().on_save_checkpoint(checkpoint)
        weights = checkpoint["state_dict"]
        for name in [name for name in weights if name.startswith(_ONLINE)]:
            del weights[name]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the state of a run; see :meth:`StreamModule.on_load_checkpoint`."""
        super().on_load_checkpoint(checkpoint)
        weights = checkpoint["state_dict"]
        own = {name: value for name, value in weights.items() if name.startswith(_POLICY)}
        weights.update({f"{_ONLINE}{name.removeprefix(_POLICY)}": value for name, value in own.items()})


def of_next(values: Tensor) -> Tensor:
    """Returns the value of the next row for each row, [T, B]; the last one's is not known, and 0."""
    return torch.cat([values[1:], torch.zeros_like(values[:1])])


def terminated_games(dataset: Dataset) -> Tensor:
    """Returns of each game whether it was over, rather than cut, bool [games]."""
    codes = [ENDS[name] for name in TERMINATED_ENDS]
    over = np.isin(dataset.rows["end"], codes)
    return torch.from_numpy(over if len(over) else np.zeros(1, bool))


def check_learnable(policy: AnyPolicy, dataset: Dataset, config: TrainConfig) -> Policy:
    """Checks that offline reinforcement learning can use policy, games and options, and returns the policy.

    Raises:
        InputError: If it cannot; the message names what does not fit.
    """
    algorithm = config.algorithm
    if not isinstance(policy, Policy):
        raise InputError(f"algorithm: {algorithm} trains whole policies; a cleaved one can be cloned (bc)")
    if config.ema:
        raise InputError(f"ema: {algorithm} has a target network of its own; leave it out")
    heads = policy.config.heads
    if algorithm in ("cql", "rem") and isinstance(heads, HierarchicalConfig) and heads.combine != "values":
        raise InputError(
            f"heads.combine: {heads.combine}; the logits of {algorithm} are values, --set heads.combine=values"
        )
    if (dataset.rows["origin"] == ORIGINS["screens"]).any():
        raise InputError(f"{config.data[0]}: has games without keys, from which {algorithm} cannot learn")
    for game in dataset:
        if not tells_rewards(game):
            raise InputError(f"{config.data[0]}: {game.name} tells no rewards, from which {algorithm} would learn")
    return policy
