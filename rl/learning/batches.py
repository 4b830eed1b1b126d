"""From unrolls to what a learner takes: tensors [T, B, …] on its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from strathack.models.cores import State
from strathack.rl.acting.inference import joined
from strathack.rl.acting.rollouts import Unroll
from strathack.rl.learning.rewards import Rewards

_OF_STEPS = frozenset({"actions", "strategy", "rewards", "ended", "acted"})


@dataclass(frozen=True)
class Batch:
    """Unrolls of several groups side by side.

    Attributes:
        inputs: What a policy takes, [T + 1, B, …]; see :meth:`strathack.models.policy.Policy.unroll`.
        state: The policy's before the first frame.
        actions: i64 [T, B].
        strategy: What was held, i64 [T, B]; 255 for none.
        chose: Whether it was chosen at that step, bool [T, B].
        log_prob: Of what was done, when it was done, f32 [T, B].
        value: The critic's then, f32 [T, B].
        version: Updates that the weights had then, i64 [T, B].
        rewards: To learn from, f32 [T, B].
        ended: Whether the game ended with the step, bool [T, B].
        acted: Whether an action was taken on a frame, bool [T, B].
        groups: Each env group in it and whether it has begun anew, in order of their lanes.
    """

    inputs: dict[str, Tensor]
    state: State
    actions: Tensor
    strategy: Tensor
    chose: Tensor
    log_prob: Tensor
    value: Tensor
    version: Tensor
    rewards: Tensor
    ended: Tensor
    acted: Tensor
    groups: tuple[tuple[int, bool], ...]

    @property
    def frames(self) -> int:
        """Steps that were played."""
        return int(self.acted.sum())


def assembled(unrolls: Sequence[Unroll], rewards: Rewards, device: torch.device) -> Batch:
    """One batch of several unrolls, which are released.

    Args:
        unrolls: In the order in which they were played.
        rewards: Scales the rewards; it takes them in first.
        device: Where to.
    """
    acts = {name: _beside([unroll.acts[name] for unroll in unrolls]) for name in unrolls[0].acts}
    arrays = {name: _beside([unroll.arrays[name] for unroll in unrolls]) for name in unrolls[0].arrays}
    steps = {name: arrays[name][:-1] for name in _OF_STEPS}
    width = unrolls[0].acts["value"].shape[1]
    for number, unroll in enumerate(unrolls):
        own = slice(number * width, (number + 1) * width)
        # A frame on which nobody acts follows a step with which a game was cut; either begins a sum anew.
        ends = steps["ended"][:, own] | ~arrays["acted"][1:, own]
        rewards.take(unroll.index, steps["rewards"][:, own], ends, begins=unroll.begins)
        unroll.release()
    rewards.settle()
    tensors = {name: torch.from_numpy(array).to(device) for name, array in (acts | steps).items()}
    return Batch(
        inputs={
            name: torch.from_numpy(array).to(device)
            for name, array in arrays.items()
            if name not in _OF_STEPS
        },
        state=joined([unroll.state for unroll in unrolls]),
        actions=tensors["actions"].long(),
        strategy=tensors["strategy"].long(),
        chose=tensors["chose"],
        log_prob=tensors["log_prob"],
        value=tensors["value"],
        version=tensors["version"],
        rewards=torch.from_numpy(rewards.scaled(steps["rewards"])).to(device),
        ended=tensors["ended"],
        acted=tensors["acted"],
        groups=tuple((unroll.index, unroll.begins) for unroll in unrolls),
    )  # fmt: skip


def _beside(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """A copy, so that the arrays may be written again."""
    return np.concatenate(arrays, axis=1)
