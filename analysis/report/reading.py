"""Reads the data of a report: the games, the games to be watched, and a card that describes the data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from strathack.analysis.film import Film
from strathack.analysis.opening import game_named
from strathack.analysis.report.films import PackedFilm, packed
from strathack.analysis.scores import EVALUATION
from strathack.analysis.steps import GameSteps, names_of, steps_of
from strathack.dataset import Dataset
from strathack.dataset.errors import FormatError
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.frames import FrameSource
from strathack.dataset.printing import told_score
from strathack.dataset.remote.addresses import address_of
from strathack.dataset.remote.pointers import size_of
from strathack.dataset.schema import FORMAT_VERSION

OnGame = Callable[[int], None]
"""Called after each game, with the game's number of steps."""


def read_games(
    dataset: Dataset, frames: FrameSource | None, on_game: OnGame, label: str = "strategy"
) -> tuple[list[GameSteps], list[str]]:
    """Reads all games that can be read, in order of seeds; also returns why others could not, one line for each.

    Args:
        dataset: The games.
        frames: See :func:`strathack.analysis.steps.read_steps`.
        on_game: Called after each game, with its number of steps.
        label: The column that tells the strategy.

    Raises:
        InputError: If a game has no such column.
    """
    names = names_of(dataset, label)
    games, left_out = [], list(dataset.left_out)
    for game in dataset:
        try:
            games.append(steps_of(game, names, frames, label))
        except FormatError as error:
            left_out.append(str(error))
        on_game(len(game))
    games.sort(key=lambda game: (int(game.info["core"]), str(game.info["game"])))
    return games, left_out


def spread_by_score(games: Sequence[GameSteps], count: int) -> list[str]:
    """Returns the names of ``count`` games, spread evenly from the best score to the worst."""
    ordered = sorted((game for game in games if len(game.codes)), key=lambda game: -int(game.info["score"]))
    places = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    return [str(ordered[place].info["game"]) for place in places]


def pack_films(
    dataset: Dataset, names: Sequence[str], frames: FrameSource, on_game: OnGame, label: str = "strategy"
) -> tuple[list[PackedFilm], list[str]]:
    """Packs games to be watched in the page; also returns why some could not be packed, one line for each.

    Args:
        dataset: The games.
        names: Names or seeds of the games to pack.
        frames: Source of the games' screens.
        on_game: Called after each game, with its number of steps.
        label: The column that tells the strategy.

    Raises:
        InputError: If a game does not exist, or has no such column.
        RunError: If a game cannot be replayed.
    """
    films, left_out = [], []
    for game in [game_named(dataset, name) for name in names]:
        try:
            with closing(Film(game, frames, label)) as film:
                title = (
                    f"{game.name} · {game.info['role']} · score {told_score(game.info['score'])} · {len(game):,} steps"
                )
                films.append(PackedFilm(game.name, title, packed(film)))
        except FormatError as error:
            left_out.append(f"cannot be watched: {error}")
        on_game(len(game))
    return films, left_out


def card_of(path: Path, dataset: Dataset, games: Sequence[GameSteps]) -> list[tuple[str, str]]:
    """Returns what the data are and how they were made, as labels and values.

    Args:
        path: The path that was asked for.
        dataset: The games at that path.
        games: The games that could be read.
    """
    size = sum(map(size_of, dataset.paths))
    stored = sum(int(tables.rows["steps"].sum()) for tables in dataset.tables)
    files = f"{len(dataset.paths)} file{'s' * (len(dataset.paths) != 1)}"
    read = {str(game.info["game"]) for game in games}
    failures = _failures(dataset)
    dataset = dataset.take(place for place, name in enumerate(dataset.names) if name in read)
    provenances = list(dict.fromkeys(tables.provenance for tables in dataset.tables))
    rows = [
        ("Data", address_of(path) or str(path.resolve())),
        ("Size", f"{size:,} bytes in {files}, {size / max(stored, 1):.2f} a step"),
        ("Format", f"strathack {FORMAT_VERSION}"),
        ("Observations", ", ".join(dataset.observations) or "none; the keys, from which games can be replayed"),
        ("Splits", _counted(dataset.splits.tolist())),
        ("Ends", _counted(dataset.games["end"])),
        ("Complete", _counted(dataset.games["completeness"])),
        ("Arrays come from", _counted(dataset.games["origin"])),
        ("Clock of the games", _counted(dataset.games["clock"])),
        ("Played by", _joined(one.played_by for one in provenances)),
        ("NLE", _joined(one.nle_version for one in provenances)),
        ("Settings", _joined(_settings(one.options) for one in provenances)),
        ("Command", _joined(one.command for one in provenances)),
        ("Revision", _joined(one.revision for one in provenances) or "an installed package"),
        ("Created", _joined(one.created for one in provenances)),
    ]
    return [*_evaluation(path), *rows, *failures]


def _evaluation(path: Path) -> list[tuple[str, str]]:
    try:
        told: dict[str, Any] = json.loads((path / EVALUATION).read_text())
        wanted = {
            "Evaluation of": told["options"]["what"],
            "Protocol": f"{told['protocol']}: {told['described']}" if told.get("protocol") else "",
            "Evaluated by": told["command"],
            "Evaluated": told["created"],
        }
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [(label, str(value)) for label, value in wanted.items() if value]


def _failures(dataset: Dataset) -> list[tuple[str, str]]:
    folders, there = {shard.parent for shard in dataset.paths}, set(dataset.names)
    failures = {name: why for folder in sorted(folders) for name, why in DatasetFolder(folder).read_failures().items()}
    failures = {name: why for name, why in failures.items() if name not in there}
    return [("Could not be made", "\n".join(f"{name}: {why}" for name, why in failures.items()))] if failures else []


def _counted(values: Any) -> str:
    return ", ".join(f"{value} {count:,}" for value, count in Counter(map(str, values)).most_common())


def _joined(values: Any) -> str:
    lines = dict.fromkeys(line for value in values for line in value.splitlines() if line)
    return "\n".join(lines)


def _settings(options: str) -> str:
    try:
        values = json.loads(options)
    except ValueError:
        return options
    return ", ".join(f"{name} {value}" for name, value in values.items() if value not in ("", None, []))
