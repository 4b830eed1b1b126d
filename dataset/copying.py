"""Copies games unchanged: one game of a shard, several datasets into one, the sound games of a damaged dataset."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import h5py

from strathack.dataset.arrays import StoredArray
from strathack.dataset.chunks import ChunkEncoder, write_column
from strathack.dataset.errors import FormatError, InputError
from strathack.dataset.folder import REPLIES, replies_path
from strathack.dataset.labels import UNLABELLED, label_names
from strathack.dataset.manifest import sha256_of
from strathack.dataset.options import WriterOptions
from strathack.dataset.progress import progress
from strathack.dataset.reading import Dataset, Game
from strathack.dataset.remote.pointers import is_elsewhere
from strathack.dataset.schema import INFERRED, LABEL_COLUMNS, LIBRARY_BOUNDS, PROBABILITY
from strathack.dataset.shard import (
    InferredLabels,
    inferred_columns,
    make_shard,
    read_shard,
    readable,
    write_tables,
    write_vocabularies,
)
from strathack.dataset.verify import Problem, verify_shard
from strathack.dataset.writer import DatasetWriter

_TOLD = {"hihack_strategy", *LABEL_COLUMNS, *(f"{name}{PROBABILITY}" for name in INFERRED.values())}
"""Columns that do not follow from a game's keys and frames."""


def one_game_shard(game: Game) -> bytes:
    """Returns a shard with one stored game; compressed chunks are copied unchanged."""
    codes = {label: game.arrays[label].codes for label in LABEL_COLUMNS if label in game.arrays}
    if is_elsewhere(game.path):
        for array in game.arrays.values():
            array.prefetch(0)
            array.check_sums()  # which HDF5 does not look at when it copies

    def copied(source: h5py.File) -> bytes:
        buffer = io.BytesIO()
        with make_shard(buffer, game.provenance) as target:
            with readable(game.path, game.name):
                source.copy(f"data/{game.name}", target["data"])
            write_tables(target, game.row.reshape(1), {label: label_names(of) for label, of in codes.items()})
        return buffer.getvalue()

    return read_shard(game.path, copied)


def shard_with_inferred(game: Game, inferred: Mapping[str, InferredLabels]) -> bytes:
    """Returns a shard with one stored game and what a labeller has inferred of it, beside all that is there.

    Args:
        game: The game.
        inferred: ``strategy``, ``substrategy`` → the labels.

    Raises:
        InputError: If the game has such labels already.
    """
    for label in inferred:
        if INFERRED[label] in game.arrays:
            raise InputError(f"{game.place}: {game.name} has {INFERRED[label]} already, which is not written over")
    buffer = io.BytesIO(one_game_shard(game))
    with h5py.File(buffer, "r+", libver=LIBRARY_BOUNDS) as file:
        for name, values, dtype in inferred_columns(inferred):
            write_column(file[f"data/{game.name}"], name, values, ChunkEncoder(), dtype)
        names = {label: label_names(game.arrays[label].codes) for label in LABEL_COLUMNS if label in game.arrays}
        names |= {INFERRED[label]: label_names(of_label.codes) for label, of_label in inferred.items()}
        write_vocabularies(file, names)
    return buffer.getvalue()


def sound_games(shard: Path, on_game: Callable[[Game], None]) -> tuple[list[Game], list[Problem]]:
    """Returns the games of a shard that pass verification, and what is wrong with the others or with the shard."""
    problems = list(verify_shard(shard, on_game))
    try:
        dataset = Dataset(shard)
    except FormatError:
        return [], problems
    unsound = {problem.game for problem in problems}
    return [game for game in dataset if game.name not in unsound], problems


def copies(datasets: Iterable[Dataset]) -> dict[str, list[Game]]:
    """Returns the name of each game → the copies that the datasets have of it, in order of the datasets."""
    found: dict[str, list[Game]] = {}
    for dataset in datasets:
        for game in dataset:
            found.setdefault(game.name, []).append(game)
    return found


def fullest(games: Sequence[Game]) -> Game | None:
    """Returns the copy of a game that holds all that the other copies do, the first of those; None if there is none.

    Copies are of one game if their keys and frames have the same digests. Whatever follows from these has to be there,
    in whatever form; labels have to be the same. Damaged copies are left out.

    Args:
        games: The copies.
    """
    if len(games) == 1:
        return games[0]
    digests = {(game.row["keys_sha256"], game.row["frames_sha256"]) for game in games}
    if len(digests) > 1 or not any(digests.pop()):
        return None
    held = [(game, own) for game in games if (own := _held(game)) is not None]
    return next((game for game, own in held if all(own.items() >= other.items() for _, other in held)), None)


def _held(game: Game) -> dict[str, str] | None:
    """Returns what is stored of a game: name → a digest; empty for what keys and frames tell. None if it is damaged."""
    try:
        return _digests(game)
    except FormatError:
        return None


def _digests(game: Game) -> dict[str, str]:
    held = {name: _told(array) if name in _TOLD else "" for name, array in game.arrays.items()}
    replies = replies_path(game.path.parent, game.name)
    if replies.is_file():
        held[REPLIES] = sha256_of(replies)
    return {name: digest for name, digest in held.items() if digest is not None}


def _told(labels: StoredArray) -> str | None:
    """Returns a digest of labels by their names, or of numbers; None if no step has one."""
    values = labels[:]
    if (values.view("u1") == UNLABELLED).all():
        return None
    content = "\n".join(labels.names()).encode() if labels.codes else values.tobytes()
    return hashlib.sha256(content).hexdigest()


def copy_games(
    games: Iterable[Game],
    out: DatasetWriter,
    shard_of: Callable[[Game], bytes],
    config: WriterOptions,
    what: str,
    *,
    replies: bool = True,
) -> None:
    """Begins a dataset and copies games into it; games that it already has are left as they are.

    Args:
        games: The games.
        out: Writes the dataset; its context is entered.
        shard_of: Returns a shard with one game.
        config: How the dataset is written.
        what: One or two words for the work.
        replies: Whether what language models replied goes with the games.
    """
    games = list(games)
    out.begin()
    with progress(what, sum(len(game) for game in games), quiet=config.quiet) as advance:
        for game in games:
            if game.name not in out.present:
                out.add(game.name, shard_of(game), made_of=game if replies else None)
            advance(len(game))
        out.merge(config.games_per_shard)
