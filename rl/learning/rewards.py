"""Turns an environment's rewards into the rewards that are learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from strathack.models.losses import discounted_sums
from strathack.rl.config import RewardConfig


@dataclass
class ReturnScale:
    """The root mean square of all discounted returns so far.

    Attributes:
        count: Number of returns.
        squares: Sum of the squares of the returns.
    """

    count: float = 0.0
    squares: float = 0.0

    def add(self, returns: np.ndarray) -> None:
        """Adds returns, [...]."""
        self.count += returns.size
        self.squares += float((returns.astype(np.float64) ** 2).sum())

    @property
    def value(self) -> float:
        """The root mean square of the returns; 1 as long as all of them are 0."""
        return (self.squares / self.count) ** 0.5 if self.squares else 1.0


class Rewards:
    """Scales the rewards of env groups, unroll by unroll.

    Args:
        config: How rewards are scaled.
        discount: γ of the returns.
        summed: Maps numbers, f64 [2], to their sums over all learners; None for a single learner. All learners have
            to call :meth:`settle` equally often.

    Attributes:
        scale: The scale of the returns so far, over all learners.
    """

    def __init__(
        self, config: RewardConfig, discount: float, summed: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> None:
        self.config, self.scale = config, ReturnScale()
        self._discount, self._summed = discount, summed
        self._new = ReturnScale()
        self._sums: dict[int, np.ndarray] = {}

    def take(self, index: int, rewards: np.ndarray, ends: np.ndarray, *, begins: bool) -> None:
        """Takes in the rewards of an unroll; they change the scale at the next :meth:`settle`.

        Args:
            index: The index of the env group.
            rewards: [T, N].
            ends: Whether a game ended or was cut with a step, bool [T, N].
            begins: Whether the env group has begun anew.
        """
        if not self.config.normalise:
            return
        before = np.zeros(rewards.shape[1]) if begins or index not in self._sums else self._sums[index]
        scaled, first = (rewards * self.config.scale).astype(np.float64), np.roll(ends, 1, axis=0)
        first[0] = False  # what came before begins at nothing where a game does
        known = torch.from_numpy(scaled), torch.from_numpy(first), torch.from_numpy(before)
        sums = discounted_sums(*known, self._discount).numpy()
        self._sums[index] = np.where(ends[-1], 0.0, sums[-1])
        self._new.add(sums)

    def settle(self) -> None:
        """Updates the scale by what all learners have taken in since the last call."""
        if not self.config.normalise:
            return
        new = np.array([self._new.count, self._new.squares])
        count, squares = new if self._summed is None else self._summed(new)
        self.scale = ReturnScale(self.scale.count + float(count), self.scale.squares + float(squares))
        self._new = ReturnScale()

    def scaled(self, rewards: np.ndarray) -> np.ndarray:
        """Returns rewards to learn from, f32 [...]."""
        config = self.config
        result = rewards * config.scale
        if config.normalise:
            result = result / self.scale.value
        return (result.clip(-config.clip, config.clip) if config.clip else result).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """Returns the scale."""
        return {"count": self.scale.count, "squares": self.scale.squares}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the scale."""
        self.scale = ReturnScale(**state)
