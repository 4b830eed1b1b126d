"""A policy with value heads, and the target network that follows it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from strathack.models.cores import State
from strathack.models.heads import PolicyOutput
from strathack.models.offline.options import Algorithm
from strathack.models.policy import Policy

TWINS = 2

TARGET = "target."
"""Prefix of the names of the target network's part of a memory."""


@dataclass(frozen=True)
class Valued:
    """What a policy with value heads says of an unroll.

    Attributes:
        output: The policy's outputs.
        values: The values of the actions, f32 [T, B, heads, actions].
        state_value: The value of the state, f32 [T, B].
    """

    output: PolicyOutput
    values: Tensor
    state_value: Tensor


class ValuedPolicy(nn.Module):
    """A policy, and heads that tell what its actions are worth.

    AWAC has one value function and IQL two, each a linear head beside the policy. For CQL and REM the logits of the
    policy are the values themselves, so that it acts by them; REM's heads deviate from them by linear heads whose mean
    is zero.

    Args:
        policy: The policy.
        algorithm: The algorithm.
        heads: Heads of REM.
    """

    def __init__(self, policy: Policy, algorithm: Algorithm, heads: int) -> None:
        super().__init__()
        self.policy, self.algorithm = policy, algorithm
        self.actions = len(policy.config.actions)
        self.heads = {"awac": 1, "iql": TWINS, "rem": heads}.get(algorithm, 1)
        self.values = None if algorithm == "cql" else nn.Linear(policy.core.size, self.heads * self.actions)

    def forward(
        self, inputs: Mapping[str, Tensor], state: Mapping[str, Tensor], starts: Sequence[int] | None = None
    ) -> tuple[Valued, State]:
        """Processes an unroll; see :meth:`strathack.models.policy.Policy.unroll`."""
        features, gains, after = self.policy.features(inputs, state, starts)
        with torch.autocast(features.device.type, enabled=False):  # as in the mixing of values
            features = features.float()
            output: PolicyOutput = self.policy.heads(features, None, gains)
            logits = output.action_logits[..., None, :]
            if self.values is None:
                return Valued(output, logits, output.value), after
            own = self.values(features).unflatten(-1, (self.heads, self.actions))
        if self.algorithm == "rem":
            own = logits + own - own.mean(-2, keepdim=True)
        return Valued(output, own, output.value), after


class WithTarget(nn.Module):
    """A policy with value heads, and a copy whose weights follow it slowly.

    Args:
        valued: The policy with value heads.
        rate: Share of the weights that the copy takes over at each step.
    """

    def __init__(self, valued: ValuedPolicy, rate: float) -> None:
        super().__init__()
        self.online, self.rate = valued, rate
        self.target = copy.deepcopy(valued).requires_grad_(False)

    def initial_state(self, lanes: int, device: torch.device) -> State:
        """Returns the memories of both before a game."""
        state = self.online.policy.initial_state(lanes, device)
        return state | {f"{TARGET}{name}": value.clone() for name, value in state.items()}

    def train(self, mode: bool = True) -> WithTarget:
        """Sets the mode of the policy; the copy gives its targets without dropout."""
        super().train(mode)
        self.target.eval()
        return self

    def forward(
        self, inputs: Mapping[str, Tensor], state: Mapping[str, Tensor], starts: Sequence[int] | None = None
    ) -> tuple[Valued, Valued, State]:
        """Returns what both say of an unroll, and their memories after it."""
        own = {name: value for name, value in state.items() if not name.startswith(TARGET)}
        slow = {name.removeprefix(TARGET): value for name, value in state.items() if name.startswith(TARGET)}
        online, after = self.online(inputs, own, starts)
        with torch.no_grad():
            target, slow_after = self.target(inputs, slow, starts)
        return online, target, after | {f"{TARGET}{name}": value for name, value in slow_after.items()}

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the target network's weights towards the others."""
        pairs = zip(self.target.parameters(), self.online.parameters(), strict=True)
        targets, sources = zip(*pairs, strict=True)
        torch._foreach_lerp_(list(targets), list(sources), self.rate)
