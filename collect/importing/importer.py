"""Turns ttyrecs into games of a dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from strathack.collect.importing.altorg import PlayersGame
from strathack.collect.importing.finding import TtyrecFile
from strathack.collect.importing.logs import LogBook, LogLines
from strathack.collect.importing.screens import SCREEN_KEYS, Screens, bare_game, encode_screens
from strathack.collect.importing.ttyrec import Ttyrec, TtyrecError, read_ttyrecs, screens
from strathack.collect.playing.environment import nle_version
from strathack.collect.playing.xlogfile import LogEntry, LogError, end_of
from strathack.collect.replaying.expanding import expanded
from strathack.collect.replaying.replay import DepartedError, Recording, check_replayed, replay
from strathack.collect.running.pools import OnStep
from strathack.collect.running.results import GameShard, Refused
from strathack.collect.running.workplace import Workplace
from strathack.dataset.actions import ACTION_INDEX, KEY_CODES, NO_ACTION
from strathack.dataset.errors import InputError
from strathack.dataset.labels import NO_PUBLISHED_LABEL, PUBLISHED_STRATEGIES
from strathack.dataset.schema import DUNGEON_NAMES, TERMINATED_ENDS, UNKNOWN_SCORE, make_row
from strathack.dataset.shard import GameData, Provenance, encode_shard

NOTE = "import_note"
"""The attribute of a game that tells what of it could not be imported as usual."""


@dataclass(frozen=True)
class RawGame:
    """What a worker receives: a game's ttyrecs and the log's lines about it, so that it needs no access to our disk.

    Attributes:
        file: The first ttyrec.
        parts: The name and the bytes of every ttyrec, in order.
        lines: The xlogfile's lines that may be about the game.
        demonstrator: Who played it, where that is known.
        unreadable: Why the bytes could not be read; empty if they were.
    """

    file: TtyrecFile
    parts: tuple[tuple[str, bytes], ...]
    lines: LogLines
    demonstrator: str = ""
    unreadable: str = ""


def load(logs: LogBook, file: TtyrecFile) -> RawGame:
    """Reads a ttyrec, and finds the lines of the xlogfiles that may be about it."""
    return _read(RawGame(file, (), logs.lines_for(file.path)), [file.path])


def load_played(game: PlayersGame) -> RawGame:
    """Reads the ttyrecs of a player's game."""
    lines = LogLines(game.source, named=game.line)
    return _read(RawGame(game.file, (), lines, demonstrator="human"), game.paths)


def _read(game: RawGame, paths: Sequence[Path]) -> RawGame:
    try:
        return replace(game, parts=tuple((path.name, path.read_bytes()) for path in paths))
    except OSError as error:
        return replace(game, unreadable=f"cannot be read ({error.strerror})")


class Importer:
    """Imports ttyrec after ttyrec; a :class:`strathack.collect.running.pools.Worker`.

    Args:
        observations: The observation keys to keep if the games are replayed, else None.
        made: The part of the provenance that is new in every run.
    """

    def __init__(self, observations: tuple[str, ...] | None, made: Mapping[str, str]) -> None:
        self._observations, self._made = observations, made
        self._workplace = Workplace()

    def work(self, payload: RawGame, on_step: OnStep) -> GameShard | Refused:
        """Imports one game, or returns why it cannot be imported."""
        if payload.unreadable:
            return Refused(f"{payload.file.shown}: {payload.unreadable}")
        try:
            ttyrec = read_ttyrecs(payload.parts)
            line = payload.lines.about(ttyrec)
            game = read_game(payload.file, ttyrec, line)
            if self._observations is None:
                observations: tuple[str, ...] = SCREEN_KEYS
                game = replace(
                    game, frames=encode_screens(_agents_screens(ttyrec, _agents(ttyrec)), len(game.actions), on_step)
                )
            else:
                observations = self._observations
                game = _replayed(game, ttyrec, self._observations, on_step)
        except (TtyrecError, DepartedError, InputError) as error:
            return Refused(f"{payload.file.shown}: {error}")
        except LogError as error:
            return Refused(f"{payload.file.shown}: its line in {payload.lines.source}: {error}")
        provenance = Provenance(
            observations=observations,
            demonstrator="autoascend" if ttyrec.version == 4 else payload.demonstrator or "unknown",
            demonstrator_version="as published with HiHack" if ttyrec.version == 4 else "",
            nle_version=nle_version() if self._observations is not None else "",
            options=json.dumps(
                {"imported_from": f"ttyrec{ttyrec.version}", "replayed": self._observations is not None}
            ),
            **self._made,
        )
        unnamed = "no xlogfile line agrees with it" if payload.lines.nameless else "no xlogfile line"
        notes = [ttyrec.truncated and f"truncated, {ttyrec.truncated}", ttyrec.rest, "" if line else unnamed]
        note = "; ".join(filter(None, notes))
        note = f"{payload.file.shown}: {note}" if note else ""
        if note:
            game = replace(game, attributes={**game.attributes, NOTE: note})
        shard = encode_shard(game, provenance)
        return GameShard(name=payload.file.name, steps=len(game.actions), shard=shard, note=note)

    def warm_up(self) -> None:
        """Does nothing: no preparations are slow."""

    def close(self) -> None:
        """Removes the scratch folder."""
        self._workplace.close()


