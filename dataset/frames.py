"""Sources of a stream's frames: the chunks of a shard or, through the same protocol, replayed games."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from math import prod
from typing import Protocol

import numpy as np

from strathack.dataset.arrays import StoredArray
from strathack.dataset.reading import Dataset, Game


class FrameReader(Protocol):
    """Reads one game from its start towards its end."""

    def copy(self, start: int, stop: int, out: Mapping[str, np.ndarray]) -> None:
        """Copies the steps from ``start`` up to but not including ``stop`` of some arrays.

        Args:
            start: First step; no smaller than the last call's ``stop``.
            stop: Step after the last.
            out: Array name → where to copy it, [stop − start, elements of a step], with any strides.
        """

    def close(self) -> None:
        """Releases what the reader holds."""


class FrameSource(Protocol):
    """Opens games, so that their frames can be read."""

    def open(self, game: Game, names: Sequence[str], start: int) -> FrameReader:
        """Opens a game to be read from step ``start`` on.

        Args:
            game: The game.
            names: Observation keys, and possibly ``rewards``.
            start: The first step that will be read.
        """

    def close(self) -> None:
        """Releases what the source holds; it may be used again afterwards."""


REPLAYING = "strathack.frames"
"""The group of entry points that make, called without arguments, a source that replays games without frames.

Replaying belongs to the package ``collect``, of which this package knows nothing.
"""


def source_of(dataset: Dataset) -> FrameSource:
    """Returns the stored frames of a dataset or, if only keys are stored, a source that replays the games."""
    for found in entry_points(group=REPLAYING) if dataset.shows_by_replay else ():
        source: FrameSource = found.load()()
        return source
    return StoredFrames()


class StoredFrames:
    """Frames as they are stored."""

    def close(self) -> None:
        """Does nothing."""

    def open(self, game: Game, names: Sequence[str], start: int) -> StoredReader:
        """Opens a game; see :class:`FrameSource`.

        Raises:
            InputError: If an array is not stored.
        """
        arrays = {name: game.stored(name) for name in names}
        for array in arrays.values():
            array.prefetch(start)
        return StoredReader(arrays)


@dataclass
class HeldChunk:
    """A chunk's array, its index, its values [chunk_steps, elements of a step], and how many steps are decompressed."""

    array: StoredArray
    index: int
    values: np.ndarray
    steps: int


class StoredReader:
    """Reads a stored game; holds one decompressed chunk of each array.

    Args:
        arrays: The arrays by name.
        held: Array name → the chunk held; the chunks' memory is reused, also for other games.
        whole: Whether to decompress whole chunks, because their other steps will be read next.
    """

    def __init__(
        self, arrays: Mapping[str, StoredArray], held: dict[str, HeldChunk] | None = None, *, whole: bool = True
    ) -> None:
        self._arrays = arrays
        self._held = {} if held is None else held
        self._whole = whole

    def copy(self, start: int, stop: int, out: Mapping[str, np.ndarray]) -> None:
        """Copies steps; see :class:`FrameReader`."""
        for name, target in out.items():
            steps = self._arrays[name].chunk_steps
            at = start
            while at < stop:
                index, row = divmod(at, steps)
                count = min(steps - row, stop - at)
                chunk = self._chunk(name, index, steps if self._whole else row + count)
                target[at - start : at - start + count] = chunk[row : row + count]
                at += count

    def _chunk(self, name: str, index: int, steps: int) -> np.ndarray:
        """Returns a chunk of which at least the first ``steps`` steps are decompressed."""
        array = self._arrays[name]
        held = self._held.pop(name, None)  # not held while it is overwritten, which may fail half-way
        if held is None or held.array is not array or held.index != index or held.steps < steps:
            # Each step is one flat row: numpy copies such rows several times faster than frames of two axes.
            shape = (array.chunk_steps, prod(array.shape[1:]))
            values = held.values if held is not None and held.values.shape == shape else np.empty(shape, array.dtype)
            array.read_chunk(index, values[:steps])
            held = HeldChunk(array, index, values, steps)
        self._held[name] = held
        return held.values

    def close(self) -> None:
        """Releases the chunks."""
        self._held.clear()
