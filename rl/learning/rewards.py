"""From an environment's rewards to those that are learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from strathack.rl.config import RewardConfig


@dataclass
class ReturnScale:
    """The root mean square of discounted returns, over all that were seen.

    Attributes:
        count: How many returns.
        squares: Sum of their squares.
    """

    count: float = 0.0
    squares: float = 0.0

    def add(self, returns: np.ndarray) -> None:
        """Takes returns in, [...]."""
        self.count += returns.size
        self.squares += float((returns.astype(np.float64) ** 2).sum())

    @property
    def value(self) -> float:
        """Their root mean square; 1 before there are any that are not 0."""
        return (self.squares / self.count) ** 0.5 if self.squares else 1.0


def discounted_sums(rewards: np.ndarray, ends: np.ndarray, before: np.ndarray, discount: float) -> np.ndarray:
    """Discounted sums of the rewards of each game so far: Gₜ = γ Gₜ₋₁ + rₜ, beginning at 0 with each game.

    Args:
        rewards: [T, N].
        ends: Whether a game ended or was cut with a step, bool [T, N].
        before: G before the first step, f64 [N].
        discount: γ.

    Returns:
        f64 [T, N].
    """
    sums = np.empty(rewards.shape, dtype=np.float64)
    for step, reward in enumerate(rewards):
        sums[step] = discount * before + reward
        before = np.where(ends[step], 0.0, sums[step])
    return sums


class Rewards:
    """Scales rewards, one stretch of an env group after the other.

    Args:
        config: How.
        discount: γ of the returns.
        summed: From numbers, f64 [2], to their sums over all who learn together; None for one alone. All of them call
            :meth:`settle` as often.

    Attributes:
        scale: What returns were like so far, everyone's.
    """

    def __init__(
        self, config: RewardConfig, discount: float, summed: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> None:
        self.config, self.scale = config, ReturnScale()
        self._discount, self._summed = discount, summed
        self._new = ReturnScale()
        self._sums: dict[int, np.ndarray] = {}

    def take(self, index: int, rewards: np.ndarray, ends: np.ndarray, *, begins: bool) -> None:
        """Takes in a stretch, for the scale.

        Args:
            index: The env group.
            rewards: [T, N].
            ends: Whether a game ended or was cut with a step, bool [T, N].
            begins: Whether the env group has begun anew.
        """
        if not self.config.normalise:
            return
        before = np.zeros(rewards.shape[1]) if begins or index not in self._sums else self._sums[index]
        sums = discounted_sums(rewards * self.config.scale, ends, before, self._discount)
        self._sums[index] = np.where(ends[-1], 0.0, sums[-1])
        self._new.add(sums)

    def settle(self) -> None:
        """Has what was taken in since the last time, here and by others, count."""
        if not self.config.normalise:
            return
        new = np.array([self._new.count, self._new.squares])
        count, squares = new if self._summed is None else self._summed(new)
        self.scale = ReturnScale(self.scale.count + float(count), self.scale.squares + float(squares))
        self._new = ReturnScale()

    def scaled(self, rewards: np.ndarray) -> np.ndarray:
        """Rewards to learn from, f32 [...]."""
        config = self.config
        result = rewards * config.scale
        if config.normalise:
            result = result / self.scale.value
        return (result.clip(-config.clip, config.clip) if config.clip else result).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """The scale."""
        return {"count": self.scale.count, "squares": self.scale.squares}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self.scale = ReturnScale(**state)
