"""``strathack collect``: many games into a dataset folder."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from strathack.collect.config import CollectConfig, GameOptions, format_seeds, parse_seeds
from strathack.collect.demonstrators import Demonstrator, make_demonstrator
from strathack.collect.playing.clock import hold_here
from strathack.collect.playing.environment import NO_PROGRESS_TIMEOUT, OPTIONS, nle_version
from strathack.collect.playing.game import SkippedSeed
from strathack.collect.playing.worker import Player
from strathack.collect.running.display import Report, print_summary
from strathack.collect.running.jobs import Made, Work, agreed_settings, make_dataset
from strathack.collect.running.pools import Failed, Outcome
from strathack.collect.running.provenance import made_now
from strathack.dataset.errors import InputError
from strathack.dataset.schema import game_name
from strathack.dataset.shard import Provenance


def main(config: CollectConfig) -> int:
    """The command. Returns its exit status: 0, 1 if a seed could not be played, 130 after Ctrl-C.

    Raises:
        InputError: If the request is bad; nothing on disk has changed then.
        RunError: If the run had to stop; what is on disk is valid.
    """
    made = collect(config)
    print_summary(made.folder, made.failures)
    return made.exit_status()


def collect(config: CollectConfig) -> Made:
    """Plays the games that are not there yet.

    Raises:
        InputError: If the request is bad; nothing on disk has changed then.
        RunError: If the run had to stop; what is on disk is valid.
    """
    game = config.game
    demonstrator = make_demonstrator(game.demonstrator)  # a bad name is refused before anything starts
    game.clock.environment()  # and so is a clock that cannot be held
    if config.workers == 0:
        hold_here(game.clock)
    settings = _agree(config, demonstrator)
    provenance = _provenance(game, demonstrator)
    work = Work(
        jobs={game_name(seed): seed for seed in parse_seeds(config.seeds)},
        factory=partial(Player, game, partial(make_demonstrator, game.demonstrator), provenance),
        report=partial(_report, config.quiet),
        environment=game.clock.environment(),
        max_seconds=game.max_seconds,
        retries=config.retries,
    )
    return make_dataset(config, settings, work)


def _report(quiet: bool, outcome: Outcome, again: bool) -> Report:
    """What is said of an outcome; of most games only in quiet runs."""
    if isinstance(outcome, Failed):
        return Report(f"seed {outcome.job}: {outcome.reason}; {'trying again' if again else 'given up'}", failed=True)
    game = outcome.result
    if isinstance(game, SkippedSeed):
        return Report(f"seed {game.seed} skipped: it draws a {game.role}" if quiet else "")
    if game.end == "demonstrator_error":
        line = f"seed {game.seed}: the demonstrator failed after {game.steps} steps: {game.cause}"
        return Report(line, failed=True, score=game.score)
    cause = f": {game.cause}" if game.cause else ""
    line = f"seed {game.seed} {game.role} {game.steps} steps score {game.score} {game.end}{cause}"
    return Report(line if quiet else "", score=game.score)


def _agree(config: CollectConfig, demonstrator: Demonstrator) -> dict[str, Any]:
    """The settings that the dataset has or gets.

    Raises:
        InputError: If they are not those of the dataset that is there.
    """
    asked: dict[str, Any] = {
        **config.game.settings(),
        "demonstrator": demonstrator.name,
        "demonstrator_version": demonstrator.version,
        "nle_version": nle_version(),
    }
    seeds = set(parse_seeds(config.seeds))
    there = agreed_settings(config.out, asked)
    if there is not None:
        known = set(parse_seeds(str(there["seeds"])))
        if seeds - known and not config.extend:
            raise InputError(
                f"{config.out}: was collected for seeds {there['seeds']}, without {format_seeds(seeds - known)}; "
                "--extend adds them"
            )
        seeds |= known
    return {**asked, "seeds": format_seeds(seeds)}


def _provenance(options: GameOptions, demonstrator: Demonstrator) -> Provenance:
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
