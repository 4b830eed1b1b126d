"""ttyrec files: their records, and through NLE's converter their screens."""

from __future__ import annotations

import bz2
import re
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from nle import _pyconverter

from strathack.dataset.schema import FRAME_CHUNK_STEPS

FILE_NAME = re.compile(r".*\.ttyrec(\d*)(\..*)?")
"""A ttyrec's version stands in its name alone; without a number it is the first. Whatever it is compressed by, it is
looked at, so that none is passed over silently."""

_OUTPUT, _KEY, _SCORE, _LABEL = 0, 1, 2, 3
"""Channels: terminal output, the key pressed (1 byte), the score (int32), HiHack's strategy (int32)."""

_HEADERS = {1: struct.Struct("<iii"), 2: struct.Struct("<iiiB"), 3: struct.Struct("<iiiB"), 4: struct.Struct("<iiiB")}
"""Seconds, microseconds, length of what follows; from version 2 on the channel."""

NO_LABEL = -1
"""The label of keys that NLE pressed itself."""

ROWS, COLUMNS = 24, 80
_PIECE = 1 << 16


class TtyrecError(ValueError):
    """A file is no ttyrec that can be imported; the message says why."""


@dataclass(frozen=True)
class Ttyrec:
    """A ttyrec in memory.

    Attributes:
        version: 1 to 4.
        output: Its records as of version 3 at most, channel 3 left out.
        truncated: Whether the file stops before its end, and where.
        start: When it begins, seconds since 1970; −1 if it has no records.
        keys: u8 [n], every key pressed; empty in version 1.
        scores: i64 [n], the score last seen before each key; zeros before version 3.
        labels: i64 [n], HiHack's strategies, −1 for keys that NLE pressed itself; None before version 4.
        last_score: The score last seen.
        frames: Number of frames: keys, or in version 1 records.
    """

    version: int
    output: bytes
    truncated: str
    start: int
    keys: np.ndarray
    scores: np.ndarray
    labels: np.ndarray | None
    last_score: int
    frames: int


def version_of(name: str) -> int:
    """The version in a file's name.

    Raises:
        TtyrecError: If it is not 1 to 4.
    """
    match = FILE_NAME.fullmatch(name)
    if match is None:
        raise TtyrecError("not named like a ttyrec")
    version = int(match[1] or 1)
    if version not in _HEADERS:
        raise TtyrecError(f"ttyrec version {version} is unknown; expected 1 to 4")
    return version


def read_ttyrec(name: str, data: bytes) -> Ttyrec:
    """Reads a ttyrec; of a truncated one every whole record.

    Args:
        name: The file's name, for its version.
        data: What is in it.

    Raises:
        TtyrecError: If it is empty, not compressed by bzip2, of an unknown version, or its records make no sense.
    """
    version = version_of(name)
    records, truncated = _decompress(data)
    return _parse(version, records, truncated)


def _decompress(data: bytes) -> tuple[bytes, str]:
    """What can be decompressed, and what is wrong with the rest."""
    if not data:
        raise TtyrecError("the file is empty")
    decompressor = bz2.BZ2Decompressor()
    parts = []
    for start in range(0, len(data), _PIECE):
        try:
            parts.append(decompressor.decompress(data[start : start + _PIECE]))
        except OSError as error:
            if start == 0 and not data.startswith(b"BZh"):
                raise TtyrecError("not compressed by bzip2") from error
            return b"".join(parts), "its bzip2 stream is damaged"
        if decompressor.eof:
            return b"".join(parts), ""
    return b"".join(parts), "its bzip2 stream has no end"


