"""``strathack dataset import``: ttyrecs into a dataset."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from strathack.collect.clock import default_clock
from strathack.collect.display import Report
from strathack.collect.environment import LogEntry, nle_version
from strathack.collect.expand import expanded
from strathack.collect.jobs import Refused, RemadeGame, Work, agreed_settings, make_dataset
from strathack.collect.options import ImportConfig
from strathack.collect.pools import Failed, OnStep, Outcome
from strathack.collect.provenance import made_now
from strathack.collect.replay import DepartedError, Recording, check_replayed, replay
from strathack.collect.tracker import LabelTracker
from strathack.collect.ttyrec import FILE_NAME, NO_LABEL, Screens, Ttyrec, TtyrecError, read_ttyrec, screens
from strathack.collect.workplace import Workplace
from strathack.dataset.actions import ACTION_INDEX, KEY_CODES, NO_ACTION
from strathack.dataset.chunks import ChunkEncoder, pad_chunk
from strathack.dataset.errors import InputError
from strathack.dataset.labels import PUBLISHED_STRATEGIES, UNLABELLED
from strathack.dataset.schema import DUNGEONS, FRAME_CHUNK_STEPS, OBSERVATIONS, TERMINATED_ENDS, game_name, make_row
from strathack.dataset.shard import GameData, Provenance, encode_shard

SCREEN_KEYS = ("tty_chars", "tty_colors", "tty_cursor")
"""The observations that a ttyrec holds."""


@dataclass(frozen=True)
class TtyrecFile:
    """A ttyrec to be imported.

    Attributes:
        path: Where it is.
        shown: Its path in the folder that is imported.
        seed: The game's seed, −1 where it is not known.
        name: The game's name in the dataset.
    """

    path: Path
    shown: str
    seed: int
    name: str


def find_ttyrecs(folder: Path, seeds: str) -> list[TtyrecFile]:
    """Every ttyrec below a folder, in order of its path; or the one that ``folder`` is.

    Args:
        folder: Where to look.
        seeds: ``folder``, ``none`` or ``auto``, as :class:`strathack.collect.options.ImportConfig` has it.

    Raises:
        InputError: If there is none, or a folder that is to be a seed is no number or holds several games.
    """
    if folder.is_file():
        paths, root = [folder], folder.parent.parent
    else:
        paths, root = sorted(p for p in folder.rglob("*") if p.is_file() and FILE_NAME.fullmatch(p.name)), folder
    if not paths:
        raise InputError(f"{folder}: holds no ttyrecs; expected <game>/nle.<pid>.<episode>.ttyrec<version>.bz2")
    found: dict[str, TtyrecFile] = {}
    for path in paths:
        shown = str(path.relative_to(root))
        seed = _folder_seed(path, seeds)
        name = game_name(seed) if seed >= 0 else "game_" + re.sub(r"[^A-Za-z0-9.]+", "_", shown.split(".ttyrec")[0])
        if name in found:
            raise InputError(
                f"{folder}: {shown} and {found[name].shown} would both be {name}; --seeds none names them apart"
            )
        found[name] = TtyrecFile(path, shown, seed, name[:64])
    return sorted(found.values(), key=lambda file: (file.seed, file.shown))


def _folder_seed(path: Path, seeds: str) -> int:
    if seeds == "none" or (seeds == "auto" and ".ttyrec4" not in path.name):
        return -1
    if not path.parent.name.isdecimal():
        if seeds == "auto":
            return -1
        raise InputError(f"{path}: --seeds folder takes {path.parent.name!r} for a seed; expected a number")
    return int(path.parent.name)


def find_missing(folder: Path) -> list[str]:
    """What the xlogfiles below a folder name and is not there, a line each."""
    missing = []
    for xlogfile in sorted(folder.rglob("*.xlogfile")):
        for line in xlogfile.read_text(errors="replace").splitlines():
            name = LogEntry(line).fields.get("ttyrecname")
            if name and not xlogfile.with_name(name).exists():
                missing.append(f"{xlogfile.relative_to(folder)}: the ttyrec {name} is not there")
    return missing


@dataclass(frozen=True)
class RawGame:
    """What a worker gets: a ttyrec's bytes and the line about its game, so that it needs no disk of ours."""

    file: TtyrecFile
    data: bytes
    line: str


def load(file: TtyrecFile) -> RawGame:
    """Reads a ttyrec and finds the line about its game in the xlogfile beside it."""
    return RawGame(file, file.path.read_bytes(), _log_line(file.path))


