"""The parts of fine-tuning, and its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_fabric import Fabric
from pytorch_lightning.loggers import Logger

from strathack.models.cleaved import AnyPolicy
from strathack.models.places import LAST
from strathack.models.processes import of_all, own_of, random_states, set_random_states
from strathack.models.running import Run
from strathack.models.saving import policy_values, save_values
from strathack.rl.acting.rollouts import Rollouts
from strathack.rl.learning.imitation import Demos
from strathack.rl.learning.learner import Learner
from strathack.rl.learning.progress import Counters
from strathack.rl.learning.progress_reward import ProgressReward
from strathack.rl.learning.rewards import Rewards
from strathack.rl.options import FinetuneConfig


@dataclass(frozen=True)
class Finetuning:
    """The parts that the loop of fine-tuning uses.

    Attributes:
        run: The options and the run's folder.
        fabric: Devices and processes.
        learner: Trains the policy.
        rollouts: Plays with the policy.
        rewards: Scales rewards.
        progress: Adds a model's reward for progress; None adds none.
        counters: What was done so far.
        held_out: Demonstrations that measure how much of the cloned skill is kept; None measures nothing.
        loggers: Write rows of metrics.
        about: Plain values to keep in checkpoints.
        groups: Number of env groups in a batch.
        threads: Threads for the learner's arithmetic.
    """

    run: Run[FinetuneConfig]
    fabric: Fabric
    learner: Learner
    rollouts: Rollouts
    rewards: Rewards
    progress: ProgressReward | None
    counters: Counters
    held_out: Demos | None
    loggers: list[Logger]
    about: Mapping[str, Any]
    groups: int
    threads: int

    @property
    def policy(self) -> AnyPolicy:
        """The policy that is trained."""
        return self.learner.policy


def save_checkpoint(parts: Finetuning) -> None:
    """Writes the last checkpoint; to be called by every process, since each adds its own state."""
    fabric, learner = parts.fabric, parts.learner
    cpu, *gpu = random_states(fabric.device)
    mine = {
        "demos": None if learner.demonstrations is None else learner.demonstrations.state_dict(),
        "rewards": parts.rewards.state_dict(),
        "rng": cpu,
        "cuda_rng": gpu[0] if gpu else None,
        "counters": parts.counters.to_values(),
    }
    everyone = of_all(mine, fabric.world_size)
    if not fabric.is_global_zero:
        return
    values = {
        **policy_values(parts.policy, parts.about),
        "optimizer": learner.optimizer.state_dict(),
        "counters": parts.counters.to_values(),
        "processes": everyone,
    }
    save_values(parts.run.folder / LAST, values)


def own_state(saved: Mapping[str, Any], fabric: Fabric) -> Mapping[str, Any]:
    """Returns what a checkpoint holds of this process alone.

    Raises:
        InputError: If the run had another number of processes.
    """
    mine: Mapping[str, Any] = own_of(saved["processes"], fabric.global_rank, fabric.world_size)
    return mine


def load_checkpoint(parts: Finetuning, saved: Mapping[str, Any]) -> None:
    """Restores the state that a run had when it was saved, but for the policy and the counters.

    Raises:
        InputError: If the run had another number of processes.
    """
    fabric, learner, mine = parts.fabric, parts.learner, own_state(saved, parts.fabric)
    learner.optimizer.load_state_dict(saved["optimizer"])
    learner.updates = parts.counters.updates
    parts.rewards.load_state_dict(mine["rewards"])
    if learner.demonstrations is not None:
        learner.demonstrations.load_state_dict(mine["demos"], fabric.device)
    states = [mine["rng"], *([] if mine["cuda_rng"] is None else [mine["cuda_rng"]])]
    set_random_states(states, fabric.device)
