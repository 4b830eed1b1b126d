"""Writing and opening shards: one HDF5 file with one or more games."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import h5py
import hdf5plugin  # noqa: F401  (registers the Zstandard filter)
import numpy as np

from strathack.dataset.chunks import ChunkEncoder, make_array, write_column
from strathack.dataset.errors import CorruptionError, FormatError
from strathack.dataset.labels import Vocabularies, label_names
from strathack.dataset.remote.pointers import is_elsewhere, shard_at, shown
from strathack.dataset.remote.shards import ShardFile
from strathack.dataset.schema import (
    CHECKPOINTS,
    FORMAT_NAME,
    FORMAT_VERSION,
    GAME_DTYPE,
    INFERRED,
    LIBRARY_BOUNDS,
    OBSERVATIONS,
    PROBABILITY,
    STORED_COLUMNS,
    checkpoint_count,
)
from strathack.dataset.splits import Fractions

Read = TypeVar("Read")


@dataclass(frozen=True)
class Provenance:
    """Where games come from; kept as attributes of the file.

    Attributes:
        observations: The observation keys that are stored.
        demonstrator: The demonstrator's name.
        demonstrator_version: The demonstrator's version.
        nle_version: Version of the simulator.
        options: The settings the games were played with, as JSON.
        command: The creating command.
        revision: Git revision of the code, empty if the code is not a checkout.
        created: UTC date and time, ISO 8601. In a merged shard ``command``, ``revision`` and ``created`` may hold
            several values, one per line.
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
        """Returns the HDF5 attributes that a file holds for this provenance."""
        texts = {"format": FORMAT_NAME, **asdict(self), "observations": json.dumps(self.observations)}
        return {**_fixed_length(texts), "format_version": FORMAT_VERSION}

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Provenance:
        """Reads what :meth:`to_attributes` wrote."""
        values: dict[str, Any] = {f.name: read_text(attributes[f.name]) for f in fields(cls)}
        return cls(**{**values, "observations": tuple(json.loads(values["observations"]))})

    @property
    def played_by(self) -> str:
        """The demonstrator's name and version."""
        return f"{self.demonstrator} {self.demonstrator_version}".strip()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as values; none where the options are no such text."""
        try:
            settings = json.loads(self.options or "{}")
        except ValueError:
            return {}
        return settings if isinstance(settings, dict) else {}

    @property
    def shared(self) -> Provenance:
        """What all games of a shard must have in common: the provenance without command, revision and date."""
        return replace(self, command="", revision="", created="")

    def merged_with(self, other: Provenance) -> Provenance:
        """Returns the provenance of a shard that holds games of both provenances.

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
    """Encodes texts as fixed-length UTF-8; variable-length text would take a heap of 4 KiB per game."""
    encoded = {name: text.encode(errors="backslashreplace") for name, text in texts.items()}
    return {name: np.array(text, dtype=h5py.string_dtype("utf-8", max(1, len(text)))) for name, text in encoded.items()}


def read_text(attribute: Any) -> str:
    """Returns a text attribute, of fixed or variable length, as a string."""
    return attribute.decode() if isinstance(attribute, bytes) else str(attribute)


@dataclass(frozen=True)
class InferredLabels:
    """What a labeller infers of a game.

    Attributes:
        values: The code of the most probable name at each step, u8 [T].
        probability: How probable the labeller finds it, f16 [T].
        codes: Name to code.
    """

    values: np.ndarray
    probability: np.ndarray
    codes: Mapping[str, int]


@dataclass(frozen=True)
class GameData:
    """One finished game, its frames already compressed, ready to be written.

    Attributes:
        row: The game's row of ``/games``, of type ``GAME_DTYPE``.
        frames: Observation key → its encoded chunks, in order; empty for a keys-only game.
        actions: u8 [T], indices into ``nle.nethack.ACTIONS``.
        rewards: f32 [T], or None for a keys-only game.
        dones: u8 [T].
        strategy: u8 [T].
        substrategy: u8 [T].
        hihack_strategy: i8 [T].
        strategy_codes: Name to code of ``strategy``.
        substrategy_codes: Name to code of ``substrategy``.
        checkpoints: u64 [⌈T / 1,024⌉], digests of the frames up to each checkpoint; empty if they are not known.
        attributes: Text kept with the game (``xlogfile``, ``error``).
        inferred: ``strategy``, ``substrategy`` → what a labeller infers of it.
    """

    row: np.ndarray
    frames: Mapping[str, Sequence[bytes]]
    actions: np.ndarray
    rewards: np.ndarray | None
    dones: np.ndarray
    strategy: np.ndarray
    substrategy: np.ndarray
    hihack_strategy: np.ndarray
    strategy_codes: Mapping[str, int]
    substrategy_codes: Mapping[str, int]
    checkpoints: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype="<u8"))
    attributes: Mapping[str, str] = field(default_factory=dict)
    inferred: Mapping[str, InferredLabels] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks that every array has the number of steps given in the row."""
        steps = int(self.row["steps"])
        for name, values, _ in self.columns():
            if len(values) != steps:
                raise ValueError(f"{name} has {len(values)} steps, the game has {steps}")
        if len(self.checkpoints) not in (0, checkpoint_count(steps)):
            raise ValueError(f"{len(self.checkpoints)} checkpoints, {steps} steps need {checkpoint_count(steps)}")
        for key, chunks in self.frames.items():
            wanted = -(-steps // OBSERVATIONS[key].chunk_steps)
            if len(chunks) != wanted:
                raise ValueError(f"obs/{key} has {len(chunks)} chunks, {steps} steps need {wanted}")

    def columns(self) -> Iterator[tuple[str, np.ndarray, Any]]:
        """Yields name, values and stored type of each one-dimensional array."""
        codes = {"strategy": self.strategy_codes, "substrategy": self.substrategy_codes}
        for name, dtype in STORED_COLUMNS.items():
            values = getattr(self, name, None)
            if values is not None:
                yield name, values, h5py.enum_dtype(dict(codes[name]), dtype) if name in codes else dtype
        yield from inferred_columns(self.inferred)

    @property
    def vocabularies(self) -> Vocabularies:
        """The names that the game's labels may hold."""
        inferred = {INFERRED[label]: of_label.codes for label, of_label in self.inferred.items()}
        codes = {"strategy": self.strategy_codes, "substrategy": self.substrategy_codes, **inferred}
        return {label: label_names(of_label) for label, of_label in codes.items()}


