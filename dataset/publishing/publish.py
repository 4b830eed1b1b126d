"""Makes a folder that is ready to be uploaded as it is: shards, tables, card, description, checksums."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from strathack.dataset.content import content_digest
from strathack.dataset.copying import copy_games, one_game_shard
from strathack.dataset.errors import InputError
from strathack.dataset.exporting import StepTable
from strathack.dataset.files import absolute, atomic_write, sync_folder, told_if_unwritable
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.frames import FrameSource, source_of
from strathack.dataset.keys import check_replayable, keys_only_shard
from strathack.dataset.manifest import files_of, sha256_of, write_manifest
from strathack.dataset.options import PublishDataConfig
from strathack.dataset.progress import progress
from strathack.dataset.publishing.card import About, card_of
from strathack.dataset.publishing.croissant import croissant_of
from strathack.dataset.publishing.layout import (
    CARD,
    CROISSANT,
    FILES_PER_FOLDER,
    STEPS_PER_FILE,
    STEPS_PER_FILE_OF_SCREENS,
    Files,
    games_table,
    parts_of,
    splits_of,
)
from strathack.dataset.publishing.statistics import Statistics
from strathack.dataset.reading import Dataset, selected_games
from strathack.dataset.writer import DatasetWriter, agreed_settings


def published_folder(config: PublishDataConfig) -> Dataset:
    """Makes the folder, or what of it is not there yet; returns the dataset in it.

    Raises:
        InputError: If the games cannot be published as asked, or the folder holds something else.
        RunError: If something cannot be written; the same command goes on from there.
    """
    dataset = selected_games(config.data, config.select, "publish")
    _check(config, dataset)
    settings = {
        "published": content_digest(dataset),
        "observations": list(dataset.observations) if config.observations else [],
        "screens": config.screens,
    }
    agreed_settings(config.out, settings)
    shard_of = one_game_shard if config.observations else keys_only_shard
    with (
        told_if_unwritable(config.out, "the same command goes on from here"),
        DatasetWriter(config.out, settings, fractions=dataset.fractions, publishes=True) as writer,
    ):
        copy_games(dataset, writer, shard_of, config, "writing shards", replies=False)
        made = Dataset(config.out)
        _check_split(config, made, dataset)
        files = _write_tables(config, made, dataset if config.screens else made)
        _describe(config, made, files)
    return made


def _check(config: PublishDataConfig, dataset: Dataset) -> None:
    if config.observations and not dataset.observations:
        raise InputError(f"observations: {config.data} has only keys; strathack dataset expand brings the frames back")
    if not config.observations:
        check_replayable(dataset, "publish")
    if config.screens and "tty_chars" not in dataset.observations and not dataset.shows_by_replay:
        raise InputError(f"screens: {config.data} has no tty_chars, and not all of its games can be replayed")
    if config.notes is not None and not config.notes.is_file():
        raise InputError(f"notes: {config.notes}: no such file")


def _check_split(config: PublishDataConfig, made: Dataset, dataset: Dataset) -> None:
    """Checks that the folder was not split anew between two tries; tables that are there tell the split of the first.

    Raises:
        InputError: If it was.
    """
    if made.fractions != dataset.fractions:
        raise InputError(
            f"{config.out}: is split by {made.fractions.to_json()}, but {config.data} by "
            f"{dataset.fractions.to_json()}; publish into another folder"
        )


def _write_tables(config: PublishDataConfig, dataset: Dataset, shown: Dataset) -> Files:
    """Writes the tables; one that is there is whole, and kept.

    Args:
        config: The options.
        dataset: The games in the folder.
        shown: The same games, with the frames that the steps are written with, if they are.
    """
    # Not in the order of shards, which differs between a game each and several, and so between two tries.
    dataset = dataset.take(np.lexsort((dataset.rows["game"], dataset.rows["core"])))
    splits = splits_of(dataset)
    table = StepTable.of(dataset, screens=config.screens, categories=False)
    most = STEPS_PER_FILE_OF_SCREENS if config.screens else STEPS_PER_FILE
    places, names = {name: place for place, name in enumerate(shown.names)}, dataset.names
    with (
        closing(source_of(shown)) as frames,
        progress("writing tables", dataset.steps, quiet=config.quiet) as advance,
    ):
        for split in splits:
            _write_once(config.out / games_table(split), partial(_write_games, dataset, split))
            for part in parts_of(dataset, split, most):
                games = shown.take(places[names[place]] for place in part.games)
                _write_once(config.out / part.name, _writing(table, games, frames, advance))
    shards = [path.name for path in DatasetFolder(config.out).shards()]
    columns = ["game", "step", *table.columns, *(["screen"] if config.screens else [])]
    return Files(shards, splits, columns)


def _writing(
    table: StepTable, games: Dataset, frames: FrameSource, advance: Callable[[int], None]
) -> Callable[[Path], None]:
    return lambda path: table.write(games, path, lambda game: advance(len(game)), frames)


def _write_games(dataset: Dataset, split: str, path: Path) -> None:
    games = dataset.select(split=split).games.drop(columns="shard")
    texts = {name: str for name, kind in games.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
    games.astype(texts).to_parquet(path, index=False)


def _write_once(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a file under another name, and renames it; does nothing if it is there."""
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    write(unfinished)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.rename(path)
    sync_folder(path.parent)


def _describe(config: PublishDataConfig, dataset: Dataset, files: Files) -> None:
    """Writes the card, the description for machines, and the checksums of all files."""
    name = config.name or absolute(config.out).name
    notes = config.notes.read_text("utf-8", "replace") if config.notes is not None else ""
    about = About(name, config.license, config.author, config.push or "", notes)
    for folder in ("", "games", "steps"):
        count = sum(1 for path in (config.out / folder).iterdir() if path.is_file())
        if count >= FILES_PER_FOLDER:
            raise InputError(f"games_per_shard: {count:,} files in a folder; expected fewer than {FILES_PER_FOLDER:,}")
    atomic_write(config.out / CARD, card_of(dataset, Statistics(dataset), about, files).encode())
    data = [name for name in files_of(config.out) if name.endswith((".h5", ".parquet"))]
    sums = {name: sha256_of(config.out / name) for name in data}
    description = f"{len(dataset):,} games of NetHack, {dataset.steps:,} steps, with keys and strategies."
    croissant = croissant_of(
        about,
        description,
        _published(config.out),
        files,
        sums,
        {name: (config.out / name).stat().st_size for name in data},
    )
    atomic_write(config.out / CROISSANT, json.dumps(croissant, indent=1).encode() + b"\n")
    write_manifest(config.out, sums)


def _published(folder: Path) -> str:
    """Returns the date of publishing, which stays when the folder is made again."""
    path = folder / CROISSANT
    if path.exists():
        there: str = json.loads(path.read_text())["datePublished"]
        return there
    return datetime.now(timezone.utc).date().isoformat()
