"""Turns ttyrecs into games of a dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial

import numpy as np

from strathack.collect.importing.finding import Found, TtyrecFile
from strathack.collect.importing.ttyrec import Screens, Ttyrec, TtyrecError, read_ttyrec, screens
from strathack.collect.options import MakingOptions
from strathack.collect.playing.clock import default_clock
from strathack.collect.playing.environment import nle_version
from strathack.collect.playing.tracker import LabelTracker
from strathack.collect.playing.xlogfile import LogBook, LogEntry, LogError, LogLines, end_of
from strathack.collect.replaying.expanding import expanded
from strathack.collect.replaying.replay import DepartedError, Recording, check_replayed, replay
from strathack.collect.running.display import Report
from strathack.collect.running.jobs import Work, Workers
from strathack.collect.running.pools import OnStep
from strathack.collect.running.provenance import made_now
from strathack.collect.running.results import GameShard, JobResult, Refused
from strathack.collect.running.workplace import Workplace
from strathack.dataset.actions import ACTION_INDEX, KEY_CODES, NO_ACTION
from strathack.dataset.chunks import ChunkEncoder, pad_chunk
from strathack.dataset.errors import InputError
from strathack.dataset.labels import NO_PUBLISHED_LABEL, PUBLISHED_STRATEGIES, UNLABELLED
from strathack.dataset.schema import DUNGEON_NAMES, FRAME_CHUNK_STEPS, OBSERVATIONS, TERMINATED_ENDS, make_row
from strathack.dataset.shard import GameData, Provenance, encode_shard

SCREEN_KEYS = ("tty_chars", "tty_colors", "tty_cursor")
"""The observations that a ttyrec holds."""


@dataclass(frozen=True)
class RawGame:
    """What a worker receives: a ttyrec's bytes and the log's lines about it, so that it needs no access to our disk.

    Attributes:
        file: The ttyrec.
        data: The ttyrec's bytes.
        lines: The xlogfile's lines that may be about the game.
        unreadable: Why the bytes could not be read; empty if they were.
    """

    file: TtyrecFile
    data: bytes
    lines: LogLines
    unreadable: str = ""


def load(logs: LogBook, file: TtyrecFile) -> RawGame:
    """Reads a ttyrec, and finds the lines of the xlogfiles that may be about it."""
    try:
        return RawGame(file, file.path.read_bytes(), logs.lines_for(file.path))
    except OSError as error:
        return RawGame(file, b"", LogLines(), f"cannot be read ({error.strerror})")


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
            ttyrec = read_ttyrec(payload.file.path.name, payload.data)
            line = payload.lines.about(ttyrec)
            game = read_game(payload.file, ttyrec, line)
            if self._observations is None:
                observations: tuple[str, ...] = SCREEN_KEYS
                game = replace(game, frames=_encode_screens(ttyrec, _agents(ttyrec), on_step))
            else:
                observations = self._observations
                game = _replayed(game, ttyrec, self._observations, on_step)
        except (TtyrecError, DepartedError, InputError) as error:
            return Refused(f"{payload.file.shown}: {error}")
        except LogError as error:
            return Refused(f"{payload.file.shown}: its line in {payload.lines.source}: {error}")
        provenance = Provenance(
            observations=observations,
            demonstrator="autoascend" if ttyrec.version == 4 else "unknown",
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
    actions, rewards = np.full(steps, NO_ACTION, dtype=np.uint8), np.zeros(steps, dtype="<f4")
    hihack = np.full(steps, NO_PUBLISHED_LABEL, dtype=np.int8)
    if ttyrec.version > 1:
        actions = _actions(ttyrec.keys[agents])
        rewards = np.diff(ttyrec.scores, append=ttyrec.last_score)[agents].astype("<f4")
    if ttyrec.labels is not None:
        labels = ttyrec.labels[agents]
        if steps and not ((labels >= 0) & (labels < len(PUBLISHED_STRATEGIES))).all():
            wrong = int(np.argmax((labels < 0) | (labels >= len(PUBLISHED_STRATEGIES))))
            raise TtyrecError(f"its label {labels[wrong]} at step {wrong} is none of the published ones")
        hihack = labels.astype(np.int8)
    dones = np.zeros(steps, dtype=np.uint8)
    dones[-1:] = 1
    nothing = LabelTracker()
    return GameData(
        row=_row(file, ttyrec, LogEntry(line), actions),
        frames={},
        actions=actions,
        rewards=rewards,
        dones=dones,
        strategy=np.full(steps, UNLABELLED, dtype=np.uint8),
        substrategy=np.full(steps, UNLABELLED, dtype=np.uint8),
        hihack_strategy=hihack,
        strategy_codes=nothing.strategy_codes,
        substrategy_codes=nothing.substrategy_codes,
        attributes={
            "source": file.shown,
            "ttyrec_version": str(ttyrec.version),
            **({"xlogfile": line} if line else {}),
        },
    )


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
            "score": log.whole("points", ttyrec.last_score, "score"),
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
    """Yields the agent's frames, 1,024 at a time."""
    kept: list[Screens] = []
    count = given = 0
    for part in screens(ttyrec):
        rows = agents[given : given + len(part.chars)]
        given += len(part.chars)
        # Copies, since the next part reuses the arrays.
        kept.append(Screens(part.chars[rows].copy(), part.colors[rows].copy(), part.cursor[rows].copy()))
        count += int(rows.sum())
        if count >= FRAME_CHUNK_STEPS or given == ttyrec.frames:
            joined = Screens(
                np.concatenate([one.chars for one in kept]),
                np.concatenate([one.colors for one in kept]),
                np.concatenate([one.cursor for one in kept]),
            )
            full = count if given == ttyrec.frames else count // FRAME_CHUNK_STEPS * FRAME_CHUNK_STEPS
            for start in range(0, full, FRAME_CHUNK_STEPS):
                stop = min(start + FRAME_CHUNK_STEPS, full)
                yield Screens(joined.chars[start:stop], joined.colors[start:stop], joined.cursor[start:stop])
            kept = [Screens(joined.chars[full:], joined.colors[full:], joined.cursor[full:])]
            count -= full


