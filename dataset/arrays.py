"""One array of one game: where its chunks lie in the file, and how they are read without HDF5.

HDF5 is used once, to find the positions of a game's chunks; then the file is closed. Later reads go to these positions
directly, chunk by chunk, so that nothing is shared between threads or carried over a fork, and HDF5's global lock is
never held during decompression.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from strathack.dataset.chunks import FLETCHER32_FILTER, ZSTD_FILTER, ChunkDecoder, ChunkError
from strathack.dataset.errors import CorruptionError, FormatError
from strathack.dataset.labels import names_by_code
from strathack.dataset.remote.pointers import is_elsewhere, shard_at, shown
from strathack.dataset.schema import (
    CHECKPOINTS,
    LABEL_COLUMNS,
    OBSERVATIONS,
    OPTIONAL_COLUMNS,
    STORED_COLUMNS,
    checkpoint_count,
)
from strathack.dataset.shard import read_shard, readable

_thread = threading.local()


def _decoder() -> ChunkDecoder:
    decoder: ChunkDecoder | None = getattr(_thread, "decoder", None)
    if decoder is None:
        decoder = _thread.decoder = ChunkDecoder()
    return decoder


@dataclass(frozen=True)
class StoredArray:
    """An array in a shard, indexed like a numpy array whose first axis is the steps.

    Only the chunks that an index touches are read. The last decompressed chunk is kept for the next index.

    Attributes:
        path: The shard.
        game: The game's name.
        name: The array's name in the game's group.
        shape: [T, …].
        dtype: Type of its elements.
        chunk_steps: Steps in a chunk.
        places: Offset and length in the file of each chunk, i64 [chunks, 2].
        codes: Name → code for labels, else empty.
    """

    path: Path
    game: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk_steps: int
    places: np.ndarray = field(repr=False)
    codes: Mapping[str, int] = field(default_factory=dict, repr=False)
    _last: list[tuple[int, np.ndarray]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = self[:]
        return values if dtype is None else values.astype(dtype)

    def __getitem__(self, index: Any) -> Any:
        """Reads what a numpy index selects; its first axis is the steps."""
        first, *rest = index if isinstance(index, tuple) else (index,)
        if first is Ellipsis:
            return self.read(0, len(self))[(..., *rest)]
        if isinstance(first, (int, np.integer)):
            step = int(first) + (len(self) if first < 0 else 0)
            if not 0 <= step < len(self):
                raise IndexError(f"step {first} of {self.game}/{self.name}, which has {len(self)} steps")
            chunk, row = divmod(step, self.chunk_steps)
            value = self._chunk(chunk)[(row, *rest)]
            return value.copy() if isinstance(value, np.ndarray) else value
        if isinstance(first, slice):
            start, stop, stride = first.indices(len(self))
            if stride < 0:
                return self.read(0, len(self))[(first, *rest)]
            values = self.read(start, max(start, stop))[::stride]
        else:
            values = self.read(0, len(self))[np.asarray(first)]
        return values[(slice(None), *rest)] if rest else values

    def names(self, index: Any = slice(None)) -> Any:
        """Returns labels by name: an array of text if the index selects several steps, else one text.

        Raises:
            TypeError: If the array holds no labels.
        """
        if not self.codes:
            raise TypeError(f"{self.name} holds no labels")
        by_code = names_by_code(self.codes)
        codes = self[index]
        if np.ndim(codes) == 0:
            return by_code[int(codes)]
        table = np.array([by_code.get(code, "") for code in range(256)])
        return table[codes]

    def read(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Reads the steps from ``start`` up to but not including ``stop``.

        Args:
            start: First step, from 0.
            stop: Step after the last, at most T.
            out: The array to fill, [stop − start, …]; a new array by default.

        Raises:
            CorruptionError: If a chunk is not as it was written.
        """
        if out is None:
            out = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        at = start
        while at < stop:
            chunk, row = divmod(at, self.chunk_steps)
            count = min(self.chunk_steps - row, stop - at)
            target = out[at - start : at - start + count]
            if count == self.chunk_steps and target.flags.c_contiguous:
                self.read_chunk(chunk, target)
            else:
                target[...] = self._chunk(chunk)[row : row + count]
            at += count
        return out

    def _chunk(self, index: int) -> np.ndarray:
        # Another thread may replace the kept chunk meanwhile; each thread uses the chunk that it took or made.
        kept = self._last[-1] if self._last else None
        if kept is None or kept[0] != index:
            values = np.empty((self.chunk_steps, *self.shape[1:]), dtype=self.dtype)
            self.read_chunk(index, values)
            kept = index, values
            self._last[:] = [kept]
        return kept[1]

    def read_chunk(self, index: int, out: np.ndarray) -> None:
        """Decompresses one chunk, or only its first steps, which is faster.

        Args:
            index: The chunk's number.
            out: The array to fill, [n, …], C-contiguous, at most ``chunk_steps`` steps. Steps after the array's end are
                zero.

        Raises:
            CorruptionError: If the chunk is not as it was written.
        """
        self._twice(index, partial(self._decode, index, out))

    def _twice(self, index: int, read: Callable[[], object]) -> None:
        """Reads a chunk; one from elsewhere that is not as it was written is fetched once more.

        Raises:
            CorruptionError: If it is not as it was written.
        """
        try:
            read()
        except ChunkError as error:
            if not is_elsewhere(self.path):
                raise self.corruption(index, str(error)) from error
            shard_at(self.path).forget(*self.places[index].tolist())
            try:
                read()
            except ChunkError:
                raise self.corruption(index, f"{error}, and fetched once more it is no better") from error

    def _decode(self, index: int, out: np.ndarray) -> None:
        size = self.chunk_steps * prod(self.shape[1:]) * self.dtype.itemsize
        _decoder().decode(self.read_raw(index), out, size)

    def read_raw(self, index: int) -> bytes:
        """Returns the bytes of one chunk as they lie in the file.

        Raises:
            CorruptionError: If the file cannot be read or ends before the chunk does.
        """
        offset, size = self.places[index].tolist()
        if is_elsewhere(self.path):
            return shard_at(self.path).read(offset, size)
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                data = os.pread(descriptor, size, offset)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self.corruption(index, f"the file cannot be read: {error.strerror}") from error
        if len(data) != size:
            raise self.corruption(index, "the file ends before it")
        return data

    def prefetch(self, start: int) -> None:
        """Begins to fetch the chunks from step ``start`` on, if the shard is elsewhere."""
        if is_elsewhere(self.path):
            shard_at(self.path).prefetch(map(tuple, self.places[start // self.chunk_steps :].tolist()))

    def check_sums(self) -> None:
        """Checks the checksum of every chunk, without decompressing the chunks.

        Raises:
            CorruptionError: At the first checksum that differs.
        """
        for index in range(len(self.places)):
            self._twice(index, partial(self._check, index))

    def _check(self, index: int) -> None:
        ChunkDecoder.check(self.read_raw(index))

    def corruption(self, chunk: int, what: str) -> CorruptionError:
        """Returns an error that names the steps of a chunk."""
        first = chunk * self.chunk_steps
        last = min(first + self.chunk_steps, len(self)) - 1
        return CorruptionError(
            f"{shown(self.path)}: {self.game}/{self.name}, the chunk of steps {first} to {last}: {what}"
        )


def index_game(path: Path, game: str, steps: int) -> dict[str, StoredArray]:
    """Finds every array of a game.

    Args:
        path: The shard.
        game: The game's name.
        steps: The game's length according to ``/games``.

    Returns:
        Name in the game's group (``actions``, ``obs/tty_chars``) → array.

    Raises:
        FormatError: If an array is missing, or does not have the type, length or filters of the format.
    """

    def index(file: h5py.File) -> dict[str, StoredArray]:
        with readable(path, f"the metadata of {game}"):
            return _index(path, file, game, steps)

    return read_shard(path, index)


def _index(path: Path, file: h5py.File, game: str, steps: int) -> dict[str, StoredArray]:
    place = _Place(path, game)
    group = _group(place, _group(place, file.id, "data", "data"), game, game)
    names = [name.decode() for name in group]
    arrays = {
        name: _stored(place, group, name, name, (steps,), np.dtype(dtype))
        for name, dtype in STORED_COLUMNS.items()
        if name in names or name not in OPTIONAL_COLUMNS
    }
    checkpoints = _length(place, group, CHECKPOINTS)
    if checkpoints not in (0, checkpoint_count(steps)):
        raise place.wrong(CHECKPOINTS, f"has {checkpoints} digests; {steps} steps have {checkpoint_count(steps)}")
    arrays[CHECKPOINTS] = _stored(place, group, CHECKPOINTS, CHECKPOINTS, (checkpoints,), np.dtype("<u8"))
    if "obs" in names:
        frames = _group(place, group, "obs", f"{game}/obs")
        for key in (name.decode() for name in frames):
            spec = OBSERVATIONS.get(key)
            if spec is None:
                raise place.wrong(f"obs/{key}", "is no observation key of this format")
            arrays[f"obs/{key}"] = _stored(place, frames, key, f"obs/{key}", (steps, *spec.shape), spec.dtype)
    return arrays


@dataclass(frozen=True)
class _Place:
    """The shard and the game that are being indexed, for error messages."""

    path: Path
    game: str

    def wrong(self, name: str, what: str) -> FormatError:
        return FormatError(f"{shown(self.path)}: {self.game}/{name}: {what}")


# From here on h5py's low-level interface is used, for speed: every game that a stream opens is indexed.


def _check_link(place: _Place, group: Any, name: str, called: str) -> None:
    """Raises if ``name`` is missing or links to another place or file."""
    if not group.links.exists(name.encode()):
        raise FormatError(f"{shown(place.path)}: {called} is missing")
    if group.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise FormatError(f"{shown(place.path)}: {called} is a link to elsewhere, which is not followed")


def _group(place: _Place, parent: Any, name: str, called: str) -> Any:
    _check_link(place, parent, name, called)
    found = h5py.h5o.open(parent, name.encode())
    if not isinstance(found, h5py.h5g.GroupID):
        raise FormatError(f"{shown(place.path)}: {called} is no group")
    return found


def _length(place: _Place, group: Any, name: str) -> int:
    return int(_array(place, group, name, name).shape[0])


def _array(place: _Place, group: Any, last: str, name: str) -> Any:
    _check_link(place, group, last, f"{place.game}/{name}")
    dataset = h5py.h5o.open(group, last.encode())
    if not isinstance(dataset, h5py.h5d.DatasetID) or not dataset.shape:
        raise place.wrong(name, "is no array")
    return dataset


def _stored(
    place: _Place, group: Any, last: str, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> StoredArray:
    dataset = _array(place, group, last, name)
    if dataset.shape != shape:
        raise place.wrong(name, f"has shape {dataset.shape}; expected {shape}")
    if dataset.dtype != dtype:
        raise place.wrong(name, f"is of type {dataset.dtype}; expected {dtype}")
    codes = h5py.check_enum_dtype(dataset.dtype) or {}
    if name in LABEL_COLUMNS and not codes:
        raise place.wrong(name, "is no enumeration; expected the labels' names in the file")
    steps, places = 1, np.zeros((0, 2), np.int64)
    if shape[0]:
        steps = _check_storage(place, dataset, name, shape)
        places = np.zeros((-(-shape[0] // steps), 2), np.int64)

        def take(chunk: Any) -> None:
            places[chunk.chunk_offset[0] // steps] = chunk.byte_offset, chunk.size

        dataset.chunk_iter(take)
    array = StoredArray(place.path, place.game, name, shape, dtype, steps, places, codes)
    if len(places) and not places[:, 1].all():
        raise array.corruption(int(np.argmin(places[:, 1])), "it is missing")
    return array


def _check_storage(place: _Place, dataset: Any, name: str, shape: tuple[int, ...]) -> int:
    """Checks that an array is stored in this file, in chunks with the format's filters; returns a chunk's steps."""
    creation = dataset.get_create_plist()
    if creation.get_layout() != h5py.h5d.CHUNKED or creation.get_external_count():
        raise place.wrong(name, "is not stored in chunks in this file")
    filters = [creation.get_filter(index)[0] for index in range(creation.get_nfilters())]
    steps, *rest = creation.get_chunk()
    if filters != [ZSTD_FILTER, FLETCHER32_FILTER] or tuple(rest) != shape[1:]:
        raise place.wrong(name, f"has filters {filters} and chunks of {(steps, *rest)}; not those of this format")
    return int(steps)