def _log_line(path: Path) -> str:
    """The xlogfile's line that names the ttyrec; or the one at its place, where the lines name none."""
    match = re.match(r"(.+?)\.(\d+)\.ttyrec", path.name)
    xlogfile = path.with_name(f"{match[1]}.xlogfile") if match else None
    if match is None or xlogfile is None or not xlogfile.exists():
        return ""
    lines = xlogfile.read_text(errors="replace").splitlines()
    named = [line for line in lines if LogEntry(line).fields.get("ttyrecname") == path.name]
    if named:
        return named[-1]
    nameless = [line for line in lines if "ttyrecname" not in LogEntry(line).fields]
    return nameless[int(match[2])] if int(match[2]) < len(nameless) else ""


class Importer:
    """Imports ttyrec after ttyrec; a :class:`strathack.collect.pools.Worker`.

    Args:
        keys: With a replay the observation keys to keep, else None.
        run: The part of the provenance that every run has anew.
    """

    def __init__(self, keys: tuple[str, ...] | None, run: Mapping[str, str]) -> None:
        self._keys, self._run = keys, run
        self._workplace = Workplace()

    def work(self, payload: RawGame, on_step: OnStep) -> RemadeGame | Refused:
        """Imports one game, or says why it cannot be."""
        try:
            ttyrec = read_ttyrec(payload.file.path.name, payload.data)
            game = read_game(payload, ttyrec)
            if self._keys is None:
                observations: tuple[str, ...] = SCREEN_KEYS
                game = replace(game, frames=_encode_screens(ttyrec, _agents(ttyrec), on_step))
            else:
                observations = self._keys
                game = _replayed(game, ttyrec, self._keys, on_step)
        except (TtyrecError, DepartedError, InputError) as error:
            return Refused(f"{payload.file.shown}: {error}")
        provenance = Provenance(
            observations=observations,
            demonstrator="autoascend" if ttyrec.version == 4 else "unknown",
            demonstrator_version="as published with HiHack" if ttyrec.version == 4 else "",
            nle_version=nle_version() if self._keys is not None else "",
            options=json.dumps({"imported_from": f"ttyrec{ttyrec.version}", "replayed": self._keys is not None}),
            **self._run,
        )
        notes = [ttyrec.truncated and f"truncated, {ttyrec.truncated}", "" if payload.line else "no xlogfile line"]
        note = "; ".join(filter(None, notes))
        note = f"{payload.file.shown}: {note}" if note else ""
        return RemadeGame(payload.file.name, len(game.actions), encode_shard(game, provenance), note)

    def warm_up(self) -> None:
        """Nothing takes long the first time."""

    def close(self) -> None:
        """Removes the scratch folder."""
        self._workplace.close()


def _agents(ttyrec: Ttyrec) -> np.ndarray:
    """Which frames are the agent's steps, bool [n]: those whose keys NLE did not press itself."""
    return np.ones(ttyrec.frames, dtype=bool) if ttyrec.labels is None else ttyrec.labels != NO_LABEL


def read_game(raw: RawGame, ttyrec: Ttyrec) -> GameData:
    """Everything about a game but its frames.

    Raises:
        TtyrecError: If a key is no action, or a label no published one.
    """
    agents = _agents(ttyrec)
    steps = int(agents.sum())
    actions, rewards = np.full(steps, NO_ACTION, dtype=np.uint8), np.zeros(steps, dtype="<f4")
    hihack = np.full(steps, NO_LABEL, dtype=np.int8)
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
        row=_row(raw, ttyrec, actions),
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
            "source": raw.file.shown,
            "ttyrec_version": str(ttyrec.version),
            **({"xlogfile": raw.line} if raw.line else {}),
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


def _row(raw: RawGame, ttyrec: Ttyrec, actions: np.ndarray) -> np.ndarray:
    log = LogEntry(raw.line)
    fields = log.fields
    end, cause = _end(log, ttyrec)
    known = ttyrec.version > 1
    start = datetime.fromtimestamp(max(ttyrec.start, 0), timezone.utc)
    dungeon = int(fields.get("deathdnum", -1)) if fields.get("deathlev") == fields.get("maxlvl") else -1
    return make_row(
        {
            "game": raw.file.name,
            "core": raw.file.seed,
            "disp": raw.file.seed,
            "lgen": -1,
            "clock": start.replace(tzinfo=None).isoformat(),
            "start_time": ttyrec.start,
            "character": "@" if raw.file.seed >= 0 else "",
            "role": fields.get("role", ""),
            "race": fields.get("race", ""),
            "gender": fields.get("gender0", fields.get("gender", "")),
            "alignment": fields.get("align0", fields.get("align", "")),
            "steps": len(actions),
            "turns": int(fields.get("turns", -1)),
            "score": int(fields.get("points", ttyrec.last_score)),
            "max_depth": int(fields.get("maxlvl", 0)),
            "deepest_dungeon": next((name for name, code in DUNGEONS.items() if code == dungeon), "unknown"),
            "experience_level": 0,
            "progression": float("nan"),
            "end": end,
            "cause": cause,
            "completeness": "complete" if end in TERMINATED_ENDS else "truncated",
            "origin": "ttyrec" if known else "screens",
            "keys_sha256": hashlib.sha256(KEY_CODES[actions].tobytes()).hexdigest() if known else "",
            "frames_sha256": "",
            "seconds": float(fields.get("realtime", 0)),
        }
    )


