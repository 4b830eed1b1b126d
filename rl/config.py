"""Settings of games, rewards, learning and imitation: frozen dataclasses that check themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from strathack.collect.playing.characters import CharacterWish
from strathack.collect.playing.seeds import Seeds
from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.codec import Options, TextValue, split_list
from strathack.dataset.errors import InputError, near_match
from strathack.dataset.options import check_above_zero, check_at_least
from strathack.rl.schedules import Schedule
from strathack.text.describing import Dialect

FROZEN_PARTS = ("encoder", "core", "strategy", "actions")
"""Parts of a policy that can be frozen, that is, not trained."""


class ActionNames(TextValue, tuple[str, ...]):
    """Names of actions, without duplicates; an empty tuple stands for all actions."""

    @classmethod
    def parse(cls, text: str) -> ActionNames:
        """Reads names separated by commas: ``north,east,search``.

        Raises:
            InputError: If a name is unknown or occurs twice.
        """
        names = split_list(text)
        if len(set(names)) < len(names):
            raise InputError("a name occurs twice")
        for name in names:
            if name not in ACTION_NAMES:
                raise InputError(f"{name!r} is unknown{near_match(name, ACTION_NAMES)}")
        return cls(names)

    def __str__(self) -> str:
        """The inverse of :meth:`parse`."""
        return ",".join(self)


ALL_ACTIONS = ActionNames()
"""The empty tuple, which stands for all actions."""


class FrozenParts(TextValue, tuple[str, ...]):
    """Parts of a policy that are not trained; see ``FROZEN_PARTS``."""

    @classmethod
    def parse(cls, text: str) -> FrozenParts:
        """Reads names of parts separated by commas.

        Raises:
            InputError: If a name is unknown.
        """
        parts = split_list(text)
        for part in parts:
            if part not in FROZEN_PARTS:
                raise InputError(f"{part!r} is unknown{near_match(part, FROZEN_PARTS)}")
        return cls(parts)

    def __str__(self) -> str:
        """The inverse of :meth:`parse`."""
        return ",".join(self)


def check_finite(owner: object, *names: str) -> None:
    """Checks that fields are finite and not below 0.

    Raises:
        InputError: If one is not; the message names it.
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name}: {value} is below 0 or not finite")


Prompt = Literal["balrog", "diff"]
"""The forms in which language models are asked: as BALROG asks, or by a history as ``text export`` writes them."""

ANSWER_TOKENS: Mapping[Prompt, int] = {"balrog": 8192, "diff": 32}
"""How many tokens an answer may have by default; BALROG lets models think."""


@dataclass(frozen=True)
class LanguageConfig(Options):
    """How a language model is asked.

    Attributes:
        history: Observations that it sees: the current one, and the ones before.
        dialect: fair, which tells what a player can see; or wrapper, byte for byte what nle-language-wrapper gives.
        max_tokens: Tokens that an answer may have; by default 8192, and 32 for diff.
        timeout: Seconds to wait for an answer.
        tries: How often a server is asked before the game is cut.
        key_from: The environment variable with the server's key; the key is written nowhere.
    """

    history: int = 16
    dialect: Dialect = "fair"
    max_tokens: int | None = None
    timeout: float = 120.0
    tries: int = 8
    key_from: str = "OPENAI_API_KEY"

    def __post_init__(self) -> None:
        """Checks every option.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        check_at_least(1, self, "history", "max_tokens", "tries")
        check_above_zero(self, "timeout", finite=True)


@dataclass(frozen=True)
class GameConfig(Options):
    """The games that are played.

    Attributes:
        character: The character to play, in NLE's notation: @ (drawn from the seed) or role-race-alignment-gender; by
            default the environment's own.
        actions: Actions that may be taken, separated by commas: north,east,south,west,search; by default all.
        seeds: Seeds to draw games from: 0:1000; by default fresh seeds.
        max_steps: Number of steps after which a game is cut off; no limit by default.
        no_progress: Steps after which a game is cut off if its turn counter does not advance; 0 for no limit.
        penalty_step: Added to the reward of a step on which the game's turn counter does not advance; by default the
            environment's own.
        penalty_time: Added to the reward for each turn of the game; by default the environment's own.
        penalty_death: Subtracted from the reward of a step that ends a game without success.
    """

    renamed: ClassVar[Mapping[str, str]] = {"keys": "actions"}

    character: CharacterWish | None = None
    actions: ActionNames = ALL_ACTIONS
    seeds: Seeds = Seeds()
    max_steps: int | None = None
    no_progress: int = 1000
    penalty_step: float | None = None
    penalty_time: float | None = None
    penalty_death: float = 0.0

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: If a field is wrong; the message names it.
        """
        super().__post_init__()
        check_at_least(1, self, "max_steps")
        check_at_least(0, self, "no_progress")
        check_finite(self, "penalty_death")
        for name in ("penalty_step", "penalty_time"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name}: {value} is not finite")


