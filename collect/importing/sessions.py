"""Sessions of the dataset nao_top10: screens in NumPy's archives, <player>/<session>.npz, and a metadata.pkl."""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from strathack.collect.importing.finding import FoundGames, Tree, short_name
from strathack.collect.importing.screens import SCREEN_KEYS, Screens, bare_game, encode_screens
from strathack.collect.playing.characters import ROLE_CODES
from strathack.collect.running.pools import OnStep
from strathack.collect.running.results import GameShard, Refused
from strathack.dataset.errors import InputError
from strathack.dataset.files import absolute, path_text
from strathack.dataset.schema import OBSERVATIONS, UNKNOWN_SCORE, make_row
from strathack.dataset.shard import Provenance, encode_shard

ARCHIVE = re.compile(r".+\.npz")
"""Matches the names of archives."""

METADATA = "metadata.pkl"
"""A pickled dictionary from sessions to what is known of each."""

_ALIGNMENTS = {"lawful": "Law", "neutral": "Neu", "chaotic": "Cha"}
_SHAPES = {key: OBSERVATIONS[key].shape for key in SCREEN_KEYS}


@dataclass(frozen=True)
class RecordedSession:
    """A session: what a player saw from logging in to logging out, one or more of which make a game.

    Attributes:
        path: The archive.
        shown: Its path as it is shown to users, with the player's pseudonym unless real names are asked for.
        name: The game's name in the dataset.
        known: What the metadata say.
    """

    path: Path
    shown: str
    name: str
    known: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class RawSession:
    """What a worker receives.

    Attributes:
        session: The session.
        data: The archive's bytes.
        unreadable: Why the bytes could not be read; empty if they were.
    """

    session: RecordedSession
    data: bytes
    unreadable: str = ""


class SessionError(ValueError):
    """An archive is not one of sessions; the message gives the reason."""


def find_sessions(data: Path, *, real_names: bool = False) -> FoundGames[RecordedSession]:
    """Finds the sessions below a folder.

    Args:
        data: The folder that holds a folder for each player.
        real_names: Name players as they are, instead of Player0, Player1 and so on in order of their names.

    Raises:
        InputError: If there are none.
    """
    data = absolute(data)
    tree = Tree(data, files_once=False)
    tree.walk()
    paths = sorted(tree.of_players(ARCHIVE))
    if not (paths or tree.closed) or not data.is_dir():
        raise InputError(f"{path_text(data)}: holds no sessions; expected <player>/<session>.npz")
    known, unknown = _metadata(data)
    order = sorted({path.parent.name for path in paths})
    players = {player: f"Player{place}" for place, player in enumerate(order)}
    sessions = []
    for path in paths:
        player = path.parent.name if real_names else players[path.parent.name]
        text = f"{player}/{path.stem}"
        about = known.get(path.stem)
        about = {str(key): value for key, value in about.items()} if isinstance(about, Mapping) else {}
        if "username" in about:
            about["username"] = player
        sessions.append(RecordedSession(path, path_text(Path(player) / path.name), short_name(text, text), about))
    return FoundGames(tuple(sessions), tuple(tree.closed), (*tree.left_out, *unknown), tuple(order))


