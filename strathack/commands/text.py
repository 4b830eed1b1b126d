"""``strathack text``: games of which only keys are kept are replayed by ``collect``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

import strathack
from strathack.analysis.opening import game_named, games_at
from strathack.collect.replaying.streaming import AnyFrames
from strathack.collect.running.jobs import do_jobs, stop_on_signal
from strathack.collect.running.pools import Failed, Outcome
from strathack.collect.running.results import GameText, Refused
from strathack.commands.text_worker import describing
from strathack.dataset import Dataset
from strathack.dataset.content import content_digest
from strathack.dataset.errors import InputError
from strathack.dataset.files import folder_lock, remove_temporary_files, told_if_unwritable
from strathack.dataset.reading import selected_games
from strathack.dataset.schema import is_replayable
from strathack.dataset.signals import interrupted_by
from strathack.dataset.splits import SPLITS
from strathack.dataset.writer import CONTENT
from strathack.text.cards import card_of
from strathack.text.chunks import Labels, Plan, Recipe, make_describer, plan, see
from strathack.text.coloring import colored
from strathack.text.exporting import ExportFolder
from strathack.text.history import ACTION, HISTORIES, History
from strathack.text.options import ExportConfig, ShowConfig, TokensConfig

GOES_ON = "the same command goes on from there"


def export(config: ExportConfig) -> int:
    """``strathack text export``: returns 1 if a game could not be described.

    Where that may be different another time, since a worker died, the export is left unfinished.

    Raises:
        InputError: If there is nothing to export, or the folder holds something else.
        RunError: If a file cannot be written.
    """
    dataset = selected_games(config.data, config.select, "export")
    check_shown(dataset, config.data, config.recipe)
    planned = plan(dataset, config.steps, config.draws, config.seed)
    if not planned.chunks:
        raise InputError(f"{config.data}: no game has {config.steps} steps for a chunk")
    folder, settings = ExportFolder(config.out), settings_of(config, dataset)
    with told_if_unwritable(config.out, GOES_ON):
        folder.begin(settings)
    with folder_lock(config.out):
        remove_temporary_files(config.out)
        if folder.begin(settings):
            print(f"{config.out}: is finished: {told_rows(folder.rows())}")
            return 0
        return _written(config, dataset, planned, folder)


def _written(config: ExportConfig, dataset: Dataset, planned: Plan, folder: ExportFolder) -> int:
    """Describes the games that are not there yet, and finishes the export; returns as :func:`export`."""
    writing = partial(told_if_unwritable, config.out, GOES_ON)
    print_plan(planned, config)
    failures: dict[str, str] = {}
    died: list[str] = []

    def keep(outcome: Outcome) -> None:
        if isinstance(outcome, Failed):
            failures[outcome.job] = outcome.reason
            died.append(outcome.job)
        elif isinstance(outcome.result, GameText):
            with writing():
                folder.add(outcome.job, outcome.result.rows)
        elif isinstance(outcome.result, Refused):
            failures[outcome.job] = outcome.result.reason

    work = describing(dataset, planned, config)
    with stop_on_signal() as stop:
        there = set(folder.parts())
        do_jobs(work, [name for name in work.jobs if name not in there], keep, stop, quiet=config.quiet)
    if stop:
        return interrupted_by(stop.number)
    for name, reason in failures.items():
        print(f"not exported: {name}: {reason}")
    if died:
        print(f"{config.out}: is not finished; the same command tries the {len(died)} games whose workers died again")
        return 1
    splits = {name: list(dataset.select(split=name).names) for name in SPLITS}
    card = partial(card_of, config, dataset, strathack.__version__)
    with writing():
        rows = folder.finish(splits, config.to, config.rows_per_file, card)
    print(f"{told_rows(rows)}, in {config.out}")
    return 1 if failures else 0


def check_shown(dataset: Dataset, path: Path, recipe: Recipe) -> None:
    """Checks that the observations that texts are made of are stored, or can be replayed.

    Raises:
        InputError: If not; the message names what is missing, and what would bring it.
    """
    missing = [key for key in recipe.observations if key not in dataset.observations]
    unknown = [name for name, known in zip(dataset.names, is_replayable(dataset.rows), strict=True) if not known]
    if missing and unknown:
        raise InputError(
            f"{path}: texts need {', '.join(missing)}, which are not stored, and {unknown[0]} cannot be replayed; "
            "dataset expand --observations all or dataset relabel bring them where keys and seeds are known"
        )


def settings_of(config: ExportConfig, dataset: Dataset) -> dict[str, object]:
    """Returns what decides an export's content."""
    return {
        "dataset": dataset.fingerprint, CONTENT: content_digest(dataset),
        **asdict(config.recipe), "chunks": config.chunks, "seed": config.seed,
        "to": config.to, "rows_per_file": config.rows_per_file,
    }  # fmt: skip


