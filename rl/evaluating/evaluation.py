"""From the options of ``evaluate`` to jobs: demonstrators play as in ``collect``, policies in an evaluation pool."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Any

import torch

from strathack.collect.options import CollectConfig
from strathack.collect.playing.characters import CharacterWish, Roles
from strathack.collect.playing.clock import hold_here
from strathack.collect.playing.collecting import collecting, told_of
from strathack.collect.playing.environment import Setup, nle_version, peek_character
from strathack.collect.playing.seeds import Seeds
from strathack.collect.running.display import Report
from strathack.collect.running.jobs import OwnPool, Work
from strathack.collect.running.results import JobResult
from strathack.collect.running.workplace import Workplace, usable_cores
from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import InputError
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, DIGESTED_OBSERVATIONS, ObservationKeys, game_name
from strathack.dataset.writer import agreed_settings
from strathack.rl.acting.recording import Recorder, provenance_of
from strathack.rl.acting.workers import Launcher, RayLauncher, RolloutWorkers, ThreadLauncher
from strathack.rl.config import ActionNames, GameConfig
from strathack.rl.environments.stepping import LaneSpec
from strathack.rl.evaluating.players import language_model_of, player_of
from strathack.rl.evaluating.pool import Evaluable, EvaluatedGame, EvaluationPool, EvaluationSpec, SeedPool
from strathack.rl.language.playing import LanguagePlayer, LanguagePool
from strathack.rl.options import EvaluateConfig

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
    number = usable_cores() if config.workers is None else config.workers
    groups = max(number, 1) * config.env_groups
    envs = max(1, min(config.envs, -(-games // groups)))
    # A language model answers for one game at a time, so that each game has an env group of its own, and while it
    # computes an answer, rollout workers wait for it.
    answers = isinstance(player, LanguagePlayer)
    shape = (config.env_groups * envs, 1) if answers else (config.env_groups, envs)
    spec = EvaluationSpec(lane, *shape, steps=1, slots=1, make_record=recorder)
    torch.set_num_threads(max(1, usable_cores() - (0 if answers else number)))
    launcher: Launcher = RayLauncher(number, config.address, environment) if number else ThreadLauncher()
    workers = RolloutWorkers(spec, max(number, 1), launcher, HANG_SECONDS)
    return LanguagePool(workers, player) if isinstance(player, LanguagePlayer) else EvaluationPool(workers, player)


def described(quiet: bool, seed: int, game: JobResult) -> Report:
    """Returns the report on a game; its line is printed in quiet runs only."""
    assert isinstance(game, EvaluatedGame), "a pool's jobs end with a game"
    about = game.info
    line = told_of(seed, about["role"], about["steps"], about["score"], about["end"], about["cause"])
    return Report(line if quiet else "", about["score"])
