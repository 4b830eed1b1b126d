"""Chunks as they lie in a file: each is a Zstandard frame followed by a Fletcher-32 sum.

A chunk is compressed here, outside HDF5, and written unchanged; HDF5 (with hdf5plugin) reads it as the output of its
own two filters. Tests on real games showed that the Zstandard filter alone can read a flipped bit as wrong data without
an error, so every array also carries the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import h5py
import hdf5plugin
import numpy as np
import zstandard

from strathack.dataset.schema import COLUMN_CHUNK_STEPS

ZSTD_FILTER = int(hdf5plugin.Zstd.filter_id)
FLETCHER32_FILTER = 3
ZSTD_LEVEL = 9
"""The level named in a file's filter options; decoding does not depend on it."""


DENSE_LEVEL = 19

CHECKSUM_BYTES = 4
"""Length of the sum that follows a frame."""

_FLETCHER_BLOCK = 1 << 18
_FLETCHER_WEIGHTS = np.arange(_FLETCHER_BLOCK, 0, -1, dtype=np.float64)


Effort = Literal["quick", "normal", "dense"]
"""How hard to compress: ``quick`` keeps up with the simulator's own speed, ``dense`` makes the smallest files."""


def _parameters(effort: Effort) -> zstandard.ZstdCompressionParameters:
    """Returns Zstandard's parameters: unless ``dense``, a hash search over the whole chunk that skips short matches.

    Consecutive frames of a game differ in only a few cells, so matches are found one frame back, and long matches are
    worth more than many short ones: compared with plain level 9 the colours take a fifth less space at the same speed
    (`benchmarks/file_size.py`). A greedy search (``quick``) takes less than half the time and 15 % more bytes.
    """
    if effort == "dense":
        return zstandard.ZstdCompressionParameters.from_level(DENSE_LEVEL, window_log=21, write_content_size=True)
    return zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_GREEDY if effort == "quick" else zstandard.STRATEGY_LAZY2,
        window_log=21,
        hash_log=17,
        chain_log=17,
        search_log=6,
        min_match=6,
        write_content_size=True,
    )


class ChunkEncoder:
    """Turns arrays into chunk bytes. Each thread needs its own encoder.

    Args:
        effort: How hard to compress.
    """

    def __init__(self, effort: Effort = "normal") -> None:
        self._zstd = zstandard.ZstdCompressor(compression_params=_parameters(effort))

    def encode(self, chunk: np.ndarray) -> bytes:
        """Compresses one full chunk and appends its Fletcher-32 sum.

        Args:
            chunk: A C-contiguous array of the chunk's full shape, in the type it is stored in.
        """
        frame = self._zstd.compress(chunk.data)
        return frame + fletcher32(frame)


def fletcher32(data: bytes | memoryview) -> bytes:
    """HDF5's Fletcher-32 sum of ``data``, as the four bytes that follow a chunk.

    The sum runs over big-endian 16-bit words (an odd last byte is the high half of a word), modulo 65,535,
    where a sum that is a non-zero multiple of 65,535 stays 65,535 (``H5checksum.c``). The first sum comes
    first; both are little-endian.
    """
    even = len(data) // 2
    words = np.frombuffer(data, dtype=">u2", count=even)
    first = second = 0
    # Blocks are so short that their weighted sums are exact in float64, the type with the fastest dot product.
    for start in range(0, even, _FLETCHER_BLOCK):
        block = words[start : start + _FLETCHER_BLOCK].astype(np.float64)
        second += len(block) * first + int(np.dot(block, _FLETCHER_WEIGHTS[-len(block) :]))
        first += int(block.sum())
    if len(data) % 2:
        first += data[-1] << 8
        second += first
    return _fold(first).to_bytes(2, "little") + _fold(second).to_bytes(2, "little")


class ChunkDecoder:
    """Turns a chunk's bytes into an array, without HDF5 and its lock. Each thread needs its own decoder."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    @staticmethod
    def check(data: bytes) -> memoryview:
        """Checks a chunk's sum and returns the frame before it.

        Raises:
            ChunkError: If the sum differs.
        """
        frame = memoryview(data)[:-CHECKSUM_BYTES]
        if fletcher32(frame) != data[-CHECKSUM_BYTES:]:
            raise ChunkError("its checksum differs")
        return frame

    def decode(self, data: bytes, out: np.ndarray, size: int) -> None:
        """Checks a chunk's sum and decompresses the chunk, or its beginning.

        Args:
            data: The chunk as it lies in the file.
            out: The array to fill, C-contiguous. If the array is smaller than the chunk, only the chunk's beginning is
                decompressed.
            size: Bytes of the whole chunk when decompressed.

        Raises:
            ChunkError: If the sum differs, or the frame does not have that size.
        """
        frame = self.check(data)
        try:
            if zstandard.get_frame_parameters(frame).content_size != size:
                raise ChunkError("its length differs")
            # If `out` has room for the whole frame, Zstandard writes directly into it.
            with self._zstd.stream_reader(frame) as reader:
                length = reader.readinto(out.reshape(-1).view(np.uint8).data)
        except zstandard.ZstdError as error:
            raise ChunkError(f"it is no Zstandard frame ({error})") from error
        if length != out.nbytes:
            raise ChunkError("it ends early")


class ChunkError(ValueError):
    """A chunk is not as it was written."""


def _fold(total: int) -> int:
    return (total % 65535 or 65535) if total else 0


def make_array(group: h5py.Group, name: str, shape: Sequence[int], dtype: Any, chunk_steps: int) -> h5py.Dataset:
    """Creates an HDF5 dataset, chunked along its first axis, with both filters, ready for encoded chunks."""
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
        group: The group to write to.
        name: The array's name.
        values: [T], in the base type of ``dtype``.
        encoder: Compresses the chunks.
        dtype: The type as stored, possibly an enumeration.
    """
    dataset = make_array(group, name, values.shape, dtype, COLUMN_CHUNK_STEPS)
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
