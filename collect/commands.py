"""The commands that need the simulator; each returns its exit status.

Each raises :class:`InputError` if the request is bad, before anything on disk has changed, and :class:`RunError` if the
run had to stop; the files on disk are valid then.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from strathack.collect.demonstrators.base import DifferenceError
from strathack.collect.importing.importer import NOTE as IMPORT_NOTE
from strathack.collect.importing.screens import SCREEN_KEYS
from strathack.collect.importing.sources import source_of
from strathack.collect.options import (
    CollectConfig,
    ExpandConfig,
    ImportConfig,
    RelabelConfig,
    VerifyConfig,
)
from strathack.collect.playing.clock import default_clock
from strathack.collect.playing.collecting import collecting
from strathack.collect.replaying.expanding import replaying
from strathack.collect.replaying.record import ReplayRecord
from strathack.collect.replaying.relabelling import NOTE as RELABEL_NOTE
from strathack.collect.replaying.relabelling import relabelling
from strathack.collect.running.display import print_summary
from strathack.collect.running.jobs import Made, Work, do_jobs, make_dataset, stop_on_signal
from strathack.dataset.content import content_digest
from strathack.dataset.errors import InputError
from strathack.dataset.files import absolute, path_text
from strathack.dataset.reading import Dataset, selected_games, shards_at
from strathack.dataset.remote.addresses import address_of, place_text
from strathack.dataset.signals import interrupted_by
from strathack.dataset.verify import Problem, verify_shards
from strathack.dataset.writer import CONTENT, agreed_settings


def collect(config: CollectConfig) -> int:
    """``strathack collect``: returns 0, over 128 after an interruption, or 1.

    It is 1 if a seed could not be played, or if ``--check-bot`` has found a difference.
    """
    settings, work = collecting(config)
    made = make_dataset(config.out, settings, work, games_per_shard=config.games_per_shard, quiet=config.quiet)
    print_summary(made.folder, made.failures)
    difference = DifferenceError.__name__.encode()
    differ = config.check_bot and any(game.row["cause"].startswith(difference) for game in made.folder.games())
    return max(made.exit_status(), int(differ))


def import_(config: ImportConfig) -> int:
    """``strathack dataset import``: returns 1 if a file could not be imported, or with ``--strict`` not completely."""
    source = source_of(config)
    observations = config.observations if config.replay else SCREEN_KEYS
    settings: dict[str, Any] = {
        "imported_from": path_text(absolute(config.data)),
        "seeds_from": config.seeds,
        "replayed": config.replay,
        "observations": list(observations),
        "real_names": config.real_names,
    }
    # Earlier releases told of real names only where there are any.
    there = agreed_settings(config.out, settings, newer=() if config.real_names else ("real_names",))
    if source.players:  # a player's pseudonym depends on who else there is
        players = sha256("\n".join(source.players).encode("utf-8", "surrogateescape")).hexdigest()
        if there is not None and there.get("players_sha256", players) != players:
            raise InputError(f"{config.out}: holds games of other players, whose pseudonyms would be others here")
        settings["players_sha256"] = players
    made = make_dataset(config.out, settings, source.work, games_per_shard=config.games_per_shard, quiet=config.quiet)
    print(f"{len(made.games):,} of {source.games:,} games imported, {made.steps:,} steps, in {config.out}")
    notes = made.notes(IMPORT_NOTE)
    for note in notes.values():
        print(f"imported, but: {note}")
    for line in source.left_out:
        print(f"left out: {line}")
    for reason in [*made.failures.values(), *source.not_there]:
        print(f"not imported: {reason}")
    failed = source.not_there or (config.strict and (source.left_out or notes))
    return max(made.exit_status(), int(bool(failed)))


def expand(config: ExpandConfig) -> int:
    """``strathack dataset expand``: returns 1 if a game could not be reproduced."""
    dataset = selected_games(config.data, config.select, "expand")
    made = _made_of(config, dataset, "expanded_from", replaying)
    print(f"{len(made.games):,} of {len(dataset):,} games came back, {made.steps:,} steps, in {config.out}")
    for name, reason in made.failures.items():
        print(f"did not come back: {name}: {reason}")
    return made.exit_status()


def relabel(config: RelabelConfig) -> int:
    """``strathack dataset relabel``: returns 1 if a game could not be reproduced."""
    dataset = selected_games(config.data, config.select, "relabel")
    made = _made_of(config, dataset, "relabelled_from", relabelling)
    notes = made.notes(RELABEL_NOTE)
    print(f"{len(made.games) - len(notes):,} of {len(dataset):,} games relabelled, in {config.out}")
    for name, note in notes.items():
        print(f"published labels only: {name}: {note}")
    for name, reason in made.failures.items():
        print(f"not relabelled: {name}: {reason}")
    return max(made.exit_status(), int(bool(notes)))


def _made_of(
    config: ExpandConfig | RelabelConfig, dataset: Dataset, made_from: str, work_of: Callable[..., Work]
) -> Made:
    """Makes a dataset of games that are stored.

    Args:
        config: The options.
        dataset: The games.
        made_from: The setting that tells where they are.
        work_of: Prepares the work, for which it may restart this process.
    """
    settings = {
        made_from: place_text(config.data), CONTENT: content_digest(dataset),
        "observations": list(config.observations),
    }  # fmt: skip
    agreed_settings(config.out, settings, newer=(CONTENT,))  # of which earlier releases did not tell
    work = work_of(dataset, config.observations, config, retries=config.retries, quiet=config.quiet)
    return make_dataset(
        config.out, settings, work, fractions=dataset.fractions, games_per_shard=config.games_per_shard,
        quiet=config.quiet,
    )  # fmt: skip


def verify(config: VerifyConfig) -> int:
    """``strathack dataset verify``: returns 1 if something is no longer as it was written."""
    if config.replay and address_of(config.data) is not None:
        raise InputError(f"replay: {config.data} is elsewhere; fetch it first, by strathack dataset pull")
    shards = shards_at(config.data)
    if config.replay and config.workers == 0:
        default_clock(here=True)  # restarts this process now, not after the files were read
    problems = verify_shards(shards, quiet=config.quiet)
    for problem in problems:
        print(problem)
    if not config.replay:
        return _conclude(len(shards), problems)
    unsound = {problem.game for problem in problems}
    dataset = Dataset(config.data, on_corrupt="skip").select(config.select)
    sound = dataset.without(unsound)
    record = ReplayRecord(config.data, sound)
    work = replaying(sound.without(record.done), None, config, quiet=config.quiet)
    with stop_on_signal() as stop:
        do_jobs(work, list(work.jobs), record.keep, stop, quiet=config.quiet)
    for name, reason in record.departed.items():
        print(f"{name}: {reason}")
    if stop:
        record.write()
        return interrupted_by(stop.number)
    record.remove()
    print(f"{len(sound) - len(record.departed):,} of {len(dataset):,} games came back from their keys")
    return max(_conclude(len(shards), problems), int(bool(record.departed)))


def _conclude(shards: int, problems: list[Problem]) -> int:
    if problems:
        print(f"{len(problems)} problems in {shards} shards; `strathack dataset repair` keeps what verifies")
        return 1
    print(f"{shards} shards as they were written")
    return 0
