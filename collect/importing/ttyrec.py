"""Reads ttyrec files: their records, and their screens by NLE's converter."""

from __future__ import annotations

import bz2
import re
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from nle import _pyconverter

from strathack.dataset.labels import NO_PUBLISHED_LABEL
from strathack.dataset.schema import FRAME_CHUNK_STEPS, SCREEN_COLUMNS, SCREEN_ROWS

FILE_NAME = re.compile(r".*\.ttyrec(\d*)(\..*)?")
"""A ttyrec's version is in its name only; without a number it is version 1. The pattern accepts every compression, so
that no ttyrec is passed over silently."""

_OUTPUT, _KEY, _SCORE, _LABEL = 0, 1, 2, 3
"""Channels: terminal output, the key pressed (1 byte), the score (int32), HiHack's strategy (int32)."""

_LENGTHS = {_KEY: 1, _SCORE: 4, _LABEL: 4}
"""Channel → bytes of a record; terminal output may have any number."""

_HEADERS = {1: struct.Struct("<iii"), 2: struct.Struct("<iiiB"), 3: struct.Struct("<iiiB"), 4: struct.Struct("<iiiB")}
"""Version → a record's header: seconds, microseconds, length of the data after it; from version 2 on, the channel."""


_PIECE = 1 << 16
_STREAM_START = b"BZh"
_TURN = re.compile(rb"T:(\d+)")


class TtyrecError(ValueError):
    """A file cannot be imported as a ttyrec; the message gives the reason."""


@dataclass(frozen=True)
class Ttyrec:
    """A ttyrec in memory.

    Attributes:
        version: 1 to 4.
        output: Its records as in version 3 or earlier, without channel 3.
        truncated: How the file is truncated; empty if it is complete.
        rest: A note about bytes that follow the records and belong to none; empty if there are none.
        start: When it begins, in seconds since 1970.
        end: When it ends, in seconds since 1970.
        keys: u8 [n], every key pressed; empty in version 1.
        scores: i64 [n], the score last seen before each key; zeros before version 3. NLE shows 0 once a game is over;
            here the score keeps its last value.
        labels: i64 [n], HiHack's strategies, −1 for keys that NLE pressed itself; None before version 4.
        last_score: The score last seen, which also keeps its value once the game is over.
        frames: Number of frames: one per key, or in version 1 one per record.
    """

    version: int
    output: bytes
    truncated: str
    rest: str
    start: int
    end: int
    keys: np.ndarray
    scores: np.ndarray
    labels: np.ndarray | None
    last_score: int
    frames: int


def version_of(name: str) -> int:
    """The version in a file's name.

    Raises:
        TtyrecError: If the name is not that of a ttyrec, or the version is not 1 to 4.
    """
    match = FILE_NAME.fullmatch(name)
    if match is None:
        raise TtyrecError("not named like a ttyrec")
    version = int(match[1] or 1)
    if version not in _HEADERS:
        raise TtyrecError(f"ttyrec version {version} is unknown; expected 1 to 4")
    return version


def read_ttyrec(name: str, data: bytes) -> Ttyrec:
    """Reads a ttyrec; if it is truncated, reads every complete record.

    Args:
        name: The file's name, for its version.
        data: The file's bytes.

    Raises:
        TtyrecError: If it is empty, not compressed by bzip2, of an unknown version, or its records make no sense.
    """
    version = version_of(name)
    records, truncated, rest = _decompress(data)
    return _parse(version, records, truncated, rest)


def _decompress(data: bytes) -> tuple[bytes, str, str]:
    """Returns what can be decompressed, why it stops early, and a note about what follows it.

    A file may consist of several bzip2 streams, as pbzip2, lbzip2 and ``cat`` write it; a record may extend from one
    stream to the next.
    """
    if not data:
        raise TtyrecError("the file is empty")
    parts: list[bytes] = []
    at = 0
    while data.startswith(_STREAM_START, at):
        decompressor = bz2.BZ2Decompressor()
        which = "its bzip2 stream" if not at else f"its bzip2 stream at byte {at}"
        while at < len(data) and not decompressor.eof:
            try:
                parts.append(decompressor.decompress(data[at : at + _PIECE]))
            except OSError:
                return b"".join(parts), f"{which} is damaged", ""
            at += _PIECE
        if not decompressor.eof:
            return b"".join(parts), f"{which} has no end", ""
        at = min(at, len(data)) - len(decompressor.unused_data)
    if not at:
        raise TtyrecError("not compressed by bzip2")
    rest = len(data) - at
    return b"".join(parts), "", f"{rest} bytes after its last bzip2 stream are none, and left out" if rest else ""


