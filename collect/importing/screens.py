"""Games of which only the screens are known: their frames, and a game without keys, rewards and labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from strathack.collect.playing.tracker import LabelTracker
from strathack.collect.running.pools import OnStep
from strathack.dataset.actions import NO_ACTION
from strathack.dataset.chunks import ChunkEncoder, pad_chunk
from strathack.dataset.labels import NO_PUBLISHED_LABEL, UNLABELLED
from strathack.dataset.schema import FRAME_CHUNK_STEPS, OBSERVATIONS
from strathack.dataset.shard import GameData

SCREEN_KEYS = ("tty_chars", "tty_colors", "tty_cursor")
"""The observations that a recording of a terminal holds."""


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


def encode_screens(parts: Iterable[Screens], steps: int, on_step: OnStep) -> dict[str, Sequence[bytes]]:
    """Compresses the frames of a game.

    Args:
        parts: Its frames, as many at a time as there are.
        steps: How many frames it has.
        on_step: Called with the number of frames that are done.

    Returns:
        Observation key → its chunks.
    """
    encoder = ChunkEncoder()
    chunks: dict[str, list[bytes]] = {key: [] for key in SCREEN_KEYS}
    assert all(OBSERVATIONS[key].chunk_steps == FRAME_CHUNK_STEPS for key in SCREEN_KEYS)
    length = min(steps, FRAME_CHUNK_STEPS)
    chunk = {key: np.empty((length, *OBSERVATIONS[key].shape), np.uint8) for key in SCREEN_KEYS}
    done = filled = 0
    for part in parts:
        frames = dict(zip(SCREEN_KEYS, (part.chars, part.colors, part.cursor), strict=True))
        given = 0
        while given < len(part.chars):
            count = min(length - filled, len(part.chars) - given)
            for key, rows in chunk.items():
                rows[filled : filled + count] = frames[key][given : given + count]
            filled, given = filled + count, given + count
            if filled == length or done + filled == steps:
                for key, rows in chunk.items():
                    chunks[key].append(encoder.encode(pad_chunk(rows[:filled], length)))
                done, filled = done + filled, 0
                on_step(done)
    return dict(chunks)


def bare_game(row: np.ndarray, attributes: Mapping[str, str]) -> GameData:
    """Returns a game without frames, keys, known rewards and labels.

    Args:
        row: Its row of ``/games``.
        attributes: Text that is kept with it.
    """
    steps = int(row["steps"])
    dones = np.zeros(steps, dtype=np.uint8)
    dones[-1:] = 1
    nothing = LabelTracker()
    return GameData(
        row=row,
        frames={},
        actions=np.full(steps, NO_ACTION, dtype=np.uint8),
        rewards=np.full(steps, np.nan, dtype="<f4"),
        dones=dones,
        strategy=np.full(steps, UNLABELLED, dtype=np.uint8),
        substrategy=np.full(steps, UNLABELLED, dtype=np.uint8),
        hihack_strategy=np.full(steps, NO_PUBLISHED_LABEL, dtype=np.int8),
        strategy_codes=nothing.strategy_codes,
        substrategy_codes=nothing.substrategy_codes,
        attributes=dict(attributes),
    )
