"""Writing and opening shards: one HDF5 file with one or more games."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the Zstandard filter)
import numpy as np

from strathack.dataset.chunks import ChunkEncoder, create_array, write_column
from strathack.dataset.errors import FormatError
from strathack.dataset.schema import (
    FORMAT_NAME,
    FORMAT_VERSION,
    GAME_DTYPE,
    LIBRARY_BOUNDS,
    OBSERVATIONS,
)


@dataclass(frozen=True)
class Provenance:
    """Where games come from; kept as attributes of the file.

    Attributes:
        observations: The observation keys that are stored.
        demonstrator: The demonstrator's name.
        demonstrator_version: Its version.
        nle_version: Version of the simulator.
        options: The settings the games were played with, as JSON.
        command: The creating command.
        revision: Git revision of the code, empty where it is not a checkout.
        created: UTC date and time, ISO 8601. In a merged shard this and the two before it may hold several
            values, one a line.
    """

    observations: tuple[str, ...]
    demonstrator: str
    demonstrator_version: str
    nle_version: str
    options: str
    command: str
    revision: str
    created: str

    def to_attributes(self) -> dict[str, Any]:
        """The HDF5 attributes of a file."""
        texts = {"format": FORMAT_NAME, **asdict(self), "observations": json.dumps(self.observations)}
        return {**_fixed_length(texts), "format_version": FORMAT_VERSION}

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Provenance:
        """Reads what :meth:`to_attributes` wrote."""
        values: dict[str, Any] = {f.name: read_text(attributes[f.name]) for f in fields(cls)}
        return cls(**{**values, "observations": tuple(json.loads(values["observations"]))})

    def merged_with(self, other: Provenance) -> Provenance:
        """The provenance of a shard that holds games of both.

        Raises:
            FormatError: If the two differ in more than command, revision and date.
        """
        several = ("command", "revision", "created")
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if f.name not in several and mine != theirs:
                raise FormatError(f"games of different {f.name} cannot share a shard: {mine!r} and {theirs!r}")
        lines = {
            name: "\n".join(sorted({*getattr(self, name).split("\n"), *getattr(other, name).split("\n")}))
            for name in several
        }
        return Provenance(**{**{f.name: getattr(self, f.name) for f in fields(self)}, **lines})


def _fixed_length(texts: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Text as fixed-length UTF-8; of variable length it would take a heap of 4 KiB a game."""
    encoded = {name: text.encode() for name, text in texts.items()}
    return {name: np.array(text, dtype=h5py.string_dtype("utf-8", max(1, len(text)))) for name, text in encoded.items()}


def read_text(attribute: Any) -> str:
    """A text attribute, of fixed or variable length."""
    return attribute.decode() if isinstance(attribute, bytes) else str(attribute)