@dataclass(frozen=True)
class RewardConfig(Options):
    """How an environment's rewards become the rewards that are learned from.

    Attributes:
        scale: Factor by which rewards are multiplied.
        normalise: Divide rewards by the root mean square of the discounted returns so far.
        clip: Largest absolute value of a reward, applied last; 0 for no limit.
        progress: A run of pretrain whose model of progress gives a further reward: by how much each frame is later than
            the one some steps before it.
        progress_weight: Weight of that reward, beside the environment's as it is learned from.
        progress_lag: Steps between the two frames.
    """

    moved: ClassVar[tuple[str, ...]] = ("progress",)
    """Options that are paths, which may be given anew when a run is resumed."""

    scale: float = 1.0
    normalise: bool = True
    clip: float = 10.0
    progress: Path | None = None
    progress_weight: float = 0.01
    progress_lag: int = 32

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: If a field is wrong; the message names it.
        """
        super().__post_init__()
        check_finite(self, "scale", "clip", "progress_weight")
        check_at_least(1, self, "progress_lag")


@dataclass(frozen=True)
class APPOConfig(Options):
    """How a policy learns from the games that it played.

    Attributes:
        unroll: Steps of an unroll, a stretch of play that is learned from as a whole.
        batch: Number of lanes in a batch; by default as many as there are environments.
        passes: How many times each batch is learned from.
        discount: γ.
        trace_decay: λ of V-trace.
        clip_rho: ρ̄ of V-trace.
        clip_c: c̄ of V-trace.
        clip_policy: ε of PPO's policy loss.
        clip_value: How far a value may move from what it was when acting; 0 for no limit.
        value_weight: Weight of the critic's loss.
        entropy: Weight of the entropy; by default the recipe's.
        normalise_advantages: Give the advantages of a batch mean 0 and standard deviation 1.
        learning_rate: Adam's learning rate.
        critic_learning_rate: That of the critic's own layer, which a clone has not trained yet; by default the same.
        clip: Largest norm of the gradient.
        critic_warmup: Number of first updates, which train the critic alone; by default the recipe's.
        freeze: Parts of the policy that are not trained, separated by commas: encoder, core, strategy, actions; by
            default the recipe's.
        min_strategy_steps: Smallest number of steps for which a chosen strategy is kept; 0 chooses none.
        max_lag: Largest number of updates between playing a step and learning from it; older steps are left out.
            By default there is no limit.
    """

    renamed: ClassVar[Mapping[str, str]] = {"hold": "min_strategy_steps"}

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
    critic_learning_rate: float | None = None
    clip: float = 4.0
    critic_warmup: int | None = None
    freeze: FrozenParts | None = None
    min_strategy_steps: int = 0
    max_lag: int | None = None

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: If a field is wrong; the message names it.
        """
        super().__post_init__()
        check_at_least(1, self, "unroll", "passes", "batch")
        check_at_least(0, self, "min_strategy_steps", "critic_warmup", "max_lag")
        check_finite(self, "clip_rho", "clip_c", "clip_policy", "clip_value", "value_weight", "entropy")
        for name in ("discount", "trace_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}: {getattr(self, name)}; expected 0 to 1")
        check_above_zero(self, "learning_rate", "critic_learning_rate", "clip", finite=True)
        if self.critic_warmup and not self.value_weight:
            raise InputError("value_weight: 0, though the critic alone is trained at first; leave critic_warmup out")


@dataclass(frozen=True)
class ImitationConfig(Options):
    """What keeps a policy from forgetting.

    A weight is a number; linear:0.5:0:10000, from 0.5 to 0 over 10000 updates; or exponential:0.5:0.99998, which
    starts at 0.5 and is multiplied by 0.99998 with each update, optionally with a floor (exponential:0.5:0.99998:0.05).

    Attributes:
        demos: A dataset whose train split is cloned alongside every update.
        demos_weight: Weight of the cloning loss; by default the recipe's, or 1 if demos are given and the recipe
            does not clone.
        demos_lanes: Games side by side in a batch of demonstrations.
        strategy_weight: λ of the cloning loss; see strathack train.
        head_weight: μ of the cloning loss; see strathack train.
        kickstart_weight: Weight of the divergence from a frozen teacher on the steps that are played; by default the
            recipe's.
        teacher: The teacher: a checkpoint or a run's folder; by default the policy that the run begins with.
        held_out: A dataset whose validation split measures how much of the cloned skill is kept; by default demos.
        direction: Divergence from the teacher: forward is KL(teacher ‖ student), reverse is KL(student ‖ teacher).
    """

    moved: ClassVar[tuple[str, ...]] = ("demos", "held_out", "teacher")
    """Options that are paths, which may be given anew when a run is resumed."""

    demos: Path | None = None
    demos_weight: Schedule | None = None
    demos_lanes: int = 32
    strategy_weight: float = 1.0
    head_weight: float = 1.0
    kickstart_weight: Schedule | None = None
    teacher: Path | None = None
    held_out: Path | None = None
    direction: Literal["forward", "reverse"] = "forward"

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: If a field is wrong; the message names it.
        """
        super().__post_init__()
        check_at_least(1, self, "demos_lanes")
        check_finite(self, "strategy_weight", "head_weight")

    @property
    def clones(self) -> bool:
        """Whether demonstrations are cloned at any time during the run."""
        return self.demos_weight is not None and self.demos_weight.is_ever_above_zero

    @property
    def kickstarts(self) -> bool:
        """Whether the policy is kept near a teacher at any time during the run."""
        return self.kickstart_weight is not None and self.kickstart_weight.is_ever_above_zero
