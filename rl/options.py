"""The options of ``strathack finetune`` and ``strathack evaluate``: they check themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

from strathack.collect.config import parse_seeds, split_list
from strathack.collect.playing.characters import check_character, parse_roles
from strathack.collect.playing.clock import DEFAULT_CLOCK, Clock
from strathack.collect.running.pools import Placement
from strathack.dataset.errors import FormatError, InputError
from strathack.models.config import check_at_least
from strathack.models.options import check_nothing_else_is_given
from strathack.models.presets import preset
from strathack.rl.config import APPOConfig, GameConfig, ImitationConfig, RewardConfig
from strathack.rl.recipes import recipe_named

BUDGET = ("frames", "minutes")
"""Options that say when training ends; a run that goes on may be given another end."""

MOVED = ("demos", "held_out", "teacher")
"""Options of imitation that say where something is, which may have moved since."""

DEFAULT_FRAMES = 10_000_000
DEFAULT_GAMES = 128


@dataclass(frozen=True)
class FinetuneConfig:
    """Trains a policy on what it plays, together with imitation.

    Attributes:
        run: The run or checkpoint to begin with; none begins with fresh weights.
        out: The new run's folder: options, checkpoints, metrics.
        resume: The folder of a run to go on with; its own options hold, but for a new end.
        env: A gymnasium id of NLE's or MiniHack's, an environment's entry point, or package.module:callable.
        policy: A policy by name, where no run is given; "strathack models" lists them.
        set: Its fields set anew, separated by semicolons: "core.hidden=256; heads.combine=label".
        recipe: Settings that go together: scratch, hihack or kickstart. Options that are given come before them.
        game: The games.
        reward: The rewards.
        appo: The learning.
        imitation: What keeps it from forgetting.
        actors: Processes that step environments, by Ray, for each learner; by default one a core. 0 steps them in this
            process.
        slices: Slices of an actor's environments that are stepped in turn.
        envs: Environments of a slice.
        address: Address of a running Ray cluster (auto, or host:port); by default one is started for this run.
        frames: End after so many frames, those of an interrupted run included.
        minutes: End after so many minutes.
        checkpoint_every: Updates between checkpoints.
        log_every: Updates between rows of metrics.csv.
        validate_every: Updates between measurements of what is kept of the cloned skill; 0 for none.
        save_games: A dataset folder for the games that are played, the policy's strategies as labels.
        hang_seconds: Seconds without an answer after which an actor is taken for hung, and replaced.
        threads: Threads of the learner's arithmetic; by default one a core, since it gives way to actors.
        precision: Arithmetic of the learner; auto is bf16 on GPUs and 32 elsewhere.
        device: Where to learn and to act; auto takes GPUs where there are any.
        devices: GPUs, or processes on the CPU, each with its own actors.
        nodes: Machines, each started with torchrun.
        tensorboard: Also log for TensorBoard.
        wandb: Also log to this project of Weights & Biases.
        seed: Decides fresh weights, the games' seeds and the order of demonstrations.
        quiet: No progress line.
    """

    run: list[Path] = field(default_factory=list)
    out: Path | None = None
    resume: Path | None = None
    env: str = "NetHackChallenge-v0"
    policy: str = "symbols-small"
    set: str = ""
    recipe: str | None = None
    game: GameConfig = GameConfig()  # noqa: RUF009  (frozen)
    reward: RewardConfig = RewardConfig()  # noqa: RUF009  (frozen)
    appo: APPOConfig = APPOConfig()  # noqa: RUF009  (frozen)
    imitation: ImitationConfig = ImitationConfig()  # noqa: RUF009  (frozen)
    actors: int | None = None
    slices: int = 2
    envs: int = 8
    address: str | None = None
    frames: int | None = None
    minutes: float | None = None
    checkpoint_every: int = 500
    log_every: int = 10
    validate_every: int = 0
    save_games: Path | None = None
    hang_seconds: float = 60.0
    threads: int | None = None
    precision: Literal["auto", "32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    nodes: int = 1
    tensorboard: bool = False
    wandb: str | None = None
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option, and that they go together; fills in what the recipe says.

        Raises:
            InputError: By name of the option.
        """
        check_at_least(1, self, "slices", "envs", "checkpoint_every", "log_every", "devices", "nodes")
        check_at_least(1, self, *(("threads",) if self.threads is not None else ()))
        check_at_least(0, self, "seed", "validate_every", *(("actors",) if self.actors is not None else ()))
        for name in (*BUDGET, "hang_seconds"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise InputError(f"{name}: {value} is not above 0")
        if self.seed >= 2**32:
            raise InputError(f"seed: {self.seed} is not below 2 ** 32")
        if self.actors == 0 and self.address is not None:
            raise InputError("actors: 0 steps in this process, without Ray; it does not go with --address")
        if self.resume is not None:
            check_nothing_else_is_given(self, BUDGET, ("imitation",))
            check_nothing_else_is_given(self.imitation, BUDGET, MOVED)  # but where its data are now
            return
        if self.out is None:
            raise InputError("out: no folder is given for the run")
        if len(self.run) > 1:
            raise InputError(f"run: {len(self.run)} are given; expected one run or checkpoint to begin with")
        if self.run and (self.set or self.policy != FinetuneConfig.policy):
            raise InputError("run: the policy is what the checkpoint holds; leave policy and set out")
        preset(self.policy)
        self._fill_in()
        self._check_imitation()

    def _fill_in(self) -> None:
        recipe = recipe_named(self.recipe or ("hihack" if self.imitation.demos is not None else "scratch"))
        own = {"entropy": recipe.entropy, "freeze": recipe.freeze, "critic_warmup": recipe.critic_warmup}
        demos_weight = "1" if recipe.demos_weight == "0" and self.imitation.demos is not None else recipe.demos_weight
        kept = {"demos_weight": demos_weight, "kickstart_weight": recipe.kickstart_weight}
        for name, values in (("appo", own), ("imitation", kept)):
            config = getattr(self, name)
            missing: dict[str, Any] = {key: value for key, value in values.items() if getattr(config, key) is None}
            object.__setattr__(self, name, replace(config, **missing))

    def _check_imitation(self) -> None:
        imitation = self.imitation
        if imitation.demos is None and imitation.demos_schedule.weight:
            raise InputError(f"demos: demos_weight is {imitation.demos_weight}, and no dataset is given")
        if imitation.demos is not None and not (imitation.demos_schedule.weight or imitation.demos_schedule.end):
            raise InputError("demos_weight: 0, though demos are given; leave them out")
        if imitation.kickstart_schedule.weight and imitation.teacher is None and not self.run:
            raise InputError("teacher: none is given, and no run to begin with that could be it")
        if self.validate_every and imitation.demos is None and imitation.held_out is None:
            raise InputError("validate_every: no dataset is given to validate on; give demos or held_out")
        if imitation.teacher is not None and not imitation.kickstart_schedule.weight:
            raise InputError("kickstart_weight: 0, though a teacher is given; leave it out, or set a weight")

    @property
    def begin(self) -> Path | None:
        """The run or checkpoint to begin with."""
        return self.run[0] if self.run else None

    def to_json(self) -> str:
        """As kept in a run's folder; from any other, too."""
        return json.dumps(asdict(self), default=lambda path: str(path.resolve()), indent=2)

    @classmethod
    def from_json(cls, text: str) -> FinetuneConfig:
        """The inverse of :meth:`to_json`.

        Raises:
            FormatError: If the text is of no such options.
        """
        try:
            return made(cls, json.loads(text))
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"options: not those of a run of this release: {error}") from None

    def with_end_of(self, other: FinetuneConfig) -> FinetuneConfig:
        """With another end and other places of its data, where those are given, and as quiet."""
        end: Mapping[str, Any] = {name: getattr(other, name) for name in BUDGET}
        places = {name: place for name in MOVED if (place := getattr(other.imitation, name)) is not None}
        saved = replace(self, imitation=replace(self.imitation, **places), quiet=other.quiet)
        return replace(saved, **end) if any(value is not None for value in end.values()) else saved


