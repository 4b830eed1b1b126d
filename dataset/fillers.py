"""Copies a plan's segments to a slab's rows: walks games from start to end, or reads windows anywhere in games."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from strathack.dataset.batches import RECORDS, Batch, Recoding, StreamConfig, copy_frames, frame_names, records_of
from strathack.dataset.frames import FrameReader, FrameSource, StoredReader, source_of
from strathack.dataset.reading import Dataset
from strathack.dataset.schedule import Segment
from strathack.dataset.schema import STORED_COLUMNS

MAX_INDEXED_GAMES = 4096
"""Games whose chunk positions are kept in memory, some 10 KB for each game."""


class Filler(Protocol):
    """Fills slabs. Several threads call a filler at the same time, but never for the same lane."""

    def fill(self, segment: Segment, arrays: Batch) -> None:
        """Copies a segment to its rows of a slab."""

    def let_go(self) -> None:
        """Closes the games that are open."""


@dataclass(frozen=True)
class _OpenGame:
    """A game that a lane walks: its records are in memory, its frames are read as they are needed."""

    place: int
    records: np.ndarray
    frame_names: tuple[str, ...]
    reader: FrameReader


class LaneFiller:
    """Walks each lane's games from start to end; a :class:`Filler`.

    Args:
        dataset: The games.
        config: What to show.
        frames: Source of the frames; None takes the stored frames, and replays games of which only keys are stored.
    """

    def __init__(self, dataset: Dataset, config: StreamConfig, frames: FrameSource | None = None) -> None:
        self._dataset, self._config = dataset, config
        self._frames: FrameSource = frames or source_of(dataset)
        self._owns_frames = frames is None
        self._recoding = Recoding(dataset)
        self._open: dict[int, _OpenGame] = {}

    def fill(self, segment: Segment, arrays: Batch) -> None:
        """See :class:`Filler`."""
        game = self._open.get(segment.lane)
        if game is None:
            game = self._open[segment.lane] = self._open_game(segment.game, segment.step)
        assert game.place == segment.game, "a lane walks a game to its end"
        start, stop = segment.step, segment.step + segment.length
        arrays[RECORDS][segment.row : segment.row + segment.length, segment.lane] = game.records[start:stop]
        copy_frames(game.frame_names, segment, game.reader, arrays)
        if stop == self._dataset.rows["steps"][segment.game]:
            game.reader.close()
            del self._open[segment.lane]

    def _open_game(self, place: int, start: int) -> _OpenGame:
        game = self._dataset[place]
        columns: dict[str, np.ndarray] = {}

        def column(name: str, first: int, last: int) -> np.ndarray:
            if name not in columns:
                columns[name] = self._recoding.read(game, name)
            return columns[name][first:last]

        names = frame_names(self._config, game)
        records = records_of(self._config, place, 0, len(game), column)
        return _OpenGame(place, records, names, self._frames.open(game, names, start))

    def let_go(self) -> None:
        """See :class:`Filler`."""
        for game in self._open.values():
            game.reader.close()
        self._open.clear()
        if self._owns_frames:
            self._frames.close()


class WindowFiller:
    """Reads windows of stored games; a :class:`Filler`.

    Args:
        dataset: The games.
        config: What to show.
    """

    def __init__(self, dataset: Dataset, config: StreamConfig) -> None:
        self._config = config
        self._recoding = Recoding(dataset)
        self._game = lru_cache(MAX_INDEXED_GAMES)(dataset.__getitem__)
        self._thread = threading.local()

    def fill(self, segment: Segment, arrays: Batch) -> None:
        """See :class:`Filler`."""
        game = self._game(segment.game)
        # Each thread reuses the memory that it decompresses chunks into.
        chunks = self._thread.__dict__.setdefault("chunks", {})
        names = frame_names(self._config, game)
        frames = StoredReader({name: game.stored(name) for name in names}, chunks, whole=False)
        columns = StoredReader(game.arrays, chunks, whole=False)

        def column(name: str, start: int, stop: int) -> np.ndarray:
            values = np.empty(stop - start, dtype=STORED_COLUMNS[name])
            columns.copy(start, stop, {name: values[:, None]})
            return self._recoding.recoded(game, name, values, start)

        stop = segment.step + segment.length
        records = records_of(self._config, segment.game, segment.step, stop, column)
        arrays[RECORDS][segment.row : segment.row + segment.length, segment.lane] = records
        copy_frames(names, segment, frames, arrays)

    def let_go(self) -> None:
        """See :class:`Filler`."""
        self._game.cache_clear()
