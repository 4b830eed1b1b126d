"""Options of offline reinforcement learning, as a dataclass that checks its own values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from strathack.dataset.codec import Options
from strathack.dataset.errors import InputError
from strathack.dataset.options import check_above_zero, check_at_least

Algorithm = Literal["bc", "awac", "iql", "cql", "rem"]
"""How a policy learns from recorded games: by cloning, or by offline reinforcement learning."""


_USED: Mapping[Algorithm, tuple[str, ...]] = {
    "bc": (),
    "awac": ("discount", "target_rate", "reward_clip", "temperature", "largest_weight"),
    "iql": ("discount", "target_rate", "reward_clip", "temperature", "largest_weight", "expectile"),
    "cql": ("discount", "target_rate", "reward_clip", "td_weight"),
    "rem": ("discount", "target_rate", "reward_clip", "heads"),
}


def used_options(algorithm: Algorithm) -> tuple[str, ...]:
    """Returns the names of those fields of :class:`OfflineConfig` that an algorithm looks at."""
    return _USED[algorithm]


@dataclass(frozen=True)
class OfflineConfig(Options):
    """Options of the algorithms but bc; the defaults are those of Katakomba (Kurenkov et al., 2023).

    Attributes:
        discount: γ.
        target_rate: Share of the weights that the target network takes over at each step.
        temperature: AWAC divides advantages by it, IQL multiplies them by it.
        largest_weight: Largest weight of a step in the policy's loss of AWAC and IQL.
        expectile: The expectile of the action values that IQL's state values follow.
        td_weight: Weight of the squared TD error beside CQL's gap between the values of all actions and the one taken.
        heads: Heads of REM's value function.
        reward_clip: Largest reward, after its division by the root mean square of the discounted returns so far.
            Rewards below 0 count as 0, as they do in Katakomba.
    """

    discount: float = 0.999
    target_rate: float = 0.005
    temperature: float = 1.0
    largest_weight: float = 100.0
    expectile: float = 0.8
    td_weight: float = 1e-4
    heads: int = 200
    reward_clip: float = 10.0

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        for name in ("discount", "target_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name}: {getattr(self, name)}; expected above 0 and at most 1")
        if not 0 < self.expectile < 1:
            raise InputError(f"expectile: {self.expectile}; expected a number between 0 and 1")
        check_above_zero(self, "temperature", "largest_weight", "reward_clip", finite=True)
        check_at_least(0, self, "td_weight")
        check_at_least(2, self, "heads")
