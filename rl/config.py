"""What is played, what it is worth and how it is learned from: frozen dataclasses that check themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from strathack.collect.config import parse_seeds, split_list
from strathack.collect.playing.characters import check_character
from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import InputError, near_match
from strathack.models.config import check_at_least
from strathack.rl.schedules import Schedule

FROZEN_PARTS = ("encoder", "core", "strategy", "actions")
"""Parts of a policy that may be kept as they are."""


def check_finite(owner: object, *names: str) -> None:
    """Checks that fields are finite and not below 0.

    Raises:
        InputError: By name of the field.
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name}: {value} is below 0 or not finite")


@dataclass(frozen=True)
class GameConfig:
    """The games that are played.

    Attributes:
        character: Who is played, as NLE writes it: @ (drawn from the seed) or role-race-alignment-gender; by default
            the environment's own.
        keys: Actions by name that may be taken, separated by commas: north,east,south,west,search; by default all.
        seeds: Seeds to draw games from: 0:1000; by default fresh ones.
        max_steps: Steps after which a game is cut; by default none.
        no_progress: Steps without the game's clock moving after which it is cut; 0 for never.
        penalty_step: What a step adds to the reward on which the game's clock does not move; by default the
            environment's own.
        penalty_time: What each turn of the game's clock adds; by default the environment's own.
        penalty_death: What is taken off the reward of a step with which a game ends without success.
    """

    character: str | None = None
    keys: str = ""
    seeds: str = ""
    max_steps: int | None = None
    no_progress: int = 1000
    penalty_step: float | None = None
    penalty_time: float | None = None
    penalty_death: float = 0.0

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: By name of the field.
        """
        if self.character is not None:
            check_character(self.character)
        if self.seeds:
            parse_seeds(self.seeds)
        check_at_least(1, self, *(("max_steps",) if self.max_steps is not None else ()))
        check_at_least(0, self, "no_progress")
        check_finite(self, "penalty_death")
        for name in ("penalty_step", "penalty_time"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name}: {value} is not finite")
        names = self.action_names
        if len(set(names)) < len(names):
            raise InputError("keys: a name occurs twice")
        for name in names:
            if name not in ACTION_NAMES:
                raise InputError(f"keys: {name!r} is unknown{near_match(name, ACTION_NAMES)}")

    @property
    def action_names(self) -> tuple[str, ...]:
        """The actions that may be taken; none stand for all."""
        return tuple(split_list(self.keys))


@dataclass(frozen=True)
class RewardConfig:
    """From an environment's rewards to those that are learned from.

    Attributes:
        scale: What rewards are multiplied by.
        normalise: Divide them by the root mean square of discounted returns so far.
        clip: What their absolute value is cut to, after that; 0 for nothing.
    """

    scale: float = 1.0
    normalise: bool = True
    clip: float = 10.0

    def __post_init__(self) -> None:
        """Checks every field."""
        check_finite(self, "scale", "clip")


@dataclass(frozen=True)
class APPOConfig:
    """How a policy is made better by what it played.

    Attributes:
        unroll: Steps of a stretch that is learned from as a whole.
        batch: Lanes of unrolls in an update; by default as many as there are environments.
        passes: How often each batch is learned from.
        discount: γ.
        trace_decay: λ of V-trace.
        clip_rho: ρ̄ of V-trace.
        clip_c: c̄ of V-trace.
        clip_policy: ε of PPO's policy loss.
        clip_value: How far a value may move from what it was when acting; 0 for anywhere.
        value_weight: Weight of the critic's loss.
        entropy: Weight of the entropy; by default the recipe's.
        normalise_advantages: Give the advantages of a batch mean 0 and standard deviation 1.
        learning_rate: Adam's.
        clip: Largest norm of the gradient.
        critic_warmup: Updates in which the critic alone is trained; by default the recipe's.
        freeze: Parts that are not trained, separated by commas: encoder, core, strategy, actions; by default the
            recipe's.
        hold: Steps for which a strategy that was chosen is kept at least; 0 chooses none.
        max_lag: Updates since a step was played after which it is no longer learned from; by default any number.
    """

    unroll: int = 32
    batch: int | None = None
    passes: int = 1
    discount: float = 0.999
    trace_decay: float = 1.0
    clip_rho: float = 1.0
    clip_c: float = 1.0
    clip_policy: float = 0.1
    clip_value: float = 1.0
    value_weight: float = 0.5
    entropy: float | None = None
    normalise_advantages: bool = False
    learning_rate: float = 1e-4
    clip: float = 4.0
    critic_warmup: int | None = None
    freeze: str | None = None
    hold: int = 0
    max_lag: int | None = None

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: By name of the field.
        """
        check_at_least(1, self, "unroll", "passes", *(("batch",) if self.batch is not None else ()))
        check_at_least(0, self, "hold", *(name for name in ("critic_warmup", "max_lag") if getattr(self, name)))
        check_finite(self, "clip_rho", "clip_c", "clip_policy", "clip_value", "value_weight", "entropy")
        for name in ("discount", "trace_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}: {getattr(self, name)}; expected 0 to 1")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name}: {getattr(self, name)} is not above 0 and finite")
        for part in self.frozen:
            if part not in FROZEN_PARTS:
                raise InputError(f"freeze: {part!r} is unknown{near_match(part, FROZEN_PARTS)}")

    @property
    def frozen(self) -> tuple[str, ...]:
        """Parts that are not trained."""
        return tuple(split_list(self.freeze or ""))


@dataclass(frozen=True)
class ImitationConfig:
    """What keeps a policy from forgetting.

    Weights are a number; linear:0.5:0:10000, from one to another over so many updates; or exponential:0.5:0.99998,
    multiplied with each update, with a floor by option (exponential:0.5:0.99998:0.05).

    Attributes:
        demos: A dataset whose train split is cloned beside every update.
        demos_weight: Weight of the cloning loss; by default the recipe's, or 1 without one that clones.
        demos_lanes: Games side by side in a batch of demonstrations.
        strategy_weight: λ of the cloning loss; see strathack train.
        head_weight: μ of the cloning loss; see strathack train.
        kickstart_weight: Weight of the divergence from a frozen teacher on the states that are played; by default the
            recipe's.
        teacher: The teacher: a checkpoint or a run's folder; by default the policy that is fine-tuned, as it began.
        held_out: A dataset whose validation split tells what is kept of the cloned skill; by default demos.
        direction: forward is KL(teacher ‖ student), reverse KL(student ‖ teacher).
    """

    demos: Path | None = None
    demos_weight: str | None = None
    demos_lanes: int = 32
    strategy_weight: float = 1.0
    head_weight: float = 1.0
    kickstart_weight: str | None = None
    teacher: Path | None = None
    held_out: Path | None = None
    direction: Literal["forward", "reverse"] = "forward"

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: By name of the field, or if a weight contradicts itself.
        """
        check_at_least(1, self, "demos_lanes")
        check_finite(self, "strategy_weight", "head_weight")
        _ = self.demos_schedule, self.kickstart_schedule

    @property
    def demos_schedule(self) -> Schedule:
        """The cloning loss's weight."""
        return Schedule.parse("demos_weight", self.demos_weight or "0")

    @property
    def kickstart_schedule(self) -> Schedule:
        """The divergence's weight."""
        return Schedule.parse("kickstart_weight", self.kickstart_weight or "0")