@dataclass(frozen=True)
class GameData:
    """One finished game, frames compressed, ready to be written.

    Attributes:
        row: Its row of ``/games``, of type ``GAME_DTYPE``.
        frames: For each observation key its encoded chunks, in order.
        actions: u8 [T], indices into ``nle.nethack.ACTIONS``.
        rewards: f32 [T].
        dones: u8 [T].
        strategy: u8 [T].
        substrategy: u8 [T].
        hihack_strategy: i8 [T].
        strategy_codes: Name to code of ``strategy``.
        substrategy_codes: Name to code of ``substrategy``.
        attributes: Text kept with the game (``xlogfile``, ``error``).
    """

    row: np.ndarray
    frames: Mapping[str, Sequence[bytes]]
    actions: np.ndarray
    rewards: np.ndarray
    dones: np.ndarray
    strategy: np.ndarray
    substrategy: np.ndarray
    hihack_strategy: np.ndarray
    strategy_codes: Mapping[str, int]
    substrategy_codes: Mapping[str, int]
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks that every array has as many steps as the row says."""
        steps = int(self.row["steps"])
        for name in ("actions", "rewards", "dones", "strategy", "substrategy", "hihack_strategy"):
            if len(getattr(self, name)) != steps:
                raise ValueError(f"{name} has {len(getattr(self, name))} steps, the game has {steps}")
        for key, chunks in self.frames.items():
            wanted = -(-steps // OBSERVATIONS[key].chunk_steps)
            if len(chunks) != wanted:
                raise ValueError(f"obs/{key} has {len(chunks)} chunks, {steps} steps need {wanted}")


def encode_shard(game: GameData, provenance: Provenance) -> bytes:
    """Returns the bytes of a shard with one game."""
    buffer = io.BytesIO()
    with new_shard(buffer, provenance) as file:
        _write_game(file, game, ChunkEncoder())
        write_games_table(file, game.row.reshape(1))
    return buffer.getvalue()


@contextmanager
def new_shard(target: io.BytesIO, provenance: Provenance) -> Iterator[h5py.File]:
    """Opens an empty shard in memory; its bytes are in ``target`` afterwards.

    A shard is made in memory and written in one go: HDF5 handles a full disk badly, a plain write well.
    """
    with h5py.File(target, "w", libver=LIBRARY_BOUNDS) as file:
        file.attrs.update(provenance.to_attributes())
        file.create_group("data")
        yield file


def write_games_table(file: h5py.File, rows: np.ndarray) -> None:
    """Writes ``/games``."""
    table = create_array(file, "games", rows.shape, GAME_DTYPE, len(rows))
    table[...] = rows


def _write_game(file: h5py.File, game: GameData, encoder: ChunkEncoder) -> None:
    group = file["data"].create_group(game.row["game"].item().decode())
    group.attrs.update(_fixed_length(game.attributes))
    group.attrs["num_samples"] = int(game.row["steps"])  # robomimic's name for the length
    steps = int(game.row["steps"])
    for key, chunks in game.frames.items():
        spec = OBSERVATIONS[key]
        dataset = create_array(group, f"obs/{key}", (steps, *spec.shape), spec.dtype, spec.chunk_steps)
        for index, chunk in enumerate(chunks):
            dataset.id.write_direct_chunk((index * spec.chunk_steps, *(0 for _ in spec.shape)), chunk)
    columns: Sequence[tuple[str, np.ndarray, Any]] = (
        ("actions", game.actions, "u1"),
        ("rewards", game.rewards, "<f4"),
        ("dones", game.dones, "u1"),
        ("strategy", game.strategy, h5py.enum_dtype(dict(game.strategy_codes), basetype="u1")),
        ("substrategy", game.substrategy, h5py.enum_dtype(dict(game.substrategy_codes), basetype="u1")),
        ("hihack_strategy", game.hihack_strategy, "i1"),
    )
    for name, values, dtype in columns:
        write_column(group, name, values, encoder, dtype)


@contextmanager
def open_shard(path: Path) -> Iterator[h5py.File]:
    """Opens a shard for reading, after a look at its format and version.

    Raises:
        FormatError: If the file is not HDF5, not a shard, or of a version that this release does not read.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FormatError(f"{path}: not a readable HDF5 file ({error})") from error
    with file:
        check_format(path, file.attrs)
        yield file


def check_format(path: Path, attributes: Mapping[str, Any]) -> None:
    """Refuses what is not a shard of a known version.

    Raises:
        FormatError: By name of what was found and what was expected.
    """
    name = read_text(attributes.get("format", "missing"))
    if name != FORMAT_NAME:
        raise FormatError(f"{path}: not a strathack shard (its attribute 'format' is {name!r})")
    version = attributes.get("format_version")
    if version != FORMAT_VERSION:
        raise FormatError(
            f"{path}: format version {version}, this release reads version {FORMAT_VERSION}; "
            "use the release of strathack that wrote it, or upgrade with: pip install --upgrade strathack"
        )


def read_games(path: Path) -> np.ndarray:
    """Returns the rows of a shard's ``/games``.

    Raises:
        FormatError: As :func:`open_shard`, and where the table's columns are not those of this version.
    """
    with open_shard(path) as file:
        if "games" not in file:
            raise FormatError(f"{path}: a shard without the table /games")
        rows = file["games"][...]
    if rows.dtype.names != GAME_DTYPE.names:
        raise FormatError(f"{path}: the columns of /games are {rows.dtype.names}, expected {GAME_DTYPE.names}")
    return rows.astype(GAME_DTYPE)
