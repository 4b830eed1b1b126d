"""What a shard holds: observation keys, the columns of ``/games``, enumerations, versions.

``docs/format.md`` describes the format in prose; a test checks that it agrees with this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import h5py
import numpy as np

from strathack.dataset.codec import TextValue, split_list
from strathack.dataset.errors import InputError, near_match

FORMAT_NAME = "strathack"
FORMAT_VERSION = 1

LIBRARY_BOUNDS = ("v110", "latest")
"""HDF5 library bounds under which metadata carries checksums too."""

CHUNK_BYTES = 2 << 20
"""The most bytes of frames that one chunk may hold, before compression."""

FRAME_CHUNK_STEPS = 1024
"""The most steps in a chunk of an observation array; large frames have fewer steps in a chunk."""

COLUMN_CHUNK_STEPS = 16384
"""Steps in a chunk of a one-dimensional array."""


@dataclass(frozen=True)
class ObservationSpec:
    """One observation array.

    Attributes:
        shape: Shape of one frame.
        dtype: Type as stored. Unlike NLE's arrays, ``blstats`` is narrower and ``tty_colors`` is unsigned.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame before compression."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def chunk_steps(self) -> int:
        """Steps in a full chunk: a power of two, at most 1,024, with at most ``CHUNK_BYTES`` bytes."""
        steps = FRAME_CHUNK_STEPS
        while steps > 1 and steps * self.frame_bytes > CHUNK_BYTES:
            steps //= 2
        return steps


def _spec(shape: Sequence[int], dtype: str) -> ObservationSpec:
    return ObservationSpec(tuple(shape), np.dtype(dtype))


OBSERVATIONS: Mapping[str, ObservationSpec] = {
    "glyphs": _spec((21, 79), "<i2"),
    "chars": _spec((21, 79), "u1"),
    "colors": _spec((21, 79), "u1"),
    "specials": _spec((21, 79), "u1"),
    "blstats": _spec((27,), "<i4"),
    "message": _spec((256,), "u1"),
    "inv_glyphs": _spec((55,), "<i2"),
    "inv_strs": _spec((55, 80), "u1"),
    "inv_letters": _spec((55,), "u1"),
    "inv_oclasses": _spec((55,), "u1"),
    "tty_chars": _spec((24, 80), "u1"),
    "tty_colors": _spec((24, 80), "u1"),
    "tty_cursor": _spec((2,), "u1"),
    "misc": _spec((3,), "<i4"),
}
"""Every observation key that a shard may hold: the fourteen that NLE's NetHackChallenge shows its player."""

STORED_COLUMNS: Mapping[str, str] = {
    "actions": "u1",
    "rewards": "<f4",
    "dones": "u1",
    "strategy": "u1",
    "substrategy": "u1",
    "hihack_strategy": "i1",
    "strategy_inferred": "u1",
    "strategy_inferred_probability": "<f2",
    "substrategy_inferred": "u1",
    "substrategy_inferred_probability": "<f2",
}
"""Each one-dimensional array of a game and its type."""

INFERRED: Mapping[str, str] = {"strategy": "strategy_inferred", "substrategy": "substrategy_inferred"}
"""Label → the column of what a labeller infers of it, where nothing was reported or beside what was."""

PROBABILITY = "_probability"
"""Ends the name of a column that says how probable the labeller finds what it infers."""

OPTIONAL_COLUMNS: frozenset[str] = frozenset(
    {"rewards", *INFERRED.values(), *(f"{name}{PROBABILITY}" for name in INFERRED.values())}
)
"""Columns that a game may lack: keys-only games have no ``rewards``, and few games have inferred labels."""

CHECKPOINTS = "frame_checkpoints"
"""The array of digests that shows early, not only at the game's end, that a replay has diverged from the game."""


