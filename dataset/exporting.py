"""Exports for other tools: Parquet tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.frames import FrameSource
from strathack.dataset.labels import names_by_code
from strathack.dataset.reading import Dataset, Game
from strathack.dataset.schema import (
    FRAME_CHUNK_STEPS,
    INFERRED,
    LABEL_COLUMNS,
    PROBABILITY,
    SCREEN_COLUMNS,
    SCREEN_ROWS,
    STORED_COLUMNS,
)

ROWS_PER_GROUP = 1 << 20
"""Steps that are gathered into one row group of a Parquet file."""

ROWS_PER_GROUP_OF_SCREENS = 1 << 15
"""The same where each step has its screen: some 60 MB."""


def export_games(dataset: Dataset, out: Path) -> None:
    """Writes ``games.parquet``, the table of games, into a folder."""
    dataset.games.drop(columns="shard").to_parquet(out / "games.parquet", index=False)


def export_parquet(dataset: Dataset, out: Path, on_game: Callable[[Game], None]) -> None:
    """Writes ``games.parquet``, the table of games, and ``steps.parquet``, every one-dimensional array.

    Each step is a row with the game's name and the step's number in the game; actions, strategies and substrategies are
    given by name.
    """
    out.mkdir(parents=True, exist_ok=True)
    export_games(dataset, out)
    StepTable.of(dataset).write(dataset, out / "steps.parquet", on_game)


@dataclass(frozen=True)
class StepTable:
    """A table with a row a step, as Parquet.

    Attributes:
        columns: The stored columns that the table has, after ``game`` and ``step``.
        screens: Whether it has the column ``screen``, the 24 lines of the terminal.
        categories: Whether texts are of Arrow's dictionary type, which pandas reads as categories, and not plain text,
            which is all that the package ``datasets`` reads.
    """

    columns: tuple[str, ...]
    screens: bool = False
    categories: bool = True

    @classmethod
    def of(cls, dataset: Dataset, *, screens: bool = False, categories: bool = True) -> StepTable:
        """Returns the table of a dataset, with the columns of inferred labels only if its games may have them."""
        inferred = [name for name in INFERRED.values() if not dataset.names_of(name)]
        lacking = {*inferred, *(f"{name}{PROBABILITY}" for name in inferred)}
        return cls(tuple(name for name in STORED_COLUMNS if name not in lacking), screens, categories)

    def write(
        self, dataset: Dataset, path: Path, on_game: Callable[[Game], None], frames: FrameSource | None = None
    ) -> None:
        """Writes the steps of games into a file.

        Args:
            dataset: The games.
            path: The file.
            on_game: Called after each game.
            frames: Where screens, and rewards that are not stored, come from; needed for ``screens``.
        """
        schema = self._schema()
        most = ROWS_PER_GROUP_OF_SCREENS if self.screens else ROWS_PER_GROUP
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            waiting, rows = [], 0
            for game in dataset:
                waiting.append(pa.table(self._columns_of(game, frames), schema=schema))
                rows += len(game)
                if rows >= most:
                    writer.write_table(pa.concat_tables(waiting).unify_dictionaries(), row_group_size=most)
                    waiting, rows = [], 0
                on_game(game)
            if waiting:
                writer.write_table(pa.concat_tables(waiting).unify_dictionaries(), row_group_size=most)

    def _schema(self) -> pa.Schema:
        text = pa.dictionary(pa.int32(), pa.string()) if self.categories else pa.string()
        texts = {*LABEL_COLUMNS, "actions"}
        columns = {name: text if name in texts else _arrow_type(name) for name in self.columns}
        screen = [("screen", pa.list_(pa.string(), SCREEN_ROWS))] if self.screens else []
        return pa.schema([("game", text), ("step", pa.int64()), *columns.items(), *screen])

    def _columns_of(self, game: Game, frames: FrameSource | None) -> dict[str, Any]:
        steps = len(game)

        def named(codes: np.ndarray, names: list[str]) -> Any:
            values = pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names))
            return values if self.categories else values.cast(pa.string())

        action_names = [*ACTION_NAMES, *[""] * (256 - len(ACTION_NAMES))]
        columns = {
            "game": named(np.zeros(steps, np.int32), [game.name]),
            "step": np.arange(steps),
            "actions": named(game.actions[:], action_names),
        }
        for name in self.columns:
            stored = game.arrays.get(name)
            if stored is None:
                nothing = named(np.zeros(steps, np.int32), [""])
                columns[name] = nothing if name in LABEL_COLUMNS else pa.nulls(steps, _arrow_type(name))
            elif name in LABEL_COLUMNS:
                by_code = names_by_code(stored.codes)
                columns[name] = named(stored[:], [by_code.get(code, "") for code in range(256)])
            elif name not in columns:
                columns[name] = stored[:]
        if self.screens:
            assert frames is not None, "screens come from somewhere"
            screens, columns["rewards"] = _seen(frames, game)
            columns["screen"] = pa.FixedSizeListArray.from_arrays(_lines(screens), SCREEN_ROWS)
        return columns


def _seen(frames: FrameSource, game: Game) -> tuple[np.ndarray, np.ndarray]:
    """Returns a game's screens, u8 [T, 24, 80], and its rewards, f32 [T]."""
    steps = len(game)
    screens = np.empty((steps, SCREEN_ROWS * SCREEN_COLUMNS), np.uint8)
    rewards = np.empty((steps, 1), np.float32)
    reader = frames.open(game, ("tty_chars", "rewards"), 0)
    try:
        reader.copy(0, steps, {"tty_chars": screens, "rewards": rewards})
    finally:
        reader.close()
    return screens.reshape(steps, SCREEN_ROWS, SCREEN_COLUMNS), rewards[:, 0]


def _lines(screens: np.ndarray) -> pa.Array:
    """Returns the lines of screens, u8 [T, 24, 80], as text; a byte is the character of that number (ISO 8859-1).

    A NUL is a blank, as it looks: text in Arrow and numpy would end there.
    """
    screens = np.where(screens == 0, np.uint8(ord(" ")), screens)
    parts = [
        pa.array(np.char.decode(part.reshape(-1, SCREEN_COLUMNS).view(f"S{SCREEN_COLUMNS}").ravel(), "latin-1"))
        for part in np.split(screens, range(FRAME_CHUNK_STEPS, len(screens), FRAME_CHUNK_STEPS))
    ]  # by parts, since numpy's text takes four bytes a character
    return pa.concat_arrays([part.cast(pa.string()) for part in parts])


def _arrow_type(name: str) -> pa.DataType:
    return pa.from_numpy_dtype(np.dtype(STORED_COLUMNS[name]))
