"""The auxiliary reward of a model of progress: by how much a frame is later than the one some steps before it.

Bruce et al., "Learning About Progress From Experts", 2023: a policy that goes on as experts do sees frames that look
later and later.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from strathack.dataset.errors import InputError
from strathack.models.cores import steps_since
from strathack.models.losses import masked_mean
from strathack.models.places import checkpoint_at
from strathack.models.pretraining.networks import ProgressModel, load_progress
from strathack.models.saving import load_plain_values
from strathack.rl.config import RewardConfig
from strathack.rl.learning.batches import Batch


class ProgressReward:
    """Adds W · g(s of ``lag`` steps before, s) to the reward of the step that leads to s.

    Games that are younger than the lag, and steps that end a game, get nothing.

    Args:
        model: g, in evaluation mode.
        weight: W.
        lag: Steps between the two frames.
    """

    def __init__(self, model: ProgressModel, weight: float, lag: int) -> None:
        self.model, self.weight, self.lag = model, weight, lag
        self._memories: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def observations(self) -> tuple[str, ...]:
        """Observation keys that the model needs."""
        return self.model.config.observations

    def added(self, batch: Batch) -> tuple[Batch, dict[str, Tensor]]:
        """Returns the batch with the reward added, and metrics of it.

        Args:
            batch: A batch, whose unrolls follow those of earlier batches.
        """
        progress = self.of(batch)
        metrics = {
            "reward/progress": masked_mean(progress, batch.acted),
            "reward/task": masked_mean(batch.rewards, batch.acted),
        }
        return replace(batch, rewards=batch.rewards + self.weight * progress), metrics

    @torch.no_grad()
    def of(self, batch: Batch) -> Tensor:
        """Returns what the model says of each step, f32 [T, B]; 0 where the game is younger than the lag."""
        first = batch.inputs["first"].bool()
        rows, lanes = first.shape
        frames = {key: batch.inputs[key].flatten(0, 1) for key in self.observations}
        encoded = self.model.encode(frames, lanes).unflatten(0, (rows, lanes)).float()
        width = lanes // len(batch.groups)
        parts = [
            self._of_group(index, begins, encoded[:, own], first[:, own])
            for number, (index, begins) in enumerate(batch.groups)
            for own in (slice(number * width, (number + 1) * width),)
        ]
        return torch.cat(parts, 1)

    def _of_group(self, index: int, begins: bool, encoded: Tensor, first: Tensor) -> Tensor:
        """Returns what the model says of each step of an env group, and keeps what its next unroll needs."""
        rows, lanes, size = encoded.shape
        known = None if begins else self._memories.get(index)
        before, age = known or (encoded.new_zeros(self.lag, lanes, size), first.new_zeros(lanes, dtype=torch.int64))
        ages = steps_since(first, age)
        together = torch.cat([before, encoded])
        # The last row is the first one of the next unroll.
        self._memories[index] = together[rows - 1 : rows - 1 + self.lag], ages[-1]
        said = self.model.between(together[1:rows], encoded[1:])
        return torch.where(ages[1:] >= self.lag, said, 0.0)


def progress_reward_of(config: RewardConfig, device: torch.device) -> ProgressReward | None:
    """Returns the auxiliary reward that the options ask for, if they ask for one.

    Raises:
        InputError: If there is no model of progress, or the lag is longer than what it was trained on.
        FormatError: If the file is no checkpoint of a run of ``pretrain``.
    """
    if config.progress is None:
        return None
    model = load_progress(config.progress, device)
    _check_lag(config.progress, config.progress_lag, model)
    return ProgressReward(model, config.progress_weight, config.progress_lag)


def _check_lag(path: Path, lag: int, model: ProgressModel) -> None:
    longest = load_plain_values(checkpoint_at(path))["about"].get("longest_game", model.config.longest)
    if lag > model.config.longest:
        raise InputError(
            f"progress_lag: {lag} steps; {path} has learned from frames at most {model.config.longest} apart"
        )
    if lag >= longest:
        raise InputError(f"progress_lag: {lag} steps; the longest game that {path} has learned from has {longest}")