def _end(log: LogEntry, ttyrec: Ttyrec) -> tuple[str, str]:
    """How the game ended in this recording, and the cause; a cut recording does not have the end."""
    if ttyrec.truncated:
        return "recording_cut", ""
    if not log.line:
        return "unknown", ""
    for end in ("ascended", "escaped", "quit"):
        if log.cause.startswith(end):
            return end, log.cause
    return "death", log.cause


def _agents_screens(ttyrec: Ttyrec, agents: np.ndarray) -> Iterator[Screens]:
    """The agent's frames, by the 1,024."""
    kept: list[Screens] = []
    count = given = 0
    for part in screens(ttyrec):
        rows = agents[given : given + len(part.chars)]
        given += len(part.chars)
        # Copies, since the arrays are used again.
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


def _replayed(game: GameData, ttyrec: Ttyrec, keys: tuple[str, ...], on_step: OnStep) -> GameData:
    """The game with what its replay brings back, held against the recording's screens at every step.

    Raises:
        DepartedError: If the replay is another game; it names the step.
        InputError: If the game has no keys or no seed.
    """
    parts = _agents_screens(ttyrec, _agents(ttyrec))
    recorded_screens = (screen for part in parts for screen in zip(part.chars, part.colors, part.cursor, strict=True))

    def check(step: int, observation: Mapping[str, np.ndarray]) -> None:
        for key, recorded in zip(SCREEN_KEYS, next(recorded_screens), strict=True):
            if not np.array_equal(observation[key], recorded):
                raise DepartedError(step, f"the replay shows another screen at step {step} ({key})")

    replayed = replay(Recording.of_game(game), keys, on_step, check)
    check_replayed(game, replayed)
    game = expanded(game, replayed)
    reached = replayed.frames.reached
    row = np.array(game.row)
    names = {code: name for name, code in DUNGEONS.items()}
    row["experience_level"] = reached.experience_level
    row["max_depth"] = max(reached.max_depth, int(row["max_depth"]))
    row["deepest_dungeon"] = DUNGEONS[names.get(reached.deepest_dungeon, "unknown")]
    return replace(game, row=row)


def _report(quiet: bool, outcome: Outcome, again: bool) -> Report:
    if isinstance(outcome, Failed):
        line = f"{outcome.job.shown}: {outcome.reason}; {'trying again' if again else 'given up'}"
        return Report(line, failed=True)
    if isinstance(outcome.result, Refused):
        return Report(outcome.result.reason, failed=True)
    if outcome.result.note:
        return Report(outcome.result.note)
    return Report(f"{outcome.job.shown}: {outcome.result.steps} steps" if quiet else "")


def main(config: ImportConfig) -> int:
    """The command. Returns 0, 1 if a file could not be imported (or, with ``--strict``, not whole), 130 after Ctrl-C.

    Raises:
        InputError: If the request is bad; nothing on disk has changed then.
        RunError: If the run had to stop; what is on disk is valid.
    """
    files, missing = find_ttyrecs(config.data, config.seeds), find_missing(config.data)
    clock = default_clock(here=config.replay and config.workers == 0)
    keys = config.keys if config.replay else None
    settings: dict[str, Any] = {
        "imported_from": str(config.data),
        "seeds_from": config.seeds,
        "replayed": config.replay,
        "observations": list(keys or SCREEN_KEYS),
    }
    agreed_settings(config.out, settings)
    work = Work(
        jobs={file.name: file for file in files},
        factory=partial(Importer, keys, made_now()),
        report=partial(_report, config.quiet),
        load=load,
        environment=clock.environment() if config.replay else {},
        retries=config.retries,
    )
    made = make_dataset(config, settings, work)
    games = made.folder.games()
    steps = sum(int(game.row["steps"]) for game in games)
    print(f"{len(games):,} of {len(files):,} games imported, {steps:,} steps, in {config.out}")
    for note in made.notes.values():
        print(f"imported, but: {note}")
    for reason in [*made.failures.values(), *missing]:
        print(f"not imported: {reason}")
    return max(made.exit_status(strict=config.strict), int(bool(missing)))