def checkpoint_count(steps: int) -> int:
    """Returns the number of checkpoints of a game: one after each full chunk of frames and one at the end."""
    return -(-steps // FRAME_CHUNK_STEPS)


LABEL_COLUMNS: tuple[str, ...] = ("strategy", "substrategy", *INFERRED.values())
"""The columns that are enumerations, whose names are stored in the file."""

DIGESTED_OBSERVATIONS: tuple[str, ...] = ("tty_chars", "tty_colors", "tty_cursor", "blstats")
"""The arrays that ``frames_sha256`` covers, in this order, whether or not they are stored."""


class ObservationKeys(TextValue, tuple[str, ...]):
    """Observation keys to keep, in the order of ``OBSERVATIONS``; ``none`` keeps only the keys pressed."""

    @classmethod
    def parse(cls, text: str) -> ObservationKeys:
        """Parses keys separated by commas, ``all`` or ``none``.

        Raises:
            InputError: If no key is given or a key is unknown; the message then names the nearest known key.
        """
        if text.strip() in ("all", "none"):
            return cls(OBSERVATIONS if text.strip() == "all" else ())
        names = split_list(text)
        if not names:
            raise InputError("none given; expected at least one key, 'all' or 'none'")
        for name in names:
            if name not in OBSERVATIONS:
                raise InputError(f"unknown key {name!r}{near_match(name, OBSERVATIONS)}")
        return cls(key for key in OBSERVATIONS if key in names)

    def __str__(self) -> str:
        """The inverse of :meth:`parse`."""
        return ",".join(self) or "none"


DEFAULT_OBSERVATIONS = ObservationKeys(key for key in OBSERVATIONS if key in DIGESTED_OBSERVATIONS)


def is_replayable(rows: np.void | np.ndarray) -> np.ndarray:
    """Returns whether games can be replayed, that is, whether their keys, their seeds and their clocks are known.

    Args:
        rows: One row of ``/games``, or several.

    Returns:
        bool, of the shape of ``rows``.
    """
    known: np.ndarray = (rows["keys_sha256"] != b"") & (rows["core"] >= 0) & (rows["start_time"] >= 0)
    return known


GAMES_PER_SHARD = 64
"""Default number of games in a merged shard."""


class BLStat(IntEnum):
    """Places in ``blstats``, by NLE's names (``nle.nethack.NLE_BL_…``)."""

    X = 0
    Y = 1
    STR25 = 2
    STR125 = 3
    DEX = 4
    CON = 5
    INT = 6
    WIS = 7
    CHA = 8
    SCORE = 9
    HP = 10
    HPMAX = 11
    DEPTH = 12
    GOLD = 13
    ENE = 14
    ENEMAX = 15
    AC = 16
    HD = 17
    XP = 18
    EXP = 19
    TIME = 20
    HUNGER = 21
    CAP = 22
    DNUM = 23
    DLEVEL = 24
    CONDITION = 25
    ALIGN = 26


HUNGER_STATES = 7
"""How many values ``BLStat.HUNGER`` has: satiated, not hungry, hungry, weak, fainting, fainted, starved."""

SCREEN_ROWS, SCREEN_COLUMNS = OBSERVATIONS["tty_chars"].shape
"""Rows and columns of the terminal."""


ENDS: Mapping[str, int] = {
    "death": 0,
    "ascended": 1,
    "escaped": 2,
    "quit": 3,
    "abort": 4,
    "step_limit": 5,
    "time_limit": 6,
    "demonstrator_stopped": 7,
    "demonstrator_error": 8,
    "recording_cut": 9,
    "unknown": 255,
}
"""How a game ended. NLE ends a game with ``abort`` when the turn has not changed for too many steps. The last two occur
in imported games: the file stops in mid-game, or does not record the end."""

TERMINATED_ENDS: frozenset[str] = frozenset({"death", "ascended", "escaped", "quit"})
"""Ends at which the game itself was over; every other end cut the game short."""

COMPLETENESS: Mapping[str, int] = {"complete": 0, "truncated": 1}
"""``complete``: the game itself was over; ``truncated``: the recording stops before that."""

UNKNOWN_SCORE = -1
"""The score of an imported game that tells none."""

ORIGINS: Mapping[str, int] = {"played": 0, "replayed": 1, "ttyrec": 2, "screens": 3}
"""Where a game's arrays come from. ``played``: recorded while it was played; ``replayed``: replayed from its keys;
``ttyrec``: from a ttyrec with keys; ``screens``: from a ttyrec without keys, so all ``actions`` are ``NO_ACTION``."""

DUNGEONS: Mapping[str, int] = {
    "Dungeons of Doom": 0,
    "Gehennom": 1,
    "Gnomish Mines": 2,
    "Quest": 3,
    "Sokoban": 4,
    "Fort Ludios": 5,
    "Vlad's Tower": 6,
    "Elemental Planes": 7,
    "unknown": 255,
}
"""Dungeon branches by NetHack's numbers (the order of its ``dungeon.def``)."""

DUNGEON_NAMES: Mapping[int, str] = {code: name for name, code in DUNGEONS.items()}
"""Names of the dungeon branches by number."""


def _enum(names: Mapping[str, int]) -> np.dtype[Any]:
    return h5py.enum_dtype(dict(names), basetype="u1")


GAME_DTYPE: np.dtype[Any] = np.dtype(
    [
        ("game", "S64"),
        ("core", "<i8"),
        ("disp", "<i8"),
        ("lgen", "<i8"),
        ("clock", "S32"),
        ("start_time", "<i8"),
        ("character", "S32"),
        ("role", "S3"),
        ("race", "S3"),
        ("gender", "S3"),
        ("alignment", "S3"),
        ("steps", "<i8"),
        ("turns", "<i8"),
        ("score", "<i8"),
        ("max_depth", "<i2"),
        ("deepest_dungeon", _enum(DUNGEONS)),
        ("experience_level", "<i2"),
        ("progression", "<f8"),
        ("end", _enum(ENDS)),
        ("cause", "S128"),
        ("completeness", _enum(COMPLETENESS)),
        ("origin", _enum(ORIGINS)),
        ("keys_sha256", "S64"),
        ("frames_sha256", "S64"),
        ("seconds", "<f8"),
    ]
)
"""The columns of ``/games``, one row a game. Text is UTF-8; ``lgen`` is −1 where no such seed was set."""


def game_name(core_seed: int) -> str:
    """The name of a collected game's group: ``game_`` and its core seed."""
    return f"game_{core_seed}"


def make_row(values: Mapping[str, Any]) -> np.ndarray:
    """Builds one row of ``/games`` from a value for each column; enumerations are given by name.

    Raises:
        ValueError: If a column is missing or unknown.
    """
    names = GAME_DTYPE.names or ()
    if set(values) != set(names):
        missing, unknown = set(names) - set(values), set(values) - set(names)
        raise ValueError(f"columns of /games: missing {sorted(missing)}, unknown {sorted(unknown)}")
    row = np.zeros((), dtype=GAME_DTYPE)
    for name in names:
        value = values[name]
        codes = h5py.check_enum_dtype(GAME_DTYPE[name])
        if codes is not None:
            value = codes[value]
        elif GAME_DTYPE[name].kind == "S":
            value = text_of(name, str(value))
        row[name] = value
    return row


def text_of(column: str, text: str) -> bytes:
    """Encodes a text for a column of ``/games``: UTF-8, cut between characters if it is too long.

    Raises:
        ValueError: If the text is a game's name and too long, since a cut name could equal another game's.
    """
    size = GAME_DTYPE[column].itemsize
    encoded = text.encode(errors="backslashreplace")
    if len(encoded) <= size:
        return encoded
    if column == "game":
        raise ValueError(f"the name {text!r} has {len(encoded)} bytes; expected at most {size}")
    return encoded[:size].decode(errors="ignore").encode()


def row_values(row: np.void | np.ndarray) -> dict[str, Any]:
    """The inverse of :func:`make_row`: plain Python values, enumerations by name."""
    values: dict[str, Any] = {}
    for name in GAME_DTYPE.names or ():
        value: Any = row[name]
        codes = h5py.check_enum_dtype(GAME_DTYPE[name])
        if codes is not None:
            values[name] = {code: text for text, code in codes.items()}[int(value)]
        elif GAME_DTYPE[name].kind == "S":
            values[name] = value.item().decode()
        else:
            values[name] = value.item()
    return values
