"""Makes batches for a learner from unrolls: tensors [T, B, …] on its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from strathack.dataset.devices import allocate_for, sent
from strathack.dataset.prefetching import Allocate
from strathack.models.cores import State
from strathack.rl.acting.inference import joined
from strathack.rl.acting.memory import OF_STEPS
from strathack.rl.acting.rollouts import Unroll
from strathack.rl.learning.rewards import Rewards


@dataclass(frozen=True)
class Batch:
    """Unrolls of several env groups side by side.

    Attributes:
        inputs: The policy's inputs, [T + 1, B, …]; see :meth:`strathack.models.policy.Policy.unroll`.
        state: The policy's state before the first frame.
        actions: i64 [T, B].
        strategy: The strategy that was held, i64 [T, B]; 255 for none.
        chose: Whether the strategy was chosen at that step, bool [T, B].
        log_prob: Log-probability of what was chosen, at the time of acting, f32 [T, B].
        value: The critic's value at the time of acting, f32 [T, B].
        version: Updates that the weights had had at the time of acting, i64 [T, B].
        rewards: Scaled rewards to learn from, f32 [T, B].
        ended: Whether the game ended with the step, bool [T, B].
        acted: Whether an action was taken on the frame, bool [T, B].
        groups: The index of each env group and whether it has begun anew, in the order of their lanes.
        frames: The number of steps that were played.
        starts: The steps at which a game starts in some lane, of the T + 1 frames.
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
    frames: int
    starts: tuple[int, ...]


def assembled(unrolls: Sequence[Unroll], rewards: Rewards, device: torch.device) -> Batch:
    """Makes one batch of several unrolls, and releases the unrolls.

    Args:
        unrolls: The unrolls, in the order in which they were played.
        rewards: Scales the rewards, after it has taken them into its scale.
        device: The device of the batch.
    """
    allocate = allocate_for(device)
    acts = {name: _beside([unroll.acts[name] for unroll in unrolls], allocate) for name in unrolls[0].acts}
    arrays = {name: _beside([unroll.arrays[name] for unroll in unrolls], allocate) for name in unrolls[0].arrays}
    steps = {name: arrays[name][:-1] for name in OF_STEPS}
    width = unrolls[0].acts["value"].shape[1]
    for number, unroll in enumerate(unrolls):
        own = slice(number * width, (number + 1) * width)
        # If no action is taken on the next frame, the game was cut at this step; like an end, this restarts the sums.
        ends = steps["ended"][:, own] | ~arrays["acted"][1:, own]
        rewards.take(unroll.index, steps["rewards"][:, own], ends, begins=unroll.begins)
        unroll.release()
    rewards.settle()
    tensors = {name: sent(torch.from_numpy(array), device) for name, array in (acts | steps).items()}
    if device.type == "cuda":  # where acting, in a stream of its own, might else reuse the states' memory too early
        for value in (value for unroll in unrolls for value in unroll.state.values()):
            value.record_stream(torch.cuda.current_stream(device))
    return Batch(
        inputs={
            name: sent(torch.from_numpy(array), device)
            for name, array in arrays.items()
            if name not in OF_STEPS
        },
        state=joined([unroll.state for unroll in unrolls]),
        actions=tensors["actions"].long(),
        strategy=tensors["strategy"].long(),
        chose=tensors["chose"],
        log_prob=tensors["log_prob"],
        value=tensors["value"],
        version=tensors["version"],
        rewards=sent(torch.from_numpy(rewards.scaled(steps["rewards"])), device),
        ended=tensors["ended"],
        acted=tensors["acted"],
        groups=tuple((unroll.index, unroll.begins) for unroll in unrolls),
        frames=int(steps["acted"].sum()),
        starts=tuple(np.flatnonzero(arrays["first"].any(1)).tolist()),
    )  # fmt: skip


def _beside(arrays: Sequence[np.ndarray], allocate: Allocate) -> np.ndarray:
    """Returns a copy, so that the arrays may be overwritten."""
    steps, _, *shape = arrays[0].shape
    lanes = sum(array.shape[1] for array in arrays)
    return np.concatenate(arrays, axis=1, out=allocate((steps, lanes, *shape), arrays[0].dtype))
