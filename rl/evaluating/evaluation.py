"""From the options of ``evaluate`` to jobs: demonstrators play as in ``collect``, policies in an evaluation pool."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch

from strathack.collect.options import CollectConfig
from strathack.collect.playing.characters import CharacterWish, Roles
from strathack.collect.playing.clock import hold_here
from strathack.collect.playing.collecting import collecting, told_of
from strathack.collect.playing.environment import Setup, nle_version, peek_character
from strathack.collect.playing.limits import NO_PROGRESS_STEPS
from strathack.collect.playing.seeds import Seeds
from strathack.collect.running.display import Report
from strathack.collect.running.jobs import OwnPool, Work
from strathack.collect.running.results import JobResult
from strathack.collect.running.workplace import Workplace
from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import InputError
from strathack.dataset.labels import STRATEGIES
from strathack.dataset.manifest import sha256_of
from strathack.dataset.options import given
from strathack.dataset.remote.addresses import address_of
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, DIGESTED_OBSERVATIONS, ObservationKeys, game_name
from strathack.dataset.writer import agreed_settings
from strathack.models.acting import ActingConfig
from strathack.models.places import checkpoint_at, is_published
from strathack.models.running import usable_gpus
from strathack.models.saving import load_policy, weights_digest
from strathack.rl.acting.recording import Recorder, provenance_of
from strathack.rl.acting.workers import Launcher, RayLauncher, RolloutWorkers, ThreadLauncher
from strathack.rl.config import ActionNames, GameConfig
from strathack.rl.environments.stepping import LaneSpec
from strathack.rl.evaluating.pool import (
    Evaluable,
    EvaluatedGame,
    EvaluationPool,
    EvaluationSpec,
    PolicyPlayer,
    RandomPlayer,
    SeedPool,
)
from strathack.rl.language.asking import Client
from strathack.rl.language.playing import LanguagePlayer, LanguagePool
from strathack.rl.options import LANGUAGE_MODEL, EvaluateConfig

ENVIRONMENT = "NetHackChallenge-v0"
HANG_SECONDS = 120.0


def evaluating(config: EvaluateConfig) -> tuple[dict[str, Any], Work]:
    """Returns the settings of the dataset of an evaluation's games, and the games to play. Nothing is started.

    Raises:
        InputError: If an option is wrong.
    """
    if config.asks_a_model:
        return _playing(config, *language_model_of(config))
    player = player_of(config)
    return collecting(_collecting(config)) if player is None else _playing(config, *player)


def player_of(config: EvaluateConfig) -> tuple[Evaluable, Mapping[str, Any]] | None:
    """Returns the player, and plain values that decide how it plays; None for a demonstrator, which plays by itself.

    Raises:
        InputError: If there is no such player, or it cannot do what is asked.
    """
    what = config.what
    path = Path(what)
    if what == "random":
        _refuse_acting(config, "random")
        return RandomPlayer(ACTION_NAMES), {"demonstrator": what}
    elsewhere = address_of(path) is not None
    if what == "autoascend" or (":" in what and not elsewhere) or (path / "bot.py").is_file():
        _refuse_acting(config, "a demonstrator")
        if config.protocol is not None and config.no_progress != NO_PROGRESS_STEPS:
            raise InputError(
                f"protocol: {config.protocol} ends games after {config.no_progress} steps without a turn, a "
                f"demonstrator's end after {NO_PROGRESS_STEPS}"
            )
        return None
    if not (elsewhere or path.exists() or is_published(path)):
        raise InputError(
            f"what: {what!r} is no checkpoint, no run's folder, no trained policy's name, no bot's folder, and neither "
            "autoascend nor random"
        )
    checkpoint = checkpoint_at(path)
    device = "cuda" if usable_gpus(config.device) else "cpu"
    policy = load_policy(checkpoint, device)
    about = policy.about
    temperature = config.temperature or about.get("temperature", 1.0)
    own_patience = 0 if config.greedy else about.get("patience", 0)
    patience = own_patience if config.patience is None else config.patience
    acting = ActingConfig(config.greedy, config.min_strategy_steps, temperature, patience)
    named = (
        what.removeprefix("hf://") if elsewhere else (checkpoint.parent if path.is_dir() else checkpoint).resolve().name
    )
    settings = {
        "demonstrator": f"policy {named}",
        "checkpoint_sha256": sha256_of(checkpoint),
        "weights_sha256": weights_digest(policy),
        "greedy": config.greedy,
        "hold": config.min_strategy_steps,  # the option's old name, as older evaluations have it
        # Which older evaluations do not have.
        **({} if temperature == 1 else {"temperature": temperature}),
        **({"patience": patience} if patience else {}),
    }
    return PolicyPlayer(policy, acting), settings


def language_model_of(config: EvaluateConfig) -> tuple[LanguagePlayer, Mapping[str, Any]]:
    """Returns a language model as a player, and plain values that decide how it plays.

    Raises:
        InputError: If the extra ``text`` is not installed, the model cannot be reached, or it cannot do what is asked.
    """
    try:
        from strathack.rl.language.clients import LocalClient, ServerClient
    except ImportError as error:
        raise InputError(
            f"what: language models need the extra text, pip install 'strathack[text]' ({error})"
        ) from None
    for name in ("patience", "min_strategy_steps"):
        if getattr(config, name):
            raise InputError(f"{name}: is for policies; a language model has no such choice")
    where = config.what.removeprefix(LANGUAGE_MODEL)
    temperature = 0.0 if config.greedy else config.temperature or 1.0
    client: Client
    which: dict[str, str] = {}
    if "://" in where:
        client = ServerClient(where, config.model, config.language, temperature, config.answer_tokens)
        name = config.model
    else:
        if config.model:
            raise InputError(f"model: is a name on a server; {where} is a folder, which has one model")
        for option in given(config.language, "timeout", "tries", "key_from"):
            raise InputError(f"language.{option}: is for servers; {where} is a folder")
        device = "cuda" if usable_gpus(config.device) else "cpu"
        client = LocalClient(Path(where), temperature, config.answer_tokens, device, chats=config.prompt == "balrog")
        name = Path(where).resolve().name
        which = {"model_sha256": digest_of_model(Path(where))}
    settings = {
        "demonstrator": f"llm {name}", "prompt": config.prompt, "temperature": temperature,
        "history": config.language.history, "dialect": config.language.dialect, "max_tokens": config.answer_tokens,
        **which,
    }  # fmt: skip
    strategies = STRATEGIES if config.prompt == "diff" else ()
    return LanguagePlayer(client, config.prompt, config.language, strategies, config.games_folder), settings


def digest_of_model(folder: Path) -> str:
    """Returns what a model in a folder is told apart by: a digest of its weights, its settings and its tokenizer."""
    kinds = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.txt")
    names = sorted(path for kind in kinds for path in folder.glob(kind))
    told = "\n".join(f"{path.name} {sha256_of(path)}" for path in names)
    return hashlib.sha256(told.encode()).hexdigest()


def _refuse_acting(config: EvaluateConfig, who: str) -> None:
    for name in ("greedy", "temperature", "patience", "min_strategy_steps"):
        if getattr(config, name) and not (name == "greedy" and config.protocol):
            raise InputError(f"{name}: is for policies; {who} has no such choice")


def _observations(config: EvaluateConfig) -> ObservationKeys:
    """The observation keys that are kept of the games."""
    return ObservationKeys() if config.save_games is None else DEFAULT_OBSERVATIONS


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
        observations=_observations(config),
        retries=config.retries,
        extend=True,
        quiet=config.quiet,
    )


def _playing(
    config: EvaluateConfig, player: Evaluable | LanguagePlayer, how: Mapping[str, Any]
) -> tuple[dict[str, Any], Work]:
    environment = config.clock.environment()  # raises if the clock cannot be held
    if config.workers == 0:
        hold_here(config.clock)
    unknown = [name for name in player.actions if name not in ACTION_NAMES]
    if unknown:
        raise InputError(f"what: {config.what} acts by {', '.join(unknown[:3])}, which {ENVIRONMENT} does not know")
    # A key that occurs twice in NLE's list stands for one action. An empty tuple stands for all actions.
    actions = ActionNames(() if player.actions == ACTION_NAMES else player.actions)
    settings: dict[str, Any] = {
        **how,
        "environment": ENVIRONMENT,
        "clock": str(config.clock),
        "character": str(config.character),
        "roles": str(config.roles),
        "keys": str(actions),
        "max_steps": config.max_steps,
        "no_progress": config.no_progress,
        **({"protocol": config.protocol} if config.protocol else {}),
        "observations": [] if config.save_games is None else list(DIGESTED_OBSERVATIONS),
        "nle_version": nle_version(),
    }
    normalised = {"roles": Roles.parse, "character": CharacterWish.parse}
    # The checkpoint's digest tells whether it is the same policy; that of its weights is for publishing.
    asked = {name: value for name, value in settings.items() if name != "weights_sha256"}
    there = agreed_settings(config.games_folder, asked, normalised, newer=("model_sha256",))
    known = Seeds() if there is None else Seeds.parse(str(there["seeds"]))
    seeds = _seeds_of_roles(config)
    provenance = provenance_of(str(settings["demonstrator"]), settings, _observations(config))
    game = GameConfig(
        character=config.character, actions=actions, max_steps=config.max_steps, no_progress=config.no_progress
    )
    lane = LaneSpec(
        ENVIRONMENT,
        game,
        player.observations,
        (),
        recorded=DEFAULT_OBSERVATIONS,
        fix_moon_phase=config.clock.fixes_moon_phase,
    )
    recorder = Recorder(provenance, player.strategies, config.clock)
    work = Work(
        jobs={game_name(seed): seed for seed in seeds},
        by=OwnPool(partial(make_pool, config, player, lane, recorder, environment, len(seeds))),
        describe=partial(described, config.quiet),
        called=lambda seed: f"seed {seed}",
        retries=config.retries,
    )
    return {**settings, "seeds": str(Seeds.of([*known, *seeds]))}, work


def _seeds_of_roles(config: EvaluateConfig) -> Seeds:
    """Returns the seeds that draw one of the roles that are asked for.

    Raises:
        InputError: If no seed does.
    """
    seeds = config.all_seeds
    if not config.roles:
        return seeds
    fixes = config.clock.fixes_moon_phase
    with closing(Workplace()):
        drawn = {seed: peek_character(Setup.of_seed(seed, config.character, fixes)).role for seed in seeds}
    chosen = Seeds(seed for seed, role in drawn.items() if config.roles.include(role))
    if not chosen:
        raise InputError(f"roles: none of the {len(seeds)} seeds draws one of {config.roles}")
    return chosen


def make_pool(
    config: EvaluateConfig,
    player: Evaluable | LanguagePlayer,
    lane: LaneSpec,
    recorder: Recorder,
    environment: Mapping[str, str],
    games: int,
) -> SeedPool:
    """Starts the rollout workers of an evaluation.

    Args:
        config: The options.
        player: The player that is evaluated.
        lane: What each lane plays.
        recorder: Records the games.
        environment: Environment variables of the workers' processes.
        games: Number of games; if there are few, they are spread over all workers.

    Raises:
        InputError: If no cluster answers at the address.
        RunError: If a rollout worker cannot be started.
    """
    number = (os.cpu_count() or 1) if config.workers is None else config.workers
    groups = max(number, 1) * config.env_groups
    envs = max(1, min(config.envs, -(-games // groups)))
    # A language model answers for one game at a time, so that each game has an env group of its own.
    shape = (config.env_groups * envs, 1) if isinstance(player, LanguagePlayer) else (config.env_groups, envs)
    spec = EvaluationSpec(lane, *shape, steps=1, slots=1, make_record=recorder)
    # While a language model computes an answer, rollout workers wait for it.
    stepping = 0 if isinstance(player, LanguagePlayer) else number
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - stepping))
    launcher: Launcher = RayLauncher(number, config.address, environment) if number else ThreadLauncher()
    try:
        workers = RolloutWorkers(spec, max(number, 1), launcher, HANG_SECONDS)
        return LanguagePool(workers, player) if isinstance(player, LanguagePlayer) else EvaluationPool(workers, player)
    except BaseException:
        launcher.close()
        raise


def described(quiet: bool, seed: int, game: JobResult) -> Report:
    """Returns the report on a game; its line is printed in quiet runs only."""
    assert isinstance(game, EvaluatedGame), "a pool's jobs end with a game"
    about = game.info
    line = told_of(seed, about["role"], about["steps"], about["score"], about["end"], about["cause"])
    return Report(line if quiet else "", about["score"])