def inferred_columns(inferred: Mapping[str, InferredLabels]) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Yields name, values and stored type of the arrays that hold what a labeller infers.

    Args:
        inferred: ``strategy``, ``substrategy`` → the labels.
    """
    for label, of_label in inferred.items():
        name = INFERRED[label]
        yield name, of_label.values, h5py.enum_dtype(dict(of_label.codes), STORED_COLUMNS[name])
        name = f"{name}{PROBABILITY}"
        yield name, of_label.probability, STORED_COLUMNS[name]


def encode_shard(game: GameData, provenance: Provenance, encoder: ChunkEncoder | None = None) -> bytes:
    """Returns the bytes of a shard with one game.

    Args:
        game: The game.
        provenance: Where the game comes from.
        encoder: Compresses the columns; the frames are already compressed.
    """
    buffer = io.BytesIO()
    with make_shard(buffer, provenance) as file:
        _write_game(file, game, encoder or ChunkEncoder())
        write_tables(file, game.row.reshape(1), game.vocabularies)
    return buffer.getvalue()


@contextmanager
def make_shard(target: io.BytesIO, provenance: Provenance) -> Iterator[h5py.File]:
    """Opens an empty shard in memory; its bytes are in ``target`` afterwards.

    A shard is made in memory and written in one go: HDF5 handles a full disk badly, a plain write well.
    """
    with h5py.File(target, "w", libver=LIBRARY_BOUNDS) as file:
        file.attrs.update(provenance.to_attributes())
        file.create_group("data")
        yield file


def write_tables(
    file: h5py.File, rows: np.ndarray, vocabularies: Vocabularies, fractions: Fractions | None = None
) -> None:
    """Writes a shard's tables of all its games: ``/games``, the names that labels may hold, and ``/mask``."""
    table = make_array(file, "games", rows.shape, GAME_DTYPE, len(rows))
    table[...] = rows
    write_vocabularies(file, vocabularies)
    write_masks(file, rows, fractions or Fractions())


def write_vocabularies(file: h5py.File, vocabularies: Vocabularies) -> None:
    """Writes the names that labels may hold, replacing those that are there."""
    file.attrs.update(_fixed_length({"vocabularies": json.dumps(vocabularies)}))


def write_masks(file: h5py.File, rows: np.ndarray, fractions: Fractions) -> None:
    """Writes ``/mask``, replacing an existing one."""
    if "mask" in file:
        del file["mask"]
    group = file.create_group("mask")
    group.attrs.update(_fixed_length({"fractions": fractions.to_json()}))
    for split, names in fractions.masks(rows).items():
        make_array(group, split, names.shape, names.dtype, len(names))[...] = names


def with_fractions(shard: bytes, fractions: Fractions) -> bytes:
    """Returns a shard's bytes with its games split anew."""
    buffer = io.BytesIO(shard)
    with h5py.File(buffer, "r+", libver=LIBRARY_BOUNDS) as file:
        write_masks(file, file["games"][...], fractions)
    return buffer.getvalue()


def with_attributes(shard: bytes, game: str, attributes: Mapping[str, str]) -> bytes:
    """Returns a shard's bytes with further text kept with a game."""
    buffer = io.BytesIO(shard)
    with h5py.File(buffer, "r+", libver=LIBRARY_BOUNDS) as file:
        file[f"data/{game}"].attrs.update(_fixed_length(attributes))
    return buffer.getvalue()


