"""Turns the options of ``collect`` into the settings of the dataset and the jobs."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from strathack.collect.demonstrators import Demonstrator, absolute_reference, choose_demonstrator, make_demonstrator
from strathack.collect.options import CollectConfig, DemonstrationOptions
from strathack.collect.playing.clock import hold_here
from strathack.collect.playing.environment import OPTIONS, nle_version
from strathack.collect.playing.game import PlayedGame
from strathack.collect.playing.limits import NO_PROGRESS_TIMEOUT
from strathack.collect.playing.seeds import Seeds
from strathack.collect.playing.worker import PlayingWorker
from strathack.collect.running.display import Report
from strathack.collect.running.jobs import Work, Workers
from strathack.collect.running.provenance import made_now
from strathack.collect.running.results import JobResult, SkippedSeed
from strathack.dataset.errors import InputError
from strathack.dataset.schema import game_name
from strathack.dataset.shard import Provenance
from strathack.dataset.writer import agreed_settings


def collecting(config: CollectConfig) -> tuple[dict[str, Any], Work]:
    """Returns the settings of the existing or new dataset, and the seeds to play; starts no work yet.

    With 0 workers and a clock to be held, this process is restarted under that clock.

    Raises:
        InputError: If the request is bad.
    """
    demonstrator = choose_demonstrator(config.demonstrator, config.bot)
    environment = config.clock.environment()  # raises if the clock cannot be held
    if config.workers == 0:
        hold_here(config.clock)
    settings = _agreed(config, demonstrator)
    factory = partial(
        PlayingWorker,
        config,
        partial(make_demonstrator, absolute_reference(config.demonstrator), config.bot),
        _provenance(config, demonstrator),
    )
    work = Work(
        jobs={game_name(seed): seed for seed in config.seeds},
        by=Workers(factory, config, environment, config.max_seconds),
        describe=partial(_described, config.quiet),
        called=lambda seed: f"seed {seed}",
        retries=config.retries,
    )
    return settings, work


def _described(quiet: bool, seed: int, game: JobResult) -> Report:
    """Returns what the display reports of a game; most games are reported in quiet runs only."""
    if isinstance(game, SkippedSeed):
        return Report(f"seed {seed} skipped: it draws a {game.role}" if quiet else "")
    assert isinstance(game, PlayedGame), "seeds are played or skipped"
    if game.end == "demonstrator_error":
        line = f"seed {seed}: the demonstrator failed after {game.steps} steps: {game.cause}"
        return Report(line, failed=True, score=game.score)
    return Report(told_of(seed, game.role, game.steps, game.score, game.end, game.cause) if quiet else "", game.score)


def told_of(seed: int, role: str, steps: int, score: int, end: str, cause: str) -> str:
    """Returns a line about a game that was played."""
    return f"seed {seed} {role} {steps} steps score {score} {end}{f': {cause}' if cause else ''}"


def _agreed(config: CollectConfig, demonstrator: Demonstrator) -> dict[str, Any]:
    """Returns the settings of the existing or new dataset.

    Raises:
        InputError: If the options do not agree with an existing dataset.
    """
    asked: dict[str, Any] = {
        **config.settings(),
        "demonstrator": demonstrator.name,
        "demonstrator_version": demonstrator.version,
        "nle_version": nle_version(),
    }
    there = agreed_settings(config.out, asked)
    known = Seeds() if there is None else Seeds.parse(str(there["seeds"]))
    new = Seeds.of(set(config.seeds) - set(known))
    if there is not None and new and not config.extend:
        raise InputError(f"{config.out}: was collected for seeds {known}, without {new}; --extend adds them")
    return {**asked, "seeds": str(Seeds.of([*known, *new]))}


def _provenance(options: DemonstrationOptions, demonstrator: Demonstrator) -> Provenance:
    played_with = {
        **options.settings(),
        "environment": "NetHackChallenge-v0",
        "no_progress_timeout": NO_PROGRESS_TIMEOUT,
        "nethack_options": list(OPTIONS),
        "fix_moon_phase": options.clock.fixes_moon_phase,
    }
    return Provenance(
        observations=options.observations,
        demonstrator=demonstrator.name,
        demonstrator_version=demonstrator.version,
        nle_version=nle_version(),
        options=json.dumps(played_with),
        **made_now(),
    )
