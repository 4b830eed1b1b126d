"""Playing what an evaluation is of: demonstrators as they collect, policies in an exam, into a dataset."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from strathack.collect.config import CollectConfig, format_seeds, parse_seeds
from strathack.collect.playing.clock import Clock, hold_here
from strathack.collect.playing.environment import NO_PROGRESS_TIMEOUT, Setup, nle_version, peek_character
from strathack.collect.run import collect
from strathack.collect.running.display import Report
from strathack.collect.running.jobs import Made, Work, agreed_settings, make_dataset
from strathack.collect.running.pools import Failed, Outcome, Placement
from strathack.collect.running.workplace import Workplace
from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import InputError
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, game_name
from strathack.models.acting import ActingConfig
from strathack.models.saving import checkpoint_at, load_policy
from strathack.rl.actors import Actors, Launcher, RayLauncher, ThreadLauncher
from strathack.rl.config import GameConfig
from strathack.rl.exam import ExamGame, ExamPool, ExamSpec, Player, PolicyPlayer, RandomPlayer
from strathack.rl.options import EvaluateConfig
from strathack.rl.recording import Recorder, provenance_of
from strathack.rl.stepping import LaneSpec

ENVIRONMENT = "NetHackChallenge-v0"
HANG_SECONDS = 120.0
GAMES_PER_SHARD = 64


@dataclass(frozen=True)
class Examined:
    """Who is examined, and how that is told.

    Attributes:
        player: Who plays.
        settings: What decides how it plays, as plain values.
    """

    player: Player
    settings: Mapping[str, Any]


def play(config: EvaluateConfig) -> Made:
    """Plays the games of an evaluation that are not there yet.

    Raises:
        InputError: If the request is bad; nothing on disk has changed then.
        RunError: If it had to stop; what is on disk is valid.
    """
    examined = examined_of(config)
    return collect(_collecting(config)) if examined is None else _examine(config, examined)


def examined_of(config: EvaluateConfig) -> Examined | None:
    """Who is examined; None for a demonstrator, which plays by itself.

    Raises:
        InputError: If there is nobody of that name, or it cannot do what is asked.
    """
    what = config.what
    path = Path(what)
    if what == "random":
        _refuse_acting(config, "random")
        return Examined(RandomPlayer(ACTION_NAMES), {"demonstrator": what})
    if what == "autoascend" or ":" in what or (path / "bot.py").is_file():
        _refuse_acting(config, "a demonstrator")
        return None
    if not path.exists():
        raise InputError(
            f"what: {what!r} is no checkpoint, no run's folder, no bot's folder, and neither autoascend nor random"
        )
    checkpoint = checkpoint_at(path)
    player = PolicyPlayer(load_policy(checkpoint, _device(config)), ActingConfig(config.greedy, config.hold))
    settings = {
        "demonstrator": f"policy {(checkpoint.parent if path.is_dir() else checkpoint).resolve().name}",
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "greedy": config.greedy,
        "hold": config.hold,
    }
    return Examined(player, settings)


def _device(config: EvaluateConfig) -> str:
    there = torch.cuda.is_available()
    if config.device == "cuda" and not there:
        raise InputError("device: cuda was asked for, and PyTorch finds no GPU here")
    return "cuda" if there and config.device != "cpu" else "cpu"


def _refuse_acting(config: EvaluateConfig, who: str) -> None:
    for name in ("greedy", "hold"):
        if getattr(config, name):
            raise InputError(f"{name}: is for policies; {who} has no such choice")


def _collecting(config: EvaluateConfig) -> CollectConfig:
    return CollectConfig(
        out=config.games_folder,
        seeds=config.all_seeds,
        workers=config.workers,
        address=config.address,
        demonstrator=config.what,
        clock=config.clock,
        character=config.character,
        roles=config.roles,
        max_steps=config.max_steps,
        observations="none" if config.save_games is None else ",".join(DEFAULT_OBSERVATIONS),
        retries=config.retries,
        extend=True,
        quiet=config.quiet,
    )


@dataclass(frozen=True)
class Making:
    """The options that making a dataset takes; see :class:`strathack.collect.running.jobs.Making`."""

    out: Path
    quiet: bool
    placement: Placement = Placement(0)  # noqa: RUF009  (frozen)
    games_per_shard: int = GAMES_PER_SHARD


def _examine(config: EvaluateConfig, examined: Examined) -> Made:
    clock = Clock.parse(config.clock)
    environment = clock.environment()  # refuses a clock that cannot be held
    if config.workers == 0:
        hold_here(clock)
    player = examined.player
    unknown = [name for name in player.actions if name not in ACTION_NAMES]
    if unknown:
        raise InputError(f"what: {config.what} acts by {', '.join(unknown[:3])}, which {ENVIRONMENT} does not know")
    # Keys that are twice in NLE's list stand for one action; all of them are NLE's own choice.
    keys = "" if player.actions == ACTION_NAMES else ",".join(player.actions)
    game = GameConfig(
        character=config.character, keys=keys, max_steps=config.max_steps, no_progress=NO_PROGRESS_TIMEOUT
    )
    settings: dict[str, Any] = {
        **examined.settings,
        "environment": ENVIRONMENT,
        "clock": str(clock),
        "character": config.character,
        "roles": config.roles,
        "keys": keys,
        "max_steps": config.max_steps,
        "no_progress": NO_PROGRESS_TIMEOUT,
        "observations": [] if config.save_games is None else list(DEFAULT_OBSERVATIONS),
        "nle_version": nle_version(),
    }
    out = config.games_folder
    there = agreed_settings(out, settings)
    seeds = _seeds_of_roles(config, clock)
    known = set() if there is None else set(parse_seeds(str(there["seeds"])))
    observations = () if config.save_games is None else DEFAULT_OBSERVATIONS
    provenance = provenance_of(str(settings["demonstrator"]), settings, observations)
    recorder = Recorder(provenance, player.strategies, clock)
    lane = LaneSpec(
        ENVIRONMENT, game, player.observations, (), recorded=DEFAULT_OBSERVATIONS, fix_moon_phase=clock.fixes_moon_phase
    )
    work = Work(
        jobs={game_name(seed): seed for seed in seeds},
        pool=_pool_of(config, player, lane, recorder, environment, len(seeds)),
        report=lambda outcome, again: report_of(config.quiet, outcome, again),
        retries=config.retries,
    )
    return make_dataset(Making(out, config.quiet), {**settings, "seeds": format_seeds(known | set(seeds))}, work)


def _seeds_of_roles(config: EvaluateConfig, clock: Clock) -> tuple[int, ...]:
    """The seeds that draw a role which is asked for."""
    seeds = parse_seeds(config.all_seeds)
    if not config.roles:
        return seeds
    wanted = {role.strip().lower() for role in config.roles.split(",")}
    with closing(Workplace()):
        drawn = {
            seed: peek_character(Setup.of_seed(seed, config.character, clock.fixes_moon_phase)).role for seed in seeds
        }
    chosen = tuple(seed for seed, role in drawn.items() if role.lower() in wanted)
    if not chosen:
        raise InputError(f"roles: none of the {len(seeds)} seeds draws one of {config.roles}")
    return chosen


def _pool_of(
    config: EvaluateConfig,
    player: Player,
    lane: LaneSpec,
    recorder: Recorder,
    environment: Mapping[str, str],
    games: int,
) -> Callable[[], ExamPool]:
    actors = (os.cpu_count() or 1) if config.workers is None else config.workers
    slices = max(actors, 1) * config.slices
    # Few games are spread over all actors.
    envs = max(1, min(config.envs, -(-games // slices)))
    spec = ExamSpec(lane, config.slices, envs, steps=1, slots=1, new_record=recorder)

    def opened() -> ExamPool:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - actors))
        launcher: Launcher = RayLauncher(actors, config.address, environment) if actors else ThreadLauncher()
        try:
            return ExamPool(Actors(spec, max(actors, 1), launcher, HANG_SECONDS), player)
        except BaseException:
            launcher.close()
            raise

    return opened


def report_of(quiet: bool, outcome: Outcome, again: bool) -> Report:
    """What is said of a game; of most only in quiet runs."""
    if isinstance(outcome, Failed):
        return Report(f"seed {outcome.job}: {outcome.reason}; {'trying again' if again else 'given up'}", failed=True)
    game: ExamGame = outcome.result
    about = game.info
    cause = f": {about['cause']}" if about["cause"] else ""
    line = f"seed {outcome.job} {about['role']} {about['steps']} steps score {about['score']} {about['end']}{cause}"
    return Report(line if quiet else "", score=about["score"])
