"""The options of ``strathack finetune`` and ``strathack evaluate``, which check themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from strathack.collect.options import GameOptions
from strathack.collect.playing.characters import ANY_CHARACTER, CharacterWish, Roles, combinations_of
from strathack.collect.playing.limits import NO_PROGRESS_TIMEOUT
from strathack.collect.playing.seeds import Seeds
from strathack.dataset.errors import InputError
from strathack.dataset.options import WorkerOptions, check_above_zero, check_at_least, given
from strathack.models.options import PolicyRunOptions, check_nothing_else_is_given
from strathack.rl.config import (
    ANSWER_TOKENS,
    APPOConfig,
    GameConfig,
    ImitationConfig,
    LanguageConfig,
    Prompt,
    RewardConfig,
)
from strathack.rl.protocols import PROTOCOLS, Protocol
from strathack.rl.recipes import recipe_named
from strathack.rl.schedules import Schedule

DEFAULT_FRAMES = 10_000_000
DEFAULT_GAMES = 128


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(PolicyRunOptions, WorkerOptions):
    """Trains a policy on the games that it plays, together with imitation.

    Attributes:
        run: The run or checkpoint to begin with; without one, training begins with fresh weights. Of a run of pretrain,
            the encoder, in a policy that policy and set name.
        env: A gymnasium id of NLE or MiniHack, the name of an entry point, or package.module:callable.
        policy: The name of a policy, if no run is given; "strathack models" lists them.
        recipe: A set of settings by name: scratch, hihack or kickstart. Options that are given override it.
        game: The games that are played.
        reward: How rewards are scaled.
        appo: How the policy learns.
        imitation: What keeps the policy from forgetting.
        workers: Rollout workers of each learner: Ray processes that step environments; by default one per core. 0
            steps the environments in this process.
        env_groups: Env groups of each rollout worker: environments that are stepped together. The groups take turns.
        envs: Environments in each env group.
        frames: End after this many frames, including those from before a run was resumed; by default 10,000,000, or
            no limit if minutes are given.
        minutes: End after this many minutes.
        checkpoint_every: Updates between checkpoints.
        log_every: Updates between rows of metrics.csv.
        validate_every: Updates between validations on held-out demonstrations, which measure how much of the cloned
            skill is kept; 0 for none.
        save_games: A dataset folder for the games that are played, with the policy's strategies as labels.
        hang_seconds: Seconds without an answer after which a rollout worker counts as hung and is replaced.
        threads: Threads for the learner's arithmetic; by default one per core, since acting has priority over it.
        precision: The learner's arithmetic; auto is bf16 on GPUs and 32 elsewhere.
        device: Where to learn and act; auto uses GPUs if there are any.
        devices: Number of GPUs, or of processes on the CPU, each with its own rollout workers.
        nodes: Number of machines, each started with torchrun.
        seed: Decides fresh weights, the games' seeds and the order of demonstrations.
    """

    budget: ClassVar[tuple[str, ...]] = ("frames", "minutes")
    moved: ClassVar[tuple[str, ...]] = ("imitation", "reward")
    renamed: ClassVar[Mapping[str, str]] = {"actors": "workers", "slices": "env_groups"}

    run: list[Path] = field(default_factory=list)
    env: str = "NetHackChallenge-v0"
    recipe: str | None = None
    game: GameConfig = GameConfig()
    reward: RewardConfig = RewardConfig()
    appo: APPOConfig = APPOConfig()
    imitation: ImitationConfig = ImitationConfig()
    env_groups: int = 2
    envs: int = 8
    frames: int | None = None
    checkpoint_every: int = 500
    log_every: int = 10
    save_games: Path | None = None
    hang_seconds: float = 60.0
    threads: int | None = None
    nodes: int = 1

    def __post_init__(self) -> None:
        """Checks every option and that the options go together; fills in the recipe's settings.

        Raises:
            InputError: If an option is wrong; the message names it.
        """
        super().__post_init__()
        check_at_least(1, self, "env_groups", "envs", "nodes", "threads")
        check_above_zero(self, "hang_seconds")
        if self.resume is not None:
            for group in (self.imitation, self.reward):
                check_nothing_else_is_given(group, (), self.budget, group.moved)  # paths may be new
            return
        if len(self.run) > 1:
            raise InputError(f"run: {len(self.run)} are given; expected one run or checkpoint to begin with")
        self._fill_in()
        self._check_imitation()

    def _fill_in(self) -> None:
        recipe = recipe_named(self.recipe or ("hihack" if self.imitation.demos is not None else "scratch"))
        own = {"entropy": recipe.entropy, "freeze": recipe.freeze, "critic_warmup": recipe.critic_warmup}
        clones = recipe.demos_weight.is_ever_above_zero or self.imitation.demos is None
        demos_weight = recipe.demos_weight if clones else Schedule(weight=1.0)
        kept = {"demos_weight": demos_weight, "kickstart_weight": recipe.kickstart_weight}
        for name, values in (("appo", own), ("imitation", kept)):
            config = getattr(self, name)
            missing: dict[str, Any] = {key: value for key, value in values.items() if getattr(config, key) is None}
            try:
                object.__setattr__(self, name, replace(config, **missing))
            except InputError as error:  # a value that is given does not go with the recipe
                raise InputError(f"{name}.{error}") from None

    def _check_imitation(self) -> None:
        imitation = self.imitation
        if imitation.demos is None and imitation.clones:
            raise InputError(f"imitation.demos: demos_weight is {imitation.demos_weight}, and no dataset is given")
        if imitation.demos is not None and not imitation.clones:
            raise InputError("imitation.demos_weight: 0, though demos are given; leave them out")
        if imitation.kickstarts and imitation.teacher is None and not self.run:
            raise InputError("imitation.teacher: none is given, and no run to begin with that could be it")
        if self.validate_every and imitation.demos is None and imitation.held_out is None:
            raise InputError("validate_every: no dataset is given to validate on; give demos or held_out")
        if imitation.teacher is not None and not imitation.kickstarts:
            raise InputError("imitation.kickstart_weight: 0, though a teacher is given; leave it out, or set a weight")

    def check_used(self) -> None:
        """Checks that what is asked of a new run has an effect.

        Raises:
            InputError: If an option has none.
        """
        imitation, reward = self.imitation, self.reward
        if imitation.held_out is not None and not self.validate_every:
            raise InputError("imitation.held_out: nothing is measured on it; set validate_every, or leave it out")
        if imitation.direction != ImitationConfig.direction and not imitation.kickstarts:
            raise InputError("imitation.direction: there is no teacher to be near to; kickstart_weight is 0")
        for name in () if imitation.clones else given(imitation, "strategy_weight", "head_weight"):
            raise InputError(f"imitation.{name}: nothing is cloned; imitation.demos names a dataset to clone")
        if imitation.demos is None and imitation.held_out is None and given(imitation, "demos_lanes"):
            raise InputError("imitation.demos_lanes: there are no demonstrations; demos or held_out names a dataset")
        for name in () if reward.progress is not None else given(reward, "progress_weight", "progress_lag"):
            raise InputError(f"reward.{name}: there is no reward for progress; progress names a run of pretrain")

    @property
    def learners(self) -> int:
        """The number of processes that learn side by side."""
        return self.devices * self.nodes

    def continued(self, now: FinetuneConfig) -> FinetuneConfig:
        """See :meth:`RunOptions.continued`; the paths that imitation and rewards read may be new, too.

        Raises:
            InputError: If a model of progress is named that the run does not have.
        """
        if now.reward.progress is not None and self.reward.progress is None:
            raise InputError("reward.progress: the run has no model of progress that could have moved")
        imitation, reward = (
            {name: place for name in group.moved if (place := getattr(group, name)) is not None}
            for group in (now.imitation, now.reward)
        )
        return replace(
            super().continued(now),
            imitation=replace(self.imitation, **imitation),
            reward=replace(self.reward, **reward),
        )


LANGUAGE_MODEL = "llm:"
"""What the name of a player that is a language model begins with."""

FIRST_EVALUATED_SEED = 100_000
"""The first seed of evaluations by default, far from the seeds that demonstrations are collected from."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(GameOptions, WorkerOptions):
    """Plays games to see how good a player is: every seed once, each game to its end.

    Attributes:
        what: The player: a run's folder, a checkpoint, a published policy (its name, its folder or its address,
            hf://user/name@revision), autoascend, a bot's folder, package.module:callable, random, or a language model,
            llm:http://host:port/v1 or llm:FOLDER.
        out: The folder for scores.parquet, evaluation.json and the games' keys.
        protocol: Keep to the seeds, limits and way to act of others' evaluations, so that figures stand beside theirs:
            balrog, hihack, or katakomba, which is of one character.
        games: Number of games; by default 128, or as many as there are seeds.
        seeds: Seeds to play, numbers and half-open ranges: 100000:101024; by default one per game, from 100000 on.
        greedy: Let a policy take the most likely action instead of drawing one.
        temperature: Divide the logits that a policy draws from by this; below 1, likely choices become likelier. By
            default 1, or what was published with the policy.
        patience: Raise a policy's temperature once no turn has passed for this many steps, so that it gets out of
            circles through prompts; 0 never does. By default 0, or what was published with the policy.
        model: The name of a language model on its server.
        prompt: How a language model is asked: balrog, as that benchmark asks, or diff, by a history as "text export"
            writes them.
        language: Further options of language models.
        min_strategy_steps: Let a policy choose strategies and keep each for at least this many steps; 0 chooses none.
        save_games: A dataset folder for the games with their frames, and with the policy's strategies as labels; by
            default only the games' keys are kept, in the folder given by out.
        env_groups: Env groups of each process: games that are stepped together. The groups take turns.
        envs: Games in each env group.
        retries: How often a seed is tried again if its worker dies.
        device: Where a policy runs; auto uses a GPU if there is one.
        quiet: Print plain lines instead of a live display.
    """

    renamed: ClassVar[Mapping[str, str]] = {"hold": "min_strategy_steps", "slices": "env_groups"}

    what: str
    out: Path = Path("evaluation")
    protocol: Literal["balrog", "hihack", "katakomba"] | None = None
    games: int | None = None
    seeds: Seeds = Seeds()
    greedy: bool = False
    temperature: float | None = None
    patience: int | None = None
    model: str = ""
    prompt: Prompt = "balrog"
    language: LanguageConfig = LanguageConfig()
    min_strategy_steps: int = 0
    save_games: Path | None = None
    env_groups: int = 2
    envs: int = 8
    retries: int = 2
    device: Literal["auto", "cpu", "cuda"] = "auto"
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option and that the options go together.

        Raises:
            InputError: If an option is wrong; the message names it.
        """
        if self.protocol is not None:
            self._follow(PROTOCOLS[self.protocol])
        super().__post_init__()
        check_at_least(1, self, "env_groups", "envs", "games")
        check_at_least(0, self, "min_strategy_steps", "retries", "patience")
        check_above_zero(self, "temperature", finite=True)
        if self.greedy and self.temperature is not None:
            raise InputError("temperature: with greedy there is nothing to draw; leave one out")
        if not self.asks_a_model:
            self._check_language()
        if self.games is not None and self.seeds and self.games != len(self.seeds):
            raise InputError(f"games: {self.games} are asked for and {len(self.seeds)} seeds are given; leave one out")

    def _follow(self, protocol: Protocol) -> None:
        """Fills in what a protocol sets; what is given has to be the same."""
        wanted: dict[str, Any] = {
            "seeds": protocol.seeds, "max_steps": protocol.max_steps, "greedy": protocol.greedy, "roles": Roles(),
            "min_strategy_steps": 0,
        }  # fmt: skip
        for option, value in wanted.items():
            given = getattr(self, option)
            if given not in (getattr(EvaluateConfig, option), value):
                raise InputError(f"{option}: {given}; the protocol {protocol.name} sets it")
            object.__setattr__(self, option, value)
        if self.games not in (None, len(protocol.seeds)):
            raise InputError(f"games: {self.games}; the protocol {protocol.name} sets it")
        # The protocol's divisors do not depend on the gender, which may be left open.
        possible = combinations_of(CharacterWish.parse(self.character)) if self.character != ANY_CHARACTER else ()
        if len(possible) != int(protocol.one_character):
            which = "one, such as --character mon-hum-neu-mal" if protocol.one_character else "any"
            raise InputError(f"character: {self.character}; the protocol {protocol.name} is of {which}")

    @property
    def no_progress(self) -> int:
        """Steps without a turn after which a game ends."""
        return NO_PROGRESS_TIMEOUT if self.protocol is None else PROTOCOLS[self.protocol].no_progress

    def _check_language(self) -> None:
        for option in given(self, "model", "prompt", "language"):
            raise InputError(f"{option}: is for language models; {self.what} is none (llm:http://…, llm:FOLDER)")

    @property
    def asks_a_model(self) -> bool:
        """Whether the player is a language model."""
        return self.what.startswith(LANGUAGE_MODEL)

    @property
    def answer_tokens(self) -> int:
        """Tokens that a language model's answer may have."""
        return self.language.max_tokens or ANSWER_TOKENS[self.prompt]

    @property
    def all_seeds(self) -> Seeds:
        """The seeds that are asked for, including those that draw other roles."""
        first = FIRST_EVALUATED_SEED
        return self.seeds or Seeds(range(first, first + (self.games or DEFAULT_GAMES)))

    @property
    def games_folder(self) -> Path:
        """The dataset folder that the games are written to."""
        return self.save_games or self.out / "games"
