"""Reads ttyrec files: their records, and their screens by NLE's converter."""

from __future__ import annotations

import bz2
import re
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from nle import _pyconverter

from strathack.collect.importing.screens import Screens
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


_ADDRESS = re.compile(rb"\x1b\[(?:(\d{1,3})(?:;(\d{1,3}))?[Hfd]|(\d{1,3})G)")
"""A terminal's sequences that move the cursor to a row, a column or both."""

_LARGEST_TERMINAL = (200, 400)
"""Rows and columns beyond which an address does not mean that the terminal is as large: some programs go as far as they
can to ask for the size."""

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


def read_ttyrecs(parts: Sequence[tuple[str, bytes]]) -> Ttyrec:
    """Reads the ttyrecs of one game, one after the other; a part that cannot be read is left out, with a note.

    Args:
        parts: The name and the bytes of each, in order; several must be of version 1.

    Raises:
        TtyrecError: If no part can be read, or several are not of version 1.
    """
    if len(parts) == 1:
        return read_ttyrec(*parts[0])
    read, notes, reason = [], [], None
    for place, (name, data) in enumerate(parts, 1):
        which = f"part {place} of {len(parts)}"
        try:
            part = read_ttyrec(name, data)
        except TtyrecError as error:
            reason = f"{which} left out, {error}"
            notes.append(reason)
            continue
        if part.version > 1:
            raise TtyrecError(f"{which} is of version {part.version}; only those of version 1 can be joined")
        reason = f"{which}, {part.truncated}" if part.truncated else ""
        notes += filter(None, [reason, part.rest])
        read.append(part)
    if not read:
        raise TtyrecError("; ".join(notes))
    return replace(
        read[0],
        output=b"".join(part.output for part in read),
        truncated=reason or "",
        rest="; ".join(note for note in notes if note != reason),
        end=read[-1].end,
        frames=sum(part.frames for part in read),
    )


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
        empty = channel == _OUTPUT and not length
        if empty:  # NLE's converter would take it for the file's end
            kept.append(data[begun:at])
            begun = end
        elif channel == _KEY:
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
        at, records = end, records + (not empty)
    kept.append(data[begun:at])
    if at < len(data) and not truncated:
        truncated = "its last record is not whole"
    if not records:
        raise TtyrecError("it has no whole record")
    if len(labels) > len(keys):
        raise TtyrecError(f"it has {len(labels)} labels for {len(keys)} keys")
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
        converter = _pyconverter.Converter(SCREEN_ROWS, SCREEN_COLUMNS, version, *terminal_of(ttyrec))
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
            if version == 1:  # in a larger terminal it may be outside of what is kept
                np.minimum(cursors, (SCREEN_ROWS - 1, SCREEN_COLUMNS - 1), out=cursors)
            yield Screens(chars[:count], colors[:count].view(np.uint8), cursors[:count].astype(np.uint8))
            given += count


def terminal_of(ttyrec: Ttyrec) -> tuple[int, int]:
    """Returns the rows and columns of a ttyrec's terminal: 24 and 80, or as many as it addresses.

    NetHack draws into the upper left 24 rows and 80 columns of a larger terminal, but what else is written there would
    be moved into them.
    """
    rows, columns = SCREEN_ROWS, SCREEN_COLUMNS
    if ttyrec.version > 1:  # NLE's own, whose terminal has this size
        return rows, columns
    for match in _ADDRESS.finditer(ttyrec.output):
        row = int(match[1] or 0)
        column = int(match[2] or match[3] or 0)
        if row <= _LARGEST_TERMINAL[0] and column <= _LARGEST_TERMINAL[1]:
            rows, columns = max(rows, row), max(columns, column)
    return rows, columns


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