FIRST_EVALUATED_SEED = 100_000
"""Where seeds of evaluations begin by default, far from those that demonstrations are collected from."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Plays games to see what a player is worth: every seed once, each game to its end.

    Attributes:
        what: A run's folder, a checkpoint, autoascend, a bot's folder, package.module:callable, or random.
        out: The folder for scores.parquet and evaluation.json, and for the games' keys.
        games: How many games.
        seeds: Their seeds, numbers and half-open ranges: 100000:101024; by default as many as games from 100000 on.
        roles: Roles to play, by three letters: val,sam. Seeds that draw another are left out.
        character: Who is played, as NLE writes it: @ (drawn from the seed) or role-race-alignment-gender.
        clock: The games' wall clock: an instant in UTC, held by libfaketime; seed; or system.
        max_steps: Steps after which a game is cut; by default none.
        greedy: A policy takes what is most likely instead of drawing.
        hold: A policy chooses strategies, and keeps each for at least so many steps; 0 chooses none.
        save_games: A dataset folder for the games with their frames, the policy's strategies as labels; by default
            their keys alone are kept, in the folder given by out.
        workers: Processes that step games, by Ray; by default one a core. 0 plays in this process.
        slices: Slices of a process's games that are stepped in turn.
        envs: Games of a slice.
        address: Address of a running Ray cluster (auto, or host:port); by default one is started for this run.
        retries: How often a seed is tried again whose worker died.
        device: Where a policy runs; auto takes a GPU where there is one.
        quiet: Plain lines instead of a live display.
    """

    what: str
    out: Path = Path("evaluation")
    games: int | None = None
    seeds: str = ""
    roles: str = ""
    character: str = "@"
    clock: str = DEFAULT_CLOCK
    max_steps: int | None = None
    greedy: bool = False
    hold: int = 0
    save_games: Path | None = None
    workers: int | None = None
    slices: int = 2
    envs: int = 8
    address: str | None = None
    retries: int = 2
    device: Literal["auto", "cpu", "cuda"] = "auto"
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option, and that they go together.

        Raises:
            InputError: By name of the option.
        """
        check_at_least(1, self, "slices", "envs", *(n for n in ("games", "max_steps") if getattr(self, n) is not None))
        check_at_least(0, self, "hold", "retries")
        seeds = parse_seeds(self.all_seeds)
        if self.games is not None and self.seeds and self.games != len(seeds):
            raise InputError(f"games: {self.games} are asked for and {len(seeds)} seeds are given; leave one out")
        Clock.parse(self.clock)
        check_character(self.character)
        parse_roles(split_list(self.roles))
        _ = self.placement

    @property
    def all_seeds(self) -> str:
        """The seeds that are played, those of other roles included."""
        return self.seeds or f"{FIRST_EVALUATED_SEED}:{FIRST_EVALUATED_SEED + (self.games or DEFAULT_GAMES)}"

    @property
    def placement(self) -> Placement:
        """Where games are stepped."""
        return Placement(self.workers, self.address)

    @property
    def games_folder(self) -> Path:
        """The dataset that the games go into."""
        return self.save_games or self.out / "games"


def made(config: type[Any], values: Mapping[str, Any]) -> Any:
    """A dataclass of options from plain values, its groups and paths included.

    Raises:
        TypeError: If a value belongs to no field.
    """
    known = {one.name: one for one in fields(config)}
    arguments = dict(values)
    for name, value in values.items():
        if name in known and is_dataclass(known[name].default) and isinstance(value, Mapping):
            arguments[name] = made(type(known[name].default), value)
        elif name in known and "Path" in str(known[name].type) and value is not None:
            arguments[name] = [Path(one) for one in value] if isinstance(value, list) else Path(value)
    return config(**arguments)