def _metadata(data: Path) -> tuple[Mapping[Any, Any], list[str]]:
    path = data / METADATA
    if not path.exists():
        return {}, []
    try:
        known = _PlainValues(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        return {}, [f"{METADATA}: cannot be read ({error.strerror})"]
    except (pickle.UnpicklingError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError) as error:
        return {}, [f"{METADATA}: is no dictionary of plain values ({error})"]
    return (known, []) if isinstance(known, Mapping) else ({}, [f"{METADATA}: is no dictionary"])


class _PlainValues(pickle.Unpickler):
    """Loads plain values and NumPy's scalars; whatever else a pickle names is refused, since it could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if name == "scalar" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.int64(0).__reduce__()[0]
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def load_session(session: RecordedSession) -> RawSession:
    """Reads an archive."""
    try:
        return RawSession(session, session.path.read_bytes())
    except OSError as error:
        return RawSession(session, b"", f"cannot be read ({error.strerror})")


class SessionImporter:
    """Imports session after session; a :class:`strathack.collect.running.pools.Worker`.

    Args:
        made: The part of the provenance that is new in every run.
    """

    def __init__(self, made: Mapping[str, str]) -> None:
        self._made = made

    def work(self, payload: RawSession, on_step: OnStep) -> GameShard | Refused:
        """Imports one session, or returns why it cannot be imported."""
        session = payload.session
        if payload.unreadable:
            return Refused(f"{session.shown}: {payload.unreadable}")
        try:
            arrays = read_session(payload.data)
        except SessionError as error:
            return Refused(f"{session.shown}: {error}")
        steps, screens = len(arrays["tty_chars"]), Screens(*(arrays[key] for key in SCREEN_KEYS))
        known = json.dumps(dict(session.known), default=_plain)
        bare = bare_game(_row(session, steps), {"source": session.shown, "metadata": known})
        game = replace(bare, frames=encode_screens([screens], steps, on_step))
        provenance = Provenance(
            observations=SCREEN_KEYS, demonstrator="human", demonstrator_version="", nle_version="",
            options=json.dumps({"imported_from": "nao_top10", "replayed": False}), **self._made,
        )  # fmt: skip
        return GameShard(name=session.name, steps=steps, shard=encode_shard(game, provenance))

    def warm_up(self) -> None:
        """Does nothing: no preparations are slow."""

    def close(self) -> None:
        """Does nothing: there is nothing to remove."""


def read_session(data: bytes) -> dict[str, np.ndarray]:
    """Reads an archive; nothing that is pickled in it is loaded.

    Returns:
        ``tty_chars`` u8 [T, 24, 80], ``tty_colors`` u8 [T, 24, 80], ``tty_cursor`` u8 [T, 2].

    Raises:
        SessionError: If the bytes are no archive, or an array is missing or has another shape or values out of range.
    """
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise SessionError("no archive of arrays, or not whole")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in SCREEN_KEYS if key in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SessionError(f"no archive of arrays ({error})") from None
    for key, shape in _SHAPES.items():
        if key not in arrays:
            raise SessionError(f"it holds no {key}")
        array = arrays[key]
        if array.ndim != len(shape) + 1 or array.shape[1:] != shape or array.dtype.kind not in "iu":
            raise SessionError(f"its {key} are {array.dtype} {list(array.shape)}; expected integers [T, {shape}]")
        if len(array) != len(arrays["tty_chars"]):
            raise SessionError(f"it has {len(array)} {key} for {len(arrays['tty_chars'])} tty_chars")
        if array.size and not 0 <= array.min() <= array.max() <= np.iinfo(np.uint8).max:
            raise SessionError(f"its {key} go from {array.min()} to {array.max()}; expected 0 to 255")
    if not len(arrays["tty_chars"]):
        raise SessionError("it has no frames")
    return {key: array.astype(np.uint8) for key, array in arrays.items()}


def _row(session: RecordedSession, steps: int) -> np.ndarray:
    known = session.known
    began = _whole(known, "stamp", -1)
    clock = datetime.fromtimestamp(began, timezone.utc).replace(tzinfo=None).isoformat() if began >= 0 else ""
    return make_row(
        {
            "game": session.name,
            "core": -1,
            "disp": -1,
            "lgen": -1,
            "clock": clock,
            "start_time": began,
            "character": "",
            "role": ROLE_CODES.get(str(known.get("role", "")).lower(), ""),
            "race": "",
            "gender": "",
            "alignment": _ALIGNMENTS.get(str(known.get("alignment", "")).lower(), ""),
            "steps": steps,
            "turns": -1,
            "score": UNKNOWN_SCORE,
            "max_depth": max(_whole(known, "max_level_number", 0), 0),
            "deepest_dungeon": "unknown",
            "experience_level": max(_whole(known, "max_exp_level", 0), 0),
            "progression": float("nan"),
            "end": "unknown",
            "cause": "",
            "completeness": "truncated",
            "origin": "screens",
            "keys_sha256": "",
            "frames_sha256": "",
            "seconds": 0.0,
        }
    )


def _plain(value: object) -> object:
    """Returns a value of the metadata that JSON has no form for as one that it has."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _whole(known: Mapping[str, Any], name: str, default: int) -> int:
    """Returns a number of the metadata, the default where there is none that fits into its column."""
    try:
        value = int(known.get(name, default))
    except (TypeError, ValueError, OverflowError):
        return default
    return value if -1 <= value < (1 << 33 if name == "stamp" else 1 << 15) else default
