"""A dataset folder: its settings, its shards, its failures, and the merge of one-game shards into larger ones."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strathack.dataset.errors import FormatError, InputError
from strathack.dataset.files import atomic_write, sync_folder
from strathack.dataset.schema import FORMAT_NAME, FORMAT_VERSION, GAME_DTYPE
from strathack.dataset.shard import Provenance, new_shard, open_shard, read_games, write_games_table

_SETTINGS_FILE = "dataset.json"
_FAILURES_FILE = "failures.json"
_SHARD_NAME = re.compile(r"shard-(\d+)\.h5")


@dataclass(frozen=True)
class StoredGame:
    """A game and the shard that holds it."""

    row: np.void
    shard: Path

    @property
    def name(self) -> str:
        """Name of its group under ``/data``."""
        return str(self.row["game"].decode())


class DatasetFolder:
    """The files of one dataset.

    ``dataset.json`` holds the settings, ``failures.json`` the games that could not be played,
    ``game_<seed>.h5`` one game each and ``shard-<n>.h5`` several.

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
        return dict(content["settings"])

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Writes ``dataset.json``."""
        content = {"format": FORMAT_NAME, "version": FORMAT_VERSION, "settings": dict(settings)}
        atomic_write(self.path / _SETTINGS_FILE, json.dumps(content, indent=1).encode() + b"\n")

    def read_failures(self) -> dict[str, str]:
        """Game name → why it could not be played."""
        path = self.path / _FAILURES_FILE
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def write_failures(self, failures: Mapping[str, str]) -> None:
        """Writes ``failures.json``; without failures there is none."""
        path = self.path / _FAILURES_FILE
        if failures:
            atomic_write(path, json.dumps(dict(sorted(failures.items())), indent=1).encode() + b"\n")
        else:
            path.unlink(missing_ok=True)

    def shards(self) -> list[Path]:
        """Every shard: merged ones in order, then one-game shards by name."""
        paths = [p for p in self.path.glob("*.h5") if not p.name.startswith(".")]
        return sorted(paths, key=lambda p: (not _SHARD_NAME.fullmatch(p.name), p.name))

    def add_game(self, name: str, shard: bytes) -> Path:
        """Writes a one-game shard, whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        path = self.path / f"{name}.h5"
        atomic_write(path, shard)
        return path

    def games(self) -> list[StoredGame]:
        """Every game once, in order of shards.

        A game that stands in a merged shard and in its own (a merge was killed in between) is taken from the
        merged one.
        """
        found: dict[str, StoredGame] = {}
        for shard in self.shards():
            for row in read_games(shard):
                game = StoredGame(row, shard)
                found.setdefault(game.name, game)
        return list(found.values())

    def merge(self, games_per_shard: int) -> Iterator[int]:
        """Copies one-game shards, sorted by seed, into larger ones; compressed chunks move as they are.

        It may be killed at any point: a one-game shard is removed only when a synced shard holds its game, and
        what a killed merge left doubled is removed by the next one.

        Args:
            games_per_shard: Games in a shard; the last may hold fewer. With 1, games stay in their own files.

        Yields:
            The number of games merged so far, after every shard.
        """
        merged = [p for p in self.shards() if _SHARD_NAME.fullmatch(p.name)]
        present = {row["game"] for path in merged for row in read_games(path)}
        single = {path: read_games(path)[0] for path in self.shards() if path not in merged}
        self._remove(path for path, row in single.items() if row["game"] in present)
        if games_per_shard == 1:
            return
        waiting = [(path, row) for path, row in single.items() if row["game"] not in present]
        waiting.sort(key=lambda item: (int(item[1]["core"]), item[1]["game"]))
        index = max((int(p.stem.split("-")[1]) for p in merged), default=-1) + 1
        for start in range(0, len(waiting), games_per_shard):
            part = waiting[start : start + games_per_shard]
            self._write_merged(self.path / f"shard-{index:05d}.h5", [path for path, _ in part])
            self._remove(path for path, _ in part)
            index += 1
            yield start + len(part)

    def _remove(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink()
        sync_folder(self.path)

    @staticmethod
    def _write_merged(target: Path, sources: Sequence[Path]) -> None:
        provenance = None
        for source in sources:
            with open_shard(source) as file:
                one = Provenance.from_attributes(file.attrs)
            provenance = one if provenance is None else provenance.merged_with(one)
        assert provenance is not None, "a merge has at least one source"
        buffer = io.BytesIO()
        rows = []
        with new_shard(buffer, provenance) as merged:
            for source in sources:
                with open_shard(source) as file:
                    for name in file["data"]:
                        file.copy(f"data/{name}", merged["data"])
                    rows.append(file["games"][...])
            write_games_table(merged, np.concatenate(rows).astype(GAME_DTYPE))
        atomic_write(target, buffer.getbuffer())