def _agents(ttyrec: Ttyrec) -> np.ndarray:
    """Returns which frames are steps of the agent, bool [n]: the frames whose keys NLE did not press itself."""
    return np.ones(ttyrec.frames, dtype=bool) if ttyrec.labels is None else ttyrec.labels != NO_PUBLISHED_LABEL


def read_game(file: TtyrecFile, ttyrec: Ttyrec, line: str) -> GameData:
    """Returns everything about a game except its frames.

    Args:
        file: The ttyrec.
        ttyrec: The ttyrec's contents.
        line: The xlogfile's line about the game, empty for none.

    Raises:
        TtyrecError: If a key is not an action, or a label is not a published one.
        LogError: If a field of the line is invalid.
    """
    agents = _agents(ttyrec)
    steps = int(agents.sum())
    actions = np.full(steps, NO_ACTION, dtype=np.uint8) if ttyrec.version == 1 else _actions(ttyrec.keys[agents])
    game = bare_game(
        _row(file, ttyrec, LogEntry(line), actions),
        {
            "source": file.shown,
            "ttyrec_version": str(ttyrec.version),
            **({"xlogfile": line} if line else {}),
        },
    )
    game = replace(game, actions=actions)
    if ttyrec.version > 2:  # which tells scores
        game = replace(game, rewards=np.diff(ttyrec.scores, append=ttyrec.last_score)[agents].astype("<f4"))
    if ttyrec.labels is not None:
        labels = ttyrec.labels[agents]
        if steps and not ((labels >= 0) & (labels < len(PUBLISHED_STRATEGIES))).all():
            wrong = int(np.argmax((labels < 0) | (labels >= len(PUBLISHED_STRATEGIES))))
            raise TtyrecError(f"its label {labels[wrong]} at step {wrong} is none of the published ones")
        game = replace(game, hihack_strategy=labels.astype(np.int8))
    return game


def _actions(keys: np.ndarray) -> np.ndarray:
    table = np.full(256, NO_ACTION, dtype=np.uint8)
    for key, index in ACTION_INDEX.items():
        table[key] = index
    actions = table[keys]
    if (actions == NO_ACTION).any():
        step = int(np.argmax(actions == NO_ACTION))
        raise TtyrecError(f"its key {keys[step]} at step {step} is outside NLE's action set")
    return actions


def _row(file: TtyrecFile, ttyrec: Ttyrec, log: LogEntry, actions: np.ndarray) -> np.ndarray:
    end, cause = ("recording_cut", "") if ttyrec.truncated else end_of(log)
    known = ttyrec.version > 1
    start = datetime.fromtimestamp(max(ttyrec.start, 0), timezone.utc)
    max_depth = log.whole("maxlvl", 0, "max_depth")
    died_deepest = log.whole("deathlev", -1, "max_depth") == max_depth
    dungeon = log.whole("deathdnum", -1, "max_depth") if died_deepest else -1
    return make_row(
        {
            "game": file.name,
            "core": file.seed,
            "disp": file.seed,
            "lgen": -1,
            "clock": start.replace(tzinfo=None).isoformat(),
            "start_time": ttyrec.start,
            "character": "@" if file.seed >= 0 else "",
            "role": log.short("role"),
            "race": log.short("race"),
            "gender": log.short("gender0", "gender"),
            "alignment": log.short("align0", "align"),
            "steps": len(actions),
            "turns": log.whole("turns", -1, "turns"),
            "score": log.whole("points", ttyrec.last_score if ttyrec.version > 2 else UNKNOWN_SCORE, "score"),
            "max_depth": max_depth,
            "deepest_dungeon": DUNGEON_NAMES.get(dungeon, "unknown"),
            "experience_level": 0,
            "progression": float("nan"),
            "end": end,
            "cause": cause,
            "completeness": "complete" if end in TERMINATED_ENDS else "truncated",
            "origin": "ttyrec" if known else "screens",
            "keys_sha256": hashlib.sha256(KEY_CODES[actions].tobytes()).hexdigest() if known else "",
            "frames_sha256": "",
            "seconds": float(log.whole("realtime", 0, "turns")),
        }
    )


def _agents_screens(ttyrec: Ttyrec, agents: np.ndarray) -> Iterator[Screens]:
    """Yields the agent's frames; what the next part reuses is copied."""
    given = 0
    for part in screens(ttyrec):
        rows = agents[given : given + len(part.chars)]
        given += len(rows)
        yield Screens(part.chars[rows], part.colors[rows], part.cursor[rows])


def _replayed(game: GameData, ttyrec: Ttyrec, observations: tuple[str, ...], on_step: OnStep) -> GameData:
    """Returns the game with the data of its replay, which is compared with the recorded screens at every step.

    Raises:
        DepartedError: If the replay is another game; the error has the step.
        InputError: If the game has no keys or no seed.
    """
    parts = _agents_screens(ttyrec, _agents(ttyrec))
    recorded_screens = (screen for part in parts for screen in zip(part.chars, part.colors, part.cursor, strict=True))

    def check(step: int, observation: Mapping[str, np.ndarray]) -> None:
        for key, recorded in zip(SCREEN_KEYS, next(recorded_screens), strict=True):
            if not np.array_equal(observation[key], recorded):
                raise DepartedError(step, f"the replay shows another screen at step {step} ({key})")

    replayed = replay(Recording.of_game(game), observations, on_step, check)
    check_replayed(game, replayed)
    return expanded(game, replayed)
