"""An export's folder: one file for each game while it is made, then the files that ``datasets`` and trainers read.

A folder can be made in several goes: what is there of the same settings is kept, and a file is there whole or not at
all.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from strathack.dataset.errors import InputError
from strathack.dataset.files import atomic_write, check_writable, is_empty
from strathack.dataset.writer import CONTENT, differences
from strathack.text.balrog import encode_record, record_path
from strathack.text.chunks import Layout

SETTINGS, PARTS, DATA, CARD = "export.json", "parts", "data", "README.md"

_LABELS = (
    ("game", pyarrow.string()), ("seed", pyarrow.int64()), ("role", pyarrow.string()), ("start", pyarrow.int64()),
    ("steps", pyarrow.int64()), ("actions", pyarrow.list_(pyarrow.string())),
    ("strategies", pyarrow.list_(pyarrow.string())), ("substrategies", pyarrow.list_(pyarrow.string())),
    ("score", pyarrow.int64()), ("dialect", pyarrow.string()),
)  # fmt: skip

_TEXTS: Mapping[Layout, Sequence[tuple[str, pyarrow.DataType]]] = {
    "completion": [("prompt", pyarrow.string()), ("completion", pyarrow.string())],
    "messages": [
        ("messages", pyarrow.list_(pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])))
    ],
    "balrog": [
        ("seen", pyarrow.list_(pyarrow.string())), ("carried", pyarrow.list_(pyarrow.string())),
        ("rewards", pyarrow.list_(pyarrow.float64())), ("start_time", pyarrow.int64()),
    ],
}  # fmt: skip


def schema_of(layout: Layout) -> pyarrow.Schema:
    """Returns the columns of an export and their types."""
    return pyarrow.schema([*_TEXTS[layout], *_LABELS])


def encode_rows(rows: Sequence[Mapping[str, Any]], layout: Layout) -> bytes:
    """Returns rows as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    parquet.write_table(
        pyarrow.Table.from_pylist(list(rows), schema=schema_of(layout)), buffer, compression="zstd", row_group_size=1000
    )
    return buffer.getvalue()


@dataclass(frozen=True)
class ExportFolder:
    """The folder of an export.

    Attributes:
        path: The folder.
    """

    path: Path

    def begin(self, settings: Mapping[str, Any]) -> bool:
        """Begins an export, or goes on with one of the same settings; returns whether it is finished already.

        Raises:
            InputError: If the folder holds another export, or something else, or is not writable.
        """
        check_writable(self.path)
        there = self._read()
        if there is not None:
            # Earlier releases did not tell of the content.
            told = {name: value for name, value in settings.items() if name in there or name != CONTENT}
            differing = differences(there, told)
            if differing:
                raise InputError(f"{self.path}: holds an export of other settings: {differing}")
            return bool(there.get("finished"))
        if self.path.exists() and not is_empty(self.path):
            raise InputError(f"{self.path}: is not empty, and holds no export")
        self.path.mkdir(parents=True, exist_ok=True)
        self._write({**settings, "finished": False})
        return False

    def parts(self) -> list[str]:
        """Returns the names of the games that are there."""
        return sorted(path.stem for path in (self.path / PARTS).glob("*.parquet"))

    def add(self, game: str, data: bytes) -> None:
        """Adds a game's rows."""
        (self.path / PARTS).mkdir(exist_ok=True)
        atomic_write(self.path / PARTS / f"{game}.parquet", data)

    def finish(
        self, splits: Mapping[str, Sequence[str]], to: str, rows_per_file: int, card: Callable[[int], str]
    ) -> dict[str, int]:
        """Joins the games' files into those of the splits, and removes them.

        Args:
            splits: Split → names of games.
            to: ``parquet``, ``jsonl`` or ``balrog``, which has a file for each row.
            rows_per_file: Rows of a file.
            card: Returns the text of the export's README.md, given the number of rows.

        Returns:
            Split → rows.
        """
        rows, there = {}, set(self.parts())
        for split, games in splits.items():
            paths = [self.path / PARTS / f"{game}.parquet" for game in games if game in there]
            rows[split] = sum(parquet.read_metadata(path).num_rows for path in paths)
            if to == "balrog":
                self._write_records(split, paths)
            else:
                self._write_tables(split, paths, to, -(-rows[split] // rows_per_file), rows_per_file)
        atomic_write(self.path / CARD, card(sum(rows.values())).encode())
        self._write({**self.settings(), "finished": True, "rows": rows})
        shutil.rmtree(self.path / PARTS, ignore_errors=True)
        return rows

    def _write_tables(self, split: str, paths: Sequence[Path], to: str, count: int, rows_per_file: int) -> None:
        (self.path / DATA).mkdir(exist_ok=True)
        for number, table in enumerate(_tables(paths, rows_per_file)):
            name = f"{split}-{number:05d}-of-{count:05d}.{to}"
            atomic_write(self.path / DATA / name, _encoded(table, to))

    def _write_records(self, split: str, paths: Sequence[Path]) -> None:
        """Writes records, those of a split in a folder of their own: BALROG looks into all folders of a task."""
        for path in paths:
            for row in parquet.read_table(path).to_pylist():
                place = record_path(row)
                file = self.path / place.parent / split / place.name
                file.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(file, encode_record(row))

    def rows(self) -> dict[str, int]:
        """Returns the rows of each split of a finished export."""
        return dict(self.settings()["rows"])

    def settings(self) -> dict[str, Any]:
        """Returns what decided the export's content, and whether it is ``finished``.

        Raises:
            InputError: If the folder holds no export.
        """
        there = self._read()
        if there is None:
            raise InputError(f"{self.path}: no export in it; expected {SETTINGS}")
        return there

    def _read(self) -> dict[str, Any] | None:
        path = self.path / SETTINGS
        if not path.is_file():
            return None
        try:
            settings: dict[str, Any] = json.loads(path.read_text())
        except ValueError:
            raise InputError(f"{path}: not the settings of an export") from None
        return settings

    def _write(self, settings: Mapping[str, Any]) -> None:
        atomic_write(self.path / SETTINGS, json.dumps(settings, indent=2).encode())


def _tables(paths: Sequence[Path], rows: int) -> Iterator[pyarrow.Table]:
    """Yields the rows of several files, so many at a time."""
    waiting: list[pyarrow.Table] = []
    count = 0
    for path in paths:
        table = parquet.read_table(path)
        while count + len(table) >= rows:
            yield pyarrow.concat_tables([*waiting, table.slice(0, rows - count)])
            table, waiting, count = table.slice(rows - count), [], 0
        if len(table):
            waiting.append(table)
            count += len(table)
    if waiting:
        yield pyarrow.concat_tables(waiting)


def _encoded(table: pyarrow.Table, to: str) -> bytes:
    if to == "jsonl":
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in table.to_pylist()).encode()
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd", row_group_size=1000)
    return buffer.getvalue()