def print_plan(planned: Plan, config: ExportConfig) -> None:
    """Prints how many chunks are exported, and what is left out."""
    drawn = f"{planned.chunks:,} of {planned.possible:,} chunks" if config.draws else f"{planned.chunks:,} chunks"
    print(f"{drawn} of {config.steps} steps, from {len(planned.starts):,} games")
    if planned.too_short:
        print(f"too short for a chunk: {len(planned.too_short):,} games, {planned.too_short[0]} the first")


def told_rows(rows: Mapping[str, int]) -> str:
    """Returns the rows of each split in words."""
    return ", ".join(f"{count:,} rows to {split}" for split, count in rows.items() if count)


def show(config: ShowConfig) -> int:
    """``strathack text show``.

    Raises:
        InputError: If there is no such game or step, or its texts cannot be made.
        RunError: If the game cannot be replayed.
    """
    dataset = games_at(config.data)
    game = game_named(dataset, config.game)
    last = config.step + config.steps
    if last > len(game):
        raise InputError(f"step: {game.name} has {len(game):,} steps; {config.step} to {last - 1} are not among them")
    recipe = Recipe(config.dialect, config.history, config.steps, strategies=config.strategies)
    check_shown(dataset.take([list(dataset.names).index(game.name)]), config.data, recipe)
    describer = make_describer(recipe, (config.step,))
    with AnyFrames(processes=1) as frames:
        see(game, frames, describer)
    (row,) = describer.rows(Labels.of(game))
    console = Console()
    for line in colored(f"{row['prompt']}{row['completion']}"):
        console.print(line, soft_wrap=True)
    return 0


def tokens(config: TokensConfig) -> int:
    """``strathack text tokens``.

    Raises:
        InputError: If there are too few games, or the tokenizer cannot be read.
        RunError: If a game cannot be replayed.
    """
    from strathack.text.tokens import Cost, load_tokenizer, trained_tokenizer

    tokenizer = None if config.tokenizer is None else load_tokenizer(config.tokenizer)
    dataset = games_at(config.data).select(f"steps >= {config.steps}")
    if len(dataset) < config.games:
        raise InputError(f"{config.data}: {len(dataset)} games of {config.steps} steps or more; {config.games} wanted")
    dataset = dataset.take(range(config.games))
    check_shown(dataset, config.data, Recipe(config.dialect))
    histories = {history: told_steps(dataset, config, history) for history in HISTORIES}
    if tokenizer is None:
        # Every other game, so that costs are those of games that the tokenizer has not seen.
        texts = [text for games in histories.values() for steps in games[::2] for text in steps]
        tokenizer = trained_tokenizer(texts, config.vocabulary)
        histories = {history: games[1::2] for history, games in histories.items()}
    costs = {
        history: Cost.of([text for steps in games for text in steps], tokenizer) for history, games in histories.items()
    }
    table = Table("history", *(f"{what} a step" for what in ("bytes", "tokens")), "steps in 1,024 tokens", "in 4,096")
    for history, cost in costs.items():
        fits = (f"{(context / cost.tokens):,.1f}" for context in (1024, 4096))
        table.add_row(history, f"{cost.bytes:,.0f}", f"{cost.tokens:,.1f}", *fits)
    console = Console()
    console.print(table)
    longer = costs["full"].tokens / costs["diff"].tokens
    console.out(f"a history of diffs is {longer:.1f} times as long in as many tokens", highlight=False)
    return 0


def told_steps(dataset: Dataset, config: TokensConfig, history: History) -> list[list[str]]:
    """Returns each step but the first of each game as text: its action, and what it changed."""
    recipe = Recipe(config.dialect, history, config.steps)
    told = []
    with AnyFrames(processes=1) as frames:
        for game in dataset:
            describer = make_describer(recipe, (0,))
            see(game, frames, describer)
            (row,) = describer.rows(Labels.of(game))
            told.append([f"{ACTION}{step}" for step in row["completion"].split(ACTION)[1:-1]])
    return told