def _parse(version: int, data: bytes, truncated: str) -> Ttyrec:
    header = _HEADERS[version]
    keys, kept = bytearray(), []
    scores: list[int] = []
    labels: list[int] = []
    at = begun = records = last_score = 0
    start = -1
    while at + header.size <= len(data):
        seconds, _, length, *channels = header.unpack_from(data, at)
        channel = channels[0] if channels else _OUTPUT
        end = at + header.size + length
        if length < 0 or channel > (_LABEL if version == 4 else min(version - 1, _SCORE)):
            raise TtyrecError(f"its record {records} is no record of version {version} (at byte {at})")
        if end > len(data):
            break
        if start < 0:
            start = seconds
        if channel == _KEY:
            keys += data[end - length : end]
            scores.append(last_score)
        elif channel == _SCORE:
            last_score = int.from_bytes(data[end - length : end], "little", signed=True)
        elif channel == _LABEL:
            kept.append(data[begun:at])
            begun = end
            # A label belongs to the key before it; a file may end between the two.
            labels += [NO_LABEL] * (len(keys) - len(labels) - 1)
            labels.append(int.from_bytes(data[end - length : end], "little", signed=True))
        at, records = end, records + 1
    kept.append(data[begun:at])
    if at < len(data) and not truncated:
        truncated = "its last record is not whole"
    if not records:
        raise TtyrecError("it has no whole record")
    whole = len(labels) if version == 4 else len(keys)
    return Ttyrec(
        version=version,
        output=b"".join(kept),
        truncated=truncated,
        start=start,
        keys=np.frombuffer(bytes(keys[:whole]), dtype=np.uint8),
        scores=np.array(scores[:whole], dtype=np.int64),
        labels=np.array(labels, dtype=np.int64) if version == 4 else None,
        last_score=last_score,
        frames=records if version == 1 else whole,
    )


@dataclass(frozen=True)
class Screens:
    """Frames in a row.

    Attributes:
        chars: u8 [n, 24, 80].
        colors: u8 [n, 24, 80].
        cursor: u8 [n, 2], row and column.
    """

    chars: np.ndarray
    colors: np.ndarray
    cursor: np.ndarray


def screens(ttyrec: Ttyrec) -> Iterator[Screens]:
    """The frame before each key (in version 1, after each record), 1,024 at a time, by NLE's own converter.

    The arrays are used again for the frames that follow.
    """
    version = min(ttyrec.version, 3)
    end = _HEADERS[version].pack(0, 0, 4, *([_SCORE] if version > 1 else [])) + bytes(4)
    with tempfile.NamedTemporaryFile(suffix=".bz2") as file:
        # The converter of NLE 1.3 drops a file's last record, so one more is put behind it.
        file.write(bz2.compress(ttyrec.output + end, 1))
        file.flush()
        converter = _pyconverter.Converter(ROWS, COLUMNS, version)
        converter.load_ttyrec(file.name)
        chars = np.zeros((FRAME_CHUNK_STEPS, ROWS, COLUMNS), dtype=np.uint8)
        colors = np.zeros((FRAME_CHUNK_STEPS, ROWS, COLUMNS), dtype=np.int8)
        cursors = np.zeros((FRAME_CHUNK_STEPS, 2), dtype=np.int16)
        times = np.zeros(FRAME_CHUNK_STEPS, dtype=np.int64)
        inputs = np.zeros(FRAME_CHUNK_STEPS, dtype=np.uint8)
        scores = np.zeros(FRAME_CHUNK_STEPS + 1, dtype=np.int32)
        given = 0
        while given < ttyrec.frames:
            left = converter.convert(chars, colors, cursors, times, inputs, scores[:-1])
            count = min(FRAME_CHUNK_STEPS - left, ttyrec.frames - given)
            if not count:
                raise TtyrecError(f"NLE's converter gives {given} frames; expected {ttyrec.frames}")
            if version > 1 and not np.array_equal(inputs[:count], ttyrec.keys[given : given + count]):
                raise TtyrecError(f"NLE's converter gives other keys between frames {given} and {given + count - 1}")
            yield Screens(chars[:count], colors[:count].view(np.uint8), cursors[:count].astype(np.uint8))
            given += count
