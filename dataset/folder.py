"""A dataset folder: its settings, its shards, its failures, and the merge of one-game shards into larger ones."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from strathack.dataset.errors import FormatError, InputError
from strathack.dataset.files import atomic_write, is_merged, shard_order, sync_folder
from strathack.dataset.labels import unite_vocabularies
from strathack.dataset.schema import FORMAT_NAME, FORMAT_VERSION
from strathack.dataset.shard import (
    Provenance,
    make_shard,
    open_shard,
    read_games,
    read_tables,
    readable,
    with_fractions,
    write_tables,
)
from strathack.dataset.splits import Fractions

_SETTINGS_FILE = "dataset.json"
_FAILURES_FILE = "failures.json"

REPLIES = "replies"
"""The folder in a dataset's folder that holds the replies."""


@dataclass(frozen=True)
class StoredGame:
    """A game and the shard that holds it."""

    row: np.void
    shard: Path

    @property
    def name(self) -> str:
        """Name of the game's group under ``/data``."""
        return str(self.row["game"].decode())


class DatasetFolder:
    """The files of one dataset.

    ``dataset.json`` holds the settings, ``failures.json`` the games that could not be made, each ``game_<seed>.h5`` one
    game and each ``shard-<n>.h5`` several.

    Args:
        path: The folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read_settings(self) -> dict[str, Any] | None:
        """The settings of an existing dataset, or None where there is no dataset.

        Raises:
            FormatError: If ``dataset.json`` is of another format or version.
            InputError: If the path is a file, or a folder with other things in it.
        """
        path = self.path / _SETTINGS_FILE
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: is a file; expected a folder for the dataset")
        if not path.exists():
            if self.path.is_dir() and any(not p.name.startswith(".") for p in self.path.iterdir()):
                raise InputError(f"{self.path}: is not empty and holds no {_SETTINGS_FILE}; expected a dataset")
            return None
        try:
            content = json.loads(path.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise FormatError(f"{path}: not readable as JSON ({error})") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT_NAME:
            raise FormatError(f"{path}: not the settings of a strathack dataset")
        if content.get("version") != FORMAT_VERSION:
            raise FormatError(
                f"{path}: format version {content.get('version')}, this release writes version {FORMAT_VERSION}; "
                "choose another folder, or use the release of strathack that wrote it"
            )
        settings = content.get("settings", {})
        if not isinstance(settings, dict):
            raise FormatError(f"{path}: its settings are no names and values")
        return dict(settings)

    def write_settings(self, settings: Mapping[str, Any], fractions: Fractions | None = None) -> None:
        """Writes ``dataset.json``, with the shares by which the games of a new folder are split, if they are given."""
        splits = {} if fractions is None or fractions == Fractions() else {"splits": asdict(fractions)}
        self._write_content(settings=dict(settings), **splits)

    def _write_content(self, **changes: Any) -> None:
        path = self.path / _SETTINGS_FILE
        content = json.loads(path.read_text()) if path.exists() else {}
        content = {"format": FORMAT_NAME, "version": FORMAT_VERSION, **content, **changes}
        atomic_write(path, json.dumps(content, indent=1).encode() + b"\n")

    def read_fractions(self) -> Fractions:
        """Returns the shares by which the games are split.

        Raises:
            FormatError: If they are damaged.
        """
        path = self.path / _SETTINGS_FILE
        content = json.loads(path.read_text()) if path.exists() else {}
        try:
            return Fractions.from_values(content["splits"]) if "splits" in content else Fractions()
        except InputError as error:
            raise FormatError(f"{path}: {error}") from None

    def write_fractions(self, fractions: Fractions) -> Iterator[Path]:
        """Splits the games anew, shard by shard; a rerun continues where an interrupted call stopped.

        Yields:
            Each shard once it is done.
        """
        self._write_content(splits=asdict(fractions))
        for shard in self.shards():
            if read_tables(shard).fractions != fractions:
                atomic_write(shard, with_fractions(shard.read_bytes(), fractions))
            yield shard

    def read_failures(self) -> dict[str, str]:
        """Returns game name → why the game could not be made."""
        path = self.path / _FAILURES_FILE
        try:
            return {str(game): str(text) for game, text in json.loads(path.read_text()).items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError):
            raise FormatError(f"{path}: no names of games and texts; remove the file") from None

    def write_failures(self, failures: Mapping[str, str]) -> None:
        """Writes ``failures.json``, or removes it if there are no failures."""
        path = self.path / _FAILURES_FILE
        if failures:
            atomic_write(path, json.dumps(dict(sorted(failures.items())), indent=1).encode() + b"\n")
        else:
            path.unlink(missing_ok=True)

    def shards(self) -> list[Path]:
        """Returns every shard: merged shards in order, then one-game shards by name."""
        paths = [p for p in self.path.glob("*.h5") if not p.name.startswith(".")]
        return sorted(paths, key=lambda path: shard_order(path.name))

    def add_game(self, name: str, shard: bytes) -> Path:
        """Writes a one-game shard, whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        path = self.path / f"{name}.h5"
        fractions = self.read_fractions()
        atomic_write(path, shard if fractions == Fractions() else with_fractions(shard, fractions))
        return path

    def games(self) -> list[StoredGame]:
        """Returns every game once, in order of shards.

        If a killed merge left a game both in a merged shard and in its own shard, the game is taken from the merged
        shard.
        """
        found: dict[str, StoredGame] = {}
        for shard in self.shards():
            for row in read_games(shard):
                game = StoredGame(row, shard)
                found.setdefault(game.name, game)
        return list(found.values())

    def merge(self, games_per_shard: int) -> Iterator[int]:
        """Copies one-game shards, sorted by seed, into larger ones; compressed chunks are copied unchanged.

        Games of different demonstrators, options or observations do not share a shard.

        A merge may be killed at any point: a one-game shard is removed only when a synced shard holds its game, and
        the next merge removes the duplicates that a killed one left.

        Args:
            games_per_shard: Games in a shard; the last may hold fewer. With 1, games stay in their own files.

        Yields:
            The number of games merged so far, after every shard.
        """
        merged = [p for p in self.shards() if is_merged(p.name)]
        present = {row["game"] for path in merged for row in read_games(path)}
        single = {path: read_tables(path) for path in self.shards() if path not in merged}
        known = {path: [row["game"] in present for row in tables.rows] for path, tables in single.items()}
        self._remove(path for path, games in known.items() if games and all(games))
        if games_per_shard == 1:
            return
        waiting = [path for path, games in known.items() if games and not any(games)]
        waiting.sort(key=lambda path: (int(single[path].rows[0]["core"]), single[path].rows[0]["game"]))
        alike: dict[Provenance, list[Path]] = {}
        for path in waiting:
            alike.setdefault(single[path].provenance.shared, []).append(path)
        parts = [
            paths[i : i + games_per_shard] for paths in alike.values() for i in range(0, len(paths), games_per_shard)
        ]
        index = max((int(p.stem.split("-")[1]) for p in merged), default=-1) + 1
        done = 0
        for part in parts:
            self._write_merged(self.path / f"shard-{index:05d}.h5", part)
            self._remove(part)
            index += 1
            done += len(part)
            yield done

    def _remove(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink()
        sync_folder(self.path)

    def _write_merged(self, target: Path, sources: Sequence[Path]) -> None:
        tables = [read_tables(source) for source in sources]
        provenance = reduce(Provenance.merged_with, (table.provenance for table in tables))
        buffer = io.BytesIO()
        with make_shard(buffer, provenance) as merged:
            for source in sources:
                with open_shard(source) as file, readable(source, "its games"):
                    for name in file["data"]:
                        file.copy(f"data/{name}", merged["data"])
            rows = np.concatenate([table.rows for table in tables])
            vocabularies = unite_vocabularies(table.vocabularies for table in tables)
            write_tables(merged, rows, vocabularies, self.read_fractions())
        atomic_write(target, buffer.getbuffer())


def replies_path(folder: Path, name: str) -> Path:
    """Returns where the replies of a game are kept.

    Args:
        folder: The dataset's folder.
        name: The game's name.
    """
    return folder / REPLIES / f"{name}.parquet"
