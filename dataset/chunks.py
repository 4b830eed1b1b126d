"""Chunks as they lie in a file: Zstandard frames followed by a Fletcher-32 sum.

A chunk is compressed here, outside HDF5, and written as it is; HDF5 (with hdf5plugin) reads it as the output
of its own two filters. Facts measured on real games: the Zstandard filter alone lets a flipped bit through as
wrong data, so every array carries the sum as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import zstandard

from strathack.dataset.schema import COLUMN_CHUNK_STEPS

ZSTD_FILTER = int(hdf5plugin.Zstd.filter_id)
FLETCHER32_FILTER = 3
ZSTD_LEVEL = 9
"""The level named in a file's filter options; frames decode the same whatever made them."""


def _parameters() -> zstandard.ZstdCompressionParameters:
    """A hash search over the whole chunk that skips short matches.

    Frames of one game repeat at a distance of one frame and differ in a few cells, so long matches are worth
    more than many short ones: against plain level 9 the colours take a fifth less, at the same speed
    (`benchmarks/file_size.py`).
    """
    return zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_LAZY2,
        window_log=21,
        hash_log=17,
        chain_log=17,
        search_log=6,
        min_match=6,
        write_content_size=True,
    )


class ChunkEncoder:
    """Turns arrays into chunk bytes. One encoder serves one thread."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(compression_params=_parameters())

    def encode(self, chunk: np.ndarray) -> bytes:
        """Compresses one full chunk and appends its Fletcher-32 sum.

        Args:
            chunk: A C-contiguous array of the chunk's full shape, in the type it is stored in.
        """
        frame = self._zstd.compress(chunk.data)
        return frame + fletcher32(frame)


def fletcher32(data: bytes) -> bytes:
    """HDF5's Fletcher-32 sum of ``data``, as the four bytes that follow a chunk.

    The sum runs over big-endian 16-bit words (an odd last byte is the high half of a word), modulo 65,535,
    where a sum that is a non-zero multiple of 65,535 stays 65,535 (``H5checksum.c``). The first sum comes
    first; both are little-endian.
    """
    even = len(data) // 2
    words = np.frombuffer(data, dtype=">u2", count=even).astype(np.uint64)
    first = int(words.sum())
    second = int(np.dot(words, np.arange(even, 0, -1, dtype=np.uint64)))
    if len(data) % 2:
        first += data[-1] << 8
        second += first
    return _fold(first).to_bytes(2, "little") + _fold(second).to_bytes(2, "little")


def _fold(total: int) -> int:
    return (total % 65535 or 65535) if total else 0


def create_array(group: h5py.Group, name: str, shape: Sequence[int], dtype: Any, chunk_steps: int) -> h5py.Dataset:
    """Creates a dataset chunked along its first axis, with both filters, ready for encoded chunks."""
    length = shape[0]
    steps = min(chunk_steps, length)
    return group.create_dataset(
        name,
        shape=tuple(shape),
        dtype=dtype,
        chunks=(steps, *shape[1:]) if length else None,
        compression=ZSTD_FILTER if length else None,
        compression_opts=(ZSTD_LEVEL,) if length else None,
        fletcher32=bool(length),
    )


def write_column(group: h5py.Group, name: str, values: np.ndarray, encoder: ChunkEncoder, dtype: Any) -> None:
    """Writes a one-dimensional array, chunk by chunk.

    Args:
        group: Where it goes.
        name: Its name.
        values: [T], in the base type of ``dtype``.
        encoder: Compresses the chunks.
        dtype: The type as stored, an enumeration perhaps.
    """
    dataset = create_array(group, name, values.shape, dtype, COLUMN_CHUNK_STEPS)
    for start in range(0, len(values), COLUMN_CHUNK_STEPS):
        part = values[start : start + COLUMN_CHUNK_STEPS]
        dataset.id.write_direct_chunk((start,), encoder.encode(pad_chunk(part, dataset.chunks[0])))


def pad_chunk(part: np.ndarray, steps: int) -> np.ndarray:
    """Fills a last, shorter chunk up with zeros, as HDF5 does: [n, …] → [steps, …]."""
    if len(part) == steps:
        return np.ascontiguousarray(part)
    full = np.zeros((steps, *part.shape[1:]), dtype=part.dtype)
    full[: len(part)] = part
    return full