def _write_game(file: h5py.File, game: GameData, encoder: ChunkEncoder) -> None:
    group = file["data"].create_group(game.row["game"].item().decode())
    group.attrs.update(_fixed_length(game.attributes))
    group.attrs["num_samples"] = int(game.row["steps"])  # robomimic's name for the length
    steps = int(game.row["steps"])
    for key, chunks in game.frames.items():
        spec = OBSERVATIONS[key]
        dataset = make_array(group, f"obs/{key}", (steps, *spec.shape), spec.dtype, spec.chunk_steps)
        for index, chunk in enumerate(chunks):
            dataset.id.write_direct_chunk((index * spec.chunk_steps, *(0 for _ in spec.shape)), chunk)
    for name, values, dtype in game.columns():
        write_column(group, name, values, encoder, dtype)
    write_column(group, CHECKPOINTS, game.checkpoints, encoder, "<u8")


@contextmanager
def open_shard(path: Path) -> Iterator[h5py.File]:
    """Opens a shard for reading and checks its format and version.

    Raises:
        FormatError: If the file is not HDF5, not a shard, or of a version that this release does not read.
    """
    with _opened(path, path) as file:
        yield file


@contextmanager
def _opened(path: Path, source: Path | ShardFile) -> Iterator[h5py.File]:
    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise FormatError(f"{shown(path)}: not a readable HDF5 file ({error})") from error
    with file:
        with readable(path, "its attributes"):
            check_format(path, file.attrs)
        yield file


def read_shard(path: Path, read: Callable[[h5py.File], Read]) -> Read:
    """Opens a shard, here or elsewhere, and reads from it.

    Args:
        path: The shard, or what stands for one elsewhere.
        read: Reads from the open file. It is called several times where bytes have to be fetched first.

    Raises:
        FormatError: As for :func:`open_shard`.
        RunError: If a shard elsewhere cannot be reached.
    """
    if not is_elsewhere(path):
        with open_shard(path) as file:
            return read(file)

    def through(source: ShardFile) -> Read:
        with _opened(path, source) as file:
            return read(file)

    return shard_at(path).through(through)


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Turns the errors that h5py raises for broken metadata and bad checksums into an error that names the file.

    Raises:
        CorruptionError: In place of h5py's errors.
    """
    try:
        yield
    except FormatError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorruptionError(f"{shown(path)}: {what} cannot be read ({error})") from error


def check_format(path: Path, attributes: Mapping[str, Any]) -> None:
    """Checks that a file's attributes are those of a shard of a known version.

    Raises:
        FormatError: If they are not; the message names what was found and what was expected.
    """
    name = read_text(attributes.get("format", "missing"))
    if name != FORMAT_NAME:
        raise FormatError(f"{shown(path)}: not a strathack shard (its attribute 'format' is {name!r})")
    version = attributes.get("format_version")
    if version != FORMAT_VERSION:
        raise FormatError(
            f"{shown(path)}: format version {version}, this release reads version {FORMAT_VERSION}; "
            "use the release of strathack that wrote it, or upgrade with: pip install --upgrade strathack"
        )


@dataclass(frozen=True)
class ShardTables:
    """The tables that a shard has of all its games.

    Attributes:
        rows: ``/games``, of type ``GAME_DTYPE``.
        provenance: Where the games come from.
        vocabularies: The names that labels may hold.
        fractions: How the games are split.
    """

    rows: np.ndarray
    provenance: Provenance
    vocabularies: Vocabularies
    fractions: Fractions


def read_tables(path: Path) -> ShardTables:
    """Reads a shard's tables of all its games, and none of the games' arrays.

    Raises:
        FormatError: As for :func:`open_shard`, and if a table is missing or not of this version.
        CorruptionError: If a table's checksum differs.
    """
    return read_shard(path, partial(_tables_of, path))


def _tables_of(path: Path, file: h5py.File) -> ShardTables:
    with readable(path, "its tables"):
        missing = [name for name in ("games", "data", "mask") if not is_hard_link(file, name)]
        if missing:
            raise FormatError(f"{shown(path)}: a shard without /{missing[0]}")
        rows = file["games"][...]
        provenance = Provenance.from_attributes(file.attrs)
        vocabularies = {label: tuple(names) for label, names in json.loads(_text(file, "vocabularies")).items()}
        fractions = Fractions.from_json(_text(file["mask"], "fractions"))
    if rows.dtype.names != GAME_DTYPE.names:
        wanted, found = set(GAME_DTYPE.names or ()), set(rows.dtype.names or ())
        raise FormatError(
            f"{shown(path)}: the columns of /games are not those of version {FORMAT_VERSION}: "
            f"missing {sorted(wanted - found)}, unknown {sorted(found - wanted)}"
        )
    return ShardTables(rows.astype(GAME_DTYPE), provenance, vocabularies, fractions)


def _text(item: h5py.HLObject, attribute: str) -> str:
    return read_text(item.attrs[attribute])


def is_hard_link(group: h5py.Group, name: str) -> bool:
    """Returns whether ``name`` is an object of this file itself; soft and external links are not followed."""
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def read_games(path: Path) -> np.ndarray:
    """Returns the rows of a shard's ``/games``; see :func:`read_tables`."""
    return read_tables(path).rows
