"""Packs a game so that the page's script can show it.

Screens repeat: for example, rows hidden by a menu reappear unchanged. So every distinct row is held once, and each step
names the rows that differ from the step before. The page's script reads this form; always change both together.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass

import numpy as np

from strathack.analysis.film import Film, printable
from strathack.analysis.runs import runs_of
from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.labels import names_by_code
from strathack.dataset.schema import SCREEN_COLUMNS, SCREEN_ROWS

_BLOCK_STEPS = 512

SHOWN_OF_REPLY = 1000
"""Characters of a language model's reply that the page holds, from its end, where models say what they do."""


@dataclass(frozen=True)
class PackedFilm:
    """A game that can be watched in the page.

    Attributes:
        name: The game's name.
        label: The game's entry in the list of games.
        packed: The packed game; see :func:`packed`.
    """

    name: str
    label: str
    packed: str


@dataclass(frozen=True)
class PackedRows:
    """Screens, stored as rows.

    Attributes:
        counts: Number of rows that change at each step, u8 [T].
        places: The number of each changed row on the screen, 0 to 23, u8 [changes].
        ids: The new content of each changed row, as a place in ``rows``, u32 [changes].
        rows: Every distinct row, characters and then colours, u8 [rows, 160].
        cursors: Row and column of the cursor, u8 [T, 2].
    """

    counts: np.ndarray
    places: np.ndarray
    ids: np.ndarray
    rows: np.ndarray
    cursors: np.ndarray


def pack_rows(film: Film) -> PackedRows:
    """Packs a game's screens; before the first step every row of the screen is ``rows[0]``, which is empty."""
    empty = np.concatenate([np.full(SCREEN_COLUMNS, 32, np.uint8), np.zeros(SCREEN_COLUMNS, np.uint8)])
    known = {empty.tobytes(): 0}
    last = np.tile(empty, (1, SCREEN_ROWS, 1))
    counts, places, ids, cursors = [], [], [], []
    for start in range(0, len(film), _BLOCK_STEPS):
        screens = [screen for _, screen in film.screens(start, start + _BLOCK_STEPS)]
        chars = printable(np.stack([screen.chars for screen in screens]))
        # The colour of a space is invisible.
        colours = np.where(chars == 32, 0, np.stack([screen.colours for screen in screens]))
        cells = np.concatenate([last, np.concatenate([chars, colours], axis=2)])
        step, place = np.nonzero((cells[1:] != cells[:-1]).any(axis=2))
        last = cells[-1:]
        counts.append(np.bincount(step, minlength=len(screens)).astype(np.uint8))
        places.append(place.astype(np.uint8))
        changed = cells[step + 1, place]
        new = np.fromiter((known.setdefault(row.tobytes(), len(known)) for row in changed), np.uint32, len(changed))
        ids.append(new)
        cursors.append(np.array([screen.cursor for screen in screens], np.uint8))
    rows = np.frombuffer(b"".join(known), np.uint8).reshape(-1, 2 * SCREEN_COLUMNS)
    return PackedRows(
        np.concatenate(counts), np.concatenate(places), np.concatenate(ids), rows, np.concatenate(cursors)
    )


def packed(film: Film) -> str:
    """Packs a game as text: base64 of gzip of a header (its length as u32, then JSON) and the arrays one after another.

    Numbers of more than one byte are split into planes, one per byte, low bytes first; these compress better.
    """
    rows = pack_rows(film)
    strategy, strategy_lengths = runs_of(film.strategy)
    substrategy, substrategy_lengths = runs_of(film.substrategy)
    arrays = {
        "counts": _planes(rows.counts, 1),
        "places": _planes(rows.places, 1),
        "ids": _planes(rows.ids, 3),
        "chars": rows.rows[:, :SCREEN_COLUMNS],
        "colours": rows.rows[:, SCREEN_COLUMNS:],
        "cursors": rows.cursors.T,
        "actions": film.game.actions[:],
        "strategy": strategy,
        "strategyLengths": _planes(strategy_lengths, 3),
        "substrategy": substrategy,
        "substrategyLengths": _planes(substrategy_lengths, 3),
    }
    header = {
        "steps": len(film),
        "title": film.title,
        "arrays": [[name, values.size] for name, values in arrays.items()],
        "strategies": film.strategy_names,
        "substrategies": names_by_code(film.game.substrategy.codes),
        "actionNames": list(ACTION_NAMES),
        "replies": {step: reply[-SHOWN_OF_REPLY:] for step, reply in film.replies.items()},
    }
    told = json.dumps(header).encode()
    content = len(told).to_bytes(4, "little") + told + b"".join(values.tobytes() for values in arrays.values())
    # Without a timestamp, so that the same games give the same page.
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _planes(values: np.ndarray, count: int) -> np.ndarray:
    """Returns the low ``count`` bytes of numbers, u8 [count, n].

    Raises:
        ValueError: If a number needs more bytes.
    """
    if values.size and int(values.max()) >= 256**count:
        raise ValueError(f"{values.max()} does not fit into {count} bytes")
    return np.stack([(values >> (8 * byte)) & 255 for byte in range(count)]).astype(np.uint8)
