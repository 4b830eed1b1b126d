"""Checks that a dataset is as it was written, in every byte that matters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from strathack.dataset.actions import KEY_CODES
from strathack.dataset.arrays import StoredArray
from strathack.dataset.errors import CorruptionError, FormatError
from strathack.dataset.progress import progress
from strathack.dataset.reading import Dataset, Game
from strathack.dataset.remote.pointers import shown
from strathack.dataset.schema import CHECKPOINTS, DIGESTED_OBSERVATIONS, FRAME_CHUNK_STEPS, GAME_DTYPE
from strathack.dataset.shard import ShardTables, read_shard, read_tables, readable


@dataclass(frozen=True)
class Problem:
    """Something that is not as it was written.

    Attributes:
        path: The shard.
        game: The game's name, empty if the problem is not about one game.
        what: One line that describes the problem; names the array and the step where that makes sense.
    """

    path: Path
    game: str
    what: str

    def __str__(self) -> str:
        """Returns one line that begins with the file."""
        place = shown(self.path)
        return self.what if self.what.startswith(place) else f"{place}: {self.what}"


def verify_shard(path: Path, on_game: Callable[[Game], None]) -> Iterator[Problem]:
    """Reads everything in a shard and yields what is wrong.

    Args:
        path: The shard.
        on_game: Called after each game.
    """
    try:
        tables = read_tables(path)
    except FormatError as error:
        yield Problem(path, "", str(error))
        return
    yield from _check_tables(path, tables)
    for game in Dataset(path):
        yield from verify_game(game)
        on_game(game)


def _check_tables(path: Path, tables: ShardTables) -> Iterator[Problem]:
    names = [name.decode() for name in tables.rows["game"].tolist()]
    if len(set(names)) != len(names):
        yield Problem(path, "", "/games names a game twice")
    for column in GAME_DTYPE.names or ():
        codes = h5py.check_enum_dtype(GAME_DTYPE[column])
        for place in np.flatnonzero(~np.isin(tables.rows[column], list(codes.values()))) if codes else ():
            yield Problem(path, names[place], f"/games, {column}: {tables.rows[column][place]} is none of its codes")
    try:
        groups, masks = read_shard(path, partial(_groups_and_masks, path))
    except FormatError as error:
        yield Problem(path, "", str(error))
        return
    for name in sorted(groups - set(names)):
        yield Problem(path, name, f"/data/{name} has no row in /games")
    expected = {split: rows.tolist() for split, rows in tables.fractions.masks(tables.rows).items()}
    for split in sorted(expected.keys() | masks.keys()):
        if expected.get(split) != masks.get(split):
            yield Problem(path, "", f"/mask/{split} is not what the seeds and the shares give")


def _groups_and_masks(path: Path, file: h5py.File) -> tuple[set[str], dict[str, list[bytes]]]:
    with readable(path, "/data or /mask"):
        return set(file["data"]), {split: file["mask"][split][...].tolist() for split in file["mask"]}


def verify_game(game: Game) -> Iterator[Problem]:
    """Reads a game and yields what is wrong, array by array."""
    try:
        arrays = game.arrays
    except FormatError as error:
        yield Problem(game.path, game.name, str(error))
        return
    columns: dict[str, np.ndarray] = {}
    digests: dict[str, list[bytes]] = {}
    for name, array in arrays.items():
        try:
            if name.startswith("obs/"):
                digests[name] = running_digests(array)
            else:
                columns[name] = array[:]
        except CorruptionError as error:
            yield Problem(game.path, game.name, str(error))
    checks = [_check_range(game, name, values) for name, values in columns.items()]
    checks += [_check_dones(columns), _check_keys(game, columns), _check_frames(game, digests, columns)]
    for check in checks:
        for what in check:
            yield Problem(game.path, game.name, f"{game.name}/{what}")
    lacking = [key for key in game.provenance.observations if f"obs/{key}" not in arrays]
    if lacking:
        yield Problem(game.path, game.name, f"{game.name}: the shard promises obs/{lacking[0]}, which it lacks")
    try:
        _ = game.attributes
    except FormatError as error:
        yield Problem(game.path, game.name, str(error))


def _check_range(game: Game, name: str, values: np.ndarray) -> Iterator[str]:
    step = game.first_out_of_range(name, values)
    if step is not None:
        yield f"{name}, step {step}: {values[step]} is out of range"


def _check_dones(columns: Mapping[str, np.ndarray]) -> Iterator[str]:
    dones = columns.get("dones")
    if dones is not None and len(dones) and (dones[:-1].any() or dones[-1] != 1):
        step = int(np.argmax(dones[:-1])) if dones[:-1].any() else len(dones) - 1
        yield f"dones, step {step}: {dones[step]}; expected 0 up to the last step and 1 there"


def _check_keys(game: Game, columns: Mapping[str, np.ndarray]) -> Iterator[str]:
    actions, expected = columns.get("actions"), game.row["keys_sha256"].decode()
    if actions is not None and expected and (actions < len(KEY_CODES)).all():
        found = hashlib.sha256(KEY_CODES[actions].tobytes()).hexdigest()
        if found != expected:
            yield f"actions: the digest of the keys is {found[:12]}…, /games says {expected[:12]}…"


def _check_frames(game: Game, digests: Mapping[str, list[bytes]], columns: Mapping[str, np.ndarray]) -> Iterator[str]:
    expected, checkpoints = game.row["frames_sha256"].decode(), columns.get(CHECKPOINTS)
    each = [digests.get(f"obs/{key}") for key in DIGESTED_OBSERVATIONS]
    if not expected or checkpoints is None or not all(each):
        return
    running = [hashlib.sha256(b"".join(at)).digest() for at in zip(*filter(None, each), strict=True)]
    ours = np.frombuffer(b"".join(digest[:8] for digest in running), dtype="<u8")
    if len(checkpoints) and not np.array_equal(ours, checkpoints):
        step = int(np.argmax(ours != checkpoints)) * FRAME_CHUNK_STEPS
        yield f"obs: the frames from step {step} on are not those of the digests"
    if running[-1].hex() != expected:
        yield f"obs: the digest of the frames is {running[-1].hex()[:12]}…, /games says {expected[:12]}…"


def running_digests(array: StoredArray) -> list[bytes]:
    """Returns the SHA-256 of all frames up to each multiple of ``FRAME_CHUNK_STEPS``, and up to the end."""
    running, digests = hashlib.sha256(), []
    block = np.empty((min(FRAME_CHUNK_STEPS, len(array)), *array.shape[1:]), dtype=array.dtype)
    for start in range(0, len(array), FRAME_CHUNK_STEPS):
        stop = min(start + FRAME_CHUNK_STEPS, len(array))
        running.update(array.read(start, stop, block[: stop - start]).data)
        digests.append(running.digest())
    return digests


def verify_shards(shards: Sequence[Path], *, quiet: bool) -> list[Problem]:
    """Returns what is wrong with shards and their games; shows a progress line."""
    steps = 0
    for shard in shards:
        try:
            steps += int(read_tables(shard).rows["steps"].sum())
        except FormatError:
            continue  # verify_shard reports it below
    problems: list[Problem] = []
    with progress("verifying", steps, quiet=quiet) as advance:
        for shard in shards:
            problems += verify_shard(shard, lambda game: advance(len(game)))
    return problems
