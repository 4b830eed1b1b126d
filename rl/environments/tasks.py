"""Tasks with a sparse reward: 1 where the hero first reaches a depth or an experience level, which ends the game.

They are those of Mazoure, Bruce, Precup, Fergus and Anand (2023), and entry points of this package.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
from nle import nethack
from nle.env.base import NLE


class ReachTask(NLE):
    """NLE, with a reward for reaching a number of the bottom line for the first time.

    Attributes:
        blstat: The number's place in ``blstats``.
        least: The value to reach.
    """

    class StepStatus(enum.IntEnum):
        """How a step left the game, in NLE's numbers."""

        ABORTED = -1
        RUNNING = 0
        DEATH = 1
        TASK_SUCCESSFUL = 2

    blstat: int
    least: int

    def _is_episode_end(self, observation: tuple[np.ndarray, ...]) -> StepStatus:
        reached = observation[self._blstats_index][self.blstat] >= self.least
        return self.StepStatus.TASK_SUCCESSFUL if reached else self.StepStatus.RUNNING

    def _reward_fn(self, last_observation: Any, action: int, observation: Any, end_status: Any) -> float:
        return float(end_status == self.StepStatus.TASK_SUCCESSFUL)


class Depth2(ReachTask):
    """Reaching the second level of the dungeon."""

    blstat, least = nethack.NLE_BL_DEPTH, 2


class Depth4(ReachTask):
    """Reaching the fourth level of the dungeon."""

    blstat, least = nethack.NLE_BL_DEPTH, 4


class Level2(ReachTask):
    """Reaching experience level 2."""

    blstat, least = nethack.NLE_BL_XP, 2


class Level4(ReachTask):
    """Reaching experience level 4."""

    blstat, least = nethack.NLE_BL_XP, 4