def _encode_screens(ttyrec: Ttyrec, agents: np.ndarray, on_step: OnStep) -> dict[str, Sequence[bytes]]:
    encoder = ChunkEncoder()
    chunks: dict[str, list[bytes]] = {key: [] for key in SCREEN_KEYS}
    length = min(int(agents.sum()), FRAME_CHUNK_STEPS)
    done = 0
    for part in _agents_screens(ttyrec, agents):
        for key, frames in zip(SCREEN_KEYS, (part.chars, part.colors, part.cursor), strict=True):
            assert OBSERVATIONS[key].chunk_steps == FRAME_CHUNK_STEPS, "screens come in such chunks"
            chunks[key].append(encoder.encode(pad_chunk(frames, length)))
        done += len(part.chars)
        on_step(done)
    return dict(chunks)


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


def importing(found: Found, observations: tuple[str, ...] | None, options: MakingOptions) -> Work:
    """Returns the jobs that import the ttyrecs that were found, by game name.

    With 0 workers, this process is restarted under the default clock if games are to be replayed.

    Args:
        found: The files.
        observations: The observation keys to keep if the games are replayed, else None.
        options: How many workers import the files, and how.
    """
    replays = observations is not None
    clock = default_clock(here=replays and options.workers == 0)
    environment = clock.environment() if replays else {}
    return Work(
        jobs={file.name: file for file in found.files},
        by=Workers(partial(Importer, observations, made_now()), options, environment),
        describe=partial(_described, options.quiet),
        called=lambda file: file.shown,
        load=partial(load, found.logs),
        retries=options.retries,
    )


def _described(quiet: bool, file: TtyrecFile, result: JobResult) -> Report:
    if isinstance(result, Refused):
        return Report(result.reason, failed=True)
    assert isinstance(result, GameShard), "a file is imported or refused"
    return Report(result.note or (f"{file.shown}: {result.steps} steps" if quiet else ""))