def _parse(version: int, data: bytes, truncated: str, rest: str) -> Ttyrec:
    header, last_channel = _HEADERS[version], _LABEL if version == 4 else min(version - 1, _SCORE)
    keys, kept = bytearray(), []
    scores: list[int] = []
    labels: list[int] = []
    at = begun = records = last_score = 0
    start = seconds = -1
    while at + header.size <= len(data):
        time, _, length, *channels = header.unpack_from(data, at)
        channel = channels[0] if channels else _OUTPUT
        end = at + header.size + length
        if length < 0 or channel > last_channel or length != _LENGTHS.get(channel, length):
            raise TtyrecError(f"its record {records} is no record of version {version} (at byte {at})")
        if end > len(data):
            break
        start, seconds = (start if records else time), time
        if channel == _KEY:
            keys += data[end - length : end]
            scores.append(last_score)
        elif channel == _SCORE:
            last_score = int.from_bytes(data[end - length : end], "little", signed=True)
        elif channel == _LABEL:
            kept.append(data[begun:at])
            begun = end
            # A label belongs to the key before it; a file may end between the two.
            labels += [NO_PUBLISHED_LABEL] * (len(keys) - len(labels) - 1)
            labels.append(int.from_bytes(data[end - length : end], "little", signed=True))
        at, records = end, records + 1
    kept.append(data[begun:at])
    if at < len(data) and not truncated:
        truncated = "its last record is not whole"
    if not records:
        raise TtyrecError("it has no whole record")
    whole = len(labels) if version == 4 else len(keys)
    kept_scores = _kept_after_the_end(np.array([*scores[:whole], last_score], dtype=np.int64))
    return Ttyrec(
        version=version,
        output=b"".join(kept),
        truncated=truncated,
        rest=rest,
        start=start,
        end=seconds,
        keys=np.frombuffer(bytes(keys[:whole]), dtype=np.uint8),
        scores=kept_scores[:-1],
        labels=np.array(labels, dtype=np.int64) if version == 4 else None,
        last_score=int(kept_scores[-1]),
        frames=records if version == 1 else whole,
    )


def _kept_after_the_end(scores: np.ndarray) -> np.ndarray:
    """Replaces zeros at the end of scores, i64 [n], by the last score before them: NLE shows 0 once a game is over."""
    scored = np.flatnonzero(scores)
    last = int(scored[-1]) if len(scored) else 0
    return np.where(np.arange(len(scores)) > last, scores[last], scores)


@dataclass(frozen=True)
class Screens:
    """Consecutive frames.

    Attributes:
        chars: u8 [n, 24, 80].
        colors: u8 [n, 24, 80].
        cursor: u8 [n, 2], row and column.
    """

    chars: np.ndarray
    colors: np.ndarray
    cursor: np.ndarray


def screens(ttyrec: Ttyrec) -> Iterator[Screens]:
    """Yields the frame before each key (in version 1, after each record), 1,024 at a time, by NLE's own converter.

    The arrays are reused for the frames that follow.
    """
    version = min(ttyrec.version, 3)
    end = _HEADERS[version].pack(0, 0, 4, *([_SCORE] if version > 1 else [])) + bytes(4)
    with tempfile.NamedTemporaryFile(suffix=".bz2") as file:
        # The converter of NLE 1.3 drops a file's last record, so an extra one is appended.
        file.write(bz2.compress(ttyrec.output + end, 1))
        file.flush()
        converter = _pyconverter.Converter(SCREEN_ROWS, SCREEN_COLUMNS, version)
        converter.load_ttyrec(file.name)
        chars = np.zeros((FRAME_CHUNK_STEPS, SCREEN_ROWS, SCREEN_COLUMNS), dtype=np.uint8)
        colors = np.zeros((FRAME_CHUNK_STEPS, SCREEN_ROWS, SCREEN_COLUMNS), dtype=np.int8)
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


def last_turn(ttyrec: Ttyrec) -> tuple[int, bool]:
    """Returns the last turn in its bottom lines (−1 if none shows a turn), and whether the last frame shows a turn.

    The last frame of a game that is over shows the game's end instead.
    """
    turn, given = -1, 0
    shown = False
    for part in screens(ttyrec):
        given += len(part.chars)
        for row in range(len(part.chars) - 1, -1, -1):
            match = _TURN.search(part.chars[row, -2:].tobytes())
            if match is not None:
                turn = int(match[1])
                shown = given == ttyrec.frames and row == len(part.chars) - 1
                break
    return turn, shown
