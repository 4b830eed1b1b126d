"""Where a stream's frames come from: the chunks of a shard, or, behind the same protocol, replayed games."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from strathack.dataset.arrays import StoredArray
from strathack.dataset.errors import InputError
from strathack.dataset.reading import Game


class FrameReader(Protocol):
    """Reads one game from its start towards its end."""

    def copy(self, start: int, stop: int, out: Mapping[str, np.ndarray]) -> None:
        """Copies steps ``start`` to ``stop`` (left out) of some arrays.

        Args:
            start: First step; no smaller than the last call's ``stop``.
            stop: Step after the last.
            out: For each array asked for where to, [stop − start, elements of a step], with any strides.
        """

    def close(self) -> None:
        """Lets go of what it holds."""


class FrameSource(Protocol):
    """Opens games."""

    def open(self, game: Game, names: Sequence[str], start: int) -> FrameReader:
        """Opens a game to be read from step ``start`` on.

        Args:
            game: The game.
            names: Observation keys, and ``rewards`` perhaps.
            start: The first step that will be asked for.
        """


class StoredFrames:
    """Frames as they are stored."""

    def open(self, game: Game, names: Sequence[str], start: int) -> StoredReader:
        """Opens a game; see :class:`FrameSource`.

        Raises:
            InputError: If an array is not stored.
        """
        return StoredReader({name: stored_array(game, name) for name in names})


def stored_array(game: Game, name: str) -> StoredArray:
    """An observation or column of a game by its name alone.

    Raises:
        InputError: If it is not stored; the message says how to get it back.
    """
    array = game.arrays.get(name) or game.arrays.get(f"obs/{name}")
    if array is None:
        keys_only = not game.obs
        hint = "; only its keys are kept: expand the dataset, or stream it by replaying" if keys_only else ""
        raise InputError(f"{game.path}: {game.name} has no {name!r}{hint}")
    return array


@dataclass
class HeldChunk:
    """A decompressed chunk: whose, which, its steps [chunk_steps, elements of a step], and how many are there."""

    array: StoredArray
    index: int
    values: np.ndarray
    steps: int


class StoredReader:
    """Reads a stored game; of each array one decompressed chunk is held.

    Args:
        arrays: The arrays by name.
        held: Where chunks are held, by name; their memory is used again, for other games as well.
        whole: Whether to decompress whole chunks, since their other steps will be asked for next.
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
        """A chunk of which at least the first ``steps`` steps are there."""
        array = self._arrays[name]
        held = self._held.pop(name, None)  # not held while it is overwritten: that may fail half-way
        if held is None or held.array is not array or held.index != index or held.steps < steps:
            # Rows in one piece: numpy copies them several times faster than frames of two axes.
            shape = (array.chunk_steps, prod(array.shape[1:]))
            values = held.values if held is not None and held.values.shape == shape else np.empty(shape, array.dtype)
            array.read_chunk(index, values[:steps])
            held = HeldChunk(array, index, values, steps)
        self._held[name] = held
        return held.values

    def close(self) -> None:
        """Lets the chunks go."""
        self._held.clear()
