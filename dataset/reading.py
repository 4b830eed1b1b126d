"""Reads a dataset: the table of its games at once, the games' arrays only when they are indexed."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import h5py
import numpy as np

from strathack.dataset.actions import ACTION_NAMES, NO_ACTION
from strathack.dataset.arrays import StoredArray, index_game
from strathack.dataset.errors import CorruptionError, FormatError, InputError
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.labels import PUBLISHED_STRATEGIES, Vocabularies, unite_vocabularies
from strathack.dataset.remote.addresses import address_of
from strathack.dataset.remote.pointers import shards_elsewhere, shown
from strathack.dataset.schema import (
    COMPLETENESS,
    GAME_DTYPE,
    LABEL_COLUMNS,
    OBSERVATIONS,
    OPTIONAL_COLUMNS,
    ORIGINS,
    PROBABILITY,
    is_replayable,
    row_values,
)
from strathack.dataset.shard import Provenance, ShardTables, read_shard, read_tables, read_text, readable
from strathack.dataset.splits import SPLITS, Fractions

if TYPE_CHECKING:
    import pandas as pd

OnCorrupt = Literal["raise", "skip"]
"""What to do with a shard or a game that is not as it was written."""

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Observations(dict[str, StoredArray]):
    """Observation key → its array, [T, …]."""

    def __init__(self, game: Game, arrays: Mapping[str, StoredArray]) -> None:
        super().__init__(arrays)
        self._game = game

    def __missing__(self, key: str) -> StoredArray:
        stored = ", ".join(self) or "none, since only its keys are kept: `strathack dataset expand` brings them back"
        raise KeyError(f"{self._game.place}: {self._game.name} has no observation {key!r}; stored: {stored}")


@dataclass(frozen=True)
class Game:
    """One game of a dataset. Its arrays are read when they are indexed.

    Row t of every array is one step: the observation, the action taken on it, the reward that followed, and what
    the demonstrator was pursuing when it acted.

    Attributes:
        row: The game's row of ``/games``.
        path: The shard that holds it.
        provenance: Where the games of that shard come from.
    """

    row: np.void
    path: Path
    provenance: Provenance

    @property
    def name(self) -> str:
        """Name of the game's group under ``/data``."""
        return str(self.row["game"].decode())

    @property
    def place(self) -> str:
        """What the shard is called in messages: its path, or its address elsewhere."""
        return shown(self.path)

    @property
    def info(self) -> dict[str, Any]:
        """The game's row of ``/games`` as plain values, enumerations by name."""
        return row_values(self.row)

    def __len__(self) -> int:
        """The number of steps, T."""
        return int(self.row["steps"])

    @cached_property
    def arrays(self) -> Mapping[str, StoredArray]:
        """Every array, by its name in the game's group.

        Raises:
            FormatError: If an array is missing or does not conform to the format.
        """
        return index_game(self.path, self.name, len(self))

    def stored(self, name: str) -> StoredArray:
        """Returns an observation or column by its name alone.

        Raises:
            InputError: If the array is not stored; the message explains how to get it.
        """
        array = self.arrays.get(name, self.arrays.get(f"obs/{name}"))
        if array is None:
            hint = "; only its keys are kept: expand the dataset, or stream it by replaying" if not self.obs else ""
            if name in OPTIONAL_COLUMNS - {"rewards"}:
                hint = "; strathack label apply writes it"
            raise InputError(f"{self.place}: {self.name} has no {name!r}{hint}")
        return array

    @cached_property
    def obs(self) -> Mapping[str, StoredArray]:
        """Observations by key, each [T, …]."""
        return Observations(
            self, {key: self.arrays[f"obs/{key}"] for key in OBSERVATIONS if f"obs/{key}" in self.arrays}
        )

    @property
    def actions(self) -> StoredArray:
        """u8 [T], indices into ``nle.nethack.ACTIONS``; 255 where no key was recorded."""
        return self.arrays["actions"]

    def action_names(self, index: Any = slice(None)) -> np.ndarray:
        """Actions by name, text [n]; empty where no key was recorded."""
        names = np.array([*ACTION_NAMES, *[""] * (256 - len(ACTION_NAMES))])
        return names[self.actions[index]]

    def first_out_of_range(self, name: str, values: np.ndarray) -> int | None:
        """Returns the place of a column's first invalid value: a label without a name, an index of no action.

        Args:
            name: The column's name.
            values: Some of its values, [n].

        Returns:
            The place of that value in ``values``, or None if all are valid.
        """
        if name.endswith(PROBABILITY):
            fine = (values >= 0) & (values <= 1)
            return None if fine.all() else int(np.argmin(fine))
        allowed = np.zeros(256, dtype=bool)
        if name in LABEL_COLUMNS:
            allowed[list(self.arrays[name].codes.values())] = True
        elif name == "actions":
            allowed[: len(ACTION_NAMES)] = True
            allowed[NO_ACTION] = self.row["origin"] == ORIGINS["screens"]
        elif name == "hihack_strategy":
            allowed[: len(PUBLISHED_STRATEGIES)] = True
            allowed[255] = True  # −1 as a byte
        else:
            return None
        fine = allowed[values.view(np.uint8)]
        return None if fine.all() else int(np.argmin(fine))

    def checked_labels(self, name: str) -> np.ndarray:
        """Returns a column of labels, [T], after checking that every label has a name.

        Raises:
            InputError: If the game has no such column.
            CorruptionError: If a label has no name.
        """
        values: np.ndarray = self.stored(name)[:]
        step = self.first_out_of_range(name, values)
        if step is not None:
            raise CorruptionError(f"{self.place}: {self.name}/{name}, step {step}: {values[step]} is no label")
        return values

    @property
    def rewards(self) -> StoredArray:
        """f32 [T].

        Raises:
            KeyError: If only the keys of this game are kept.
        """
        if "rewards" not in self.arrays:
            raise KeyError(f"{self.place}: {self.name} has no rewards; only its keys are kept")
        return self.arrays["rewards"]

    @property
    def dones(self) -> StoredArray:
        """u8 [T]: 1 at the last step."""
        return self.arrays["dones"]

    @property
    def strategy(self) -> StoredArray:
        """u8 [T]: the code of the strategy that was running; its method ``names`` returns names."""
        return self.arrays["strategy"]

    @property
    def substrategy(self) -> StoredArray:
        """u8 [T]: the code of the innermost routine that was announced; its method ``names`` returns names."""
        return self.arrays["substrategy"]

    @property
    def hihack_strategy(self) -> StoredArray:
        """i8 [T]: the strategy's ordinal by the published HiHack rule, −1 where there is none."""
        return self.arrays["hihack_strategy"]

    @cached_property
    def attributes(self) -> Mapping[str, str]:
        """Text kept with the game: ``xlogfile``, ``error``, ``source``.

        Raises:
            CorruptionError: If it cannot be read.
        """
        return read_shard(self.path, self._attributes_in)

    def _attributes_in(self, file: h5py.File) -> Mapping[str, str]:
        with readable(self.path, f"the attributes of {self.name}"):
            attributes = file[f"data/{self.name}"].attrs
            return {name: read_text(value) for name, value in attributes.items() if name != "num_samples"}


class Dataset:
    """The games of one dataset folder, of one shard, or of several folders and shards, here or elsewhere.

    Opening a dataset reads only the tables. Each read opens the file and closes it again, so a dataset may be used
    from threads, carried over a fork, pickled, or sent to a Ray worker.

    Args:
        path: A folder, a shard, or an address (``hf://datasets/user/name@revision``, ``https://…``, ``s3://…``), whose
            games are fetched as they are read; or a list of these.
        on_corrupt: ``skip`` leaves out shards that cannot be read, with a warning for each.

    Attributes:
        left_out: One line for each shard that was left out, with the reason.

    Raises:
        InputError: If there is no shard at a path.
        FormatError: If a shard cannot be read.
        RunError: If an address cannot be reached, and nothing of it is in the cache.

    Examples:
        >>> dataset = Dataset("demo/data").select("role == 'Val' and score > 5000", split="train")
        >>> dataset[0].obs["tty_chars"][:100]
    """

    def __init__(self, path: Paths, *, on_corrupt: OnCorrupt = "raise") -> None:
        paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
        opened: list[tuple[Path, ShardTables, np.ndarray]] = []
        self.left_out: list[str] = []
        given: set[Path] = set()
        for source in map(Path, paths):
            # A shard that is given twice, by itself or with its folder, is taken once.
            of_source = _open(source, on_corrupt, self.left_out)
            opened += [one for one in of_source if one[0].resolve() not in given]
            given.update(one[0].resolve() for one in of_source)
        self._paths = [shard for shard, _, _ in opened]
        self._tables = [tables for _, tables, _ in opened]
        empty = np.zeros(0, dtype=GAME_DTYPE)
        self._rows = np.concatenate([empty, *(tables.rows[kept] for _, tables, kept in opened)])
        self._shards = np.repeat(np.arange(len(opened)), [len(kept) for _, _, kept in opened])

    def __len__(self) -> int:
        """Number of games."""
        return len(self._rows)

    def __getitem__(self, index: int | str) -> Game:
        """Returns a game by its place or its name.

        Raises:
            IndexError: If the place is out of range.
            KeyError: If no game has the name, or games of several datasets have it.
        """
        if isinstance(index, str):
            found = np.flatnonzero(self._rows["game"] == index.encode())
            if not len(found):
                raise KeyError(f"no game {index!r} among {len(self)} games")
            if len(found) > 1:
                where = ", ".join(str(self._paths[self._shards[place]]) for place in found)
                raise KeyError(f"{len(found)} games are called {index!r}, in {where}; take one by its place")
            index = int(found[0])
        shard = self._shards[index]
        return Game(self._rows[index], self._paths[shard], self._tables[shard].provenance)

    def __iter__(self) -> Iterator[Game]:
        return (self[index] for index in range(len(self)))

    @property
    def rows(self) -> np.ndarray:
        """The rows of ``/games`` of all games, of type ``GAME_DTYPE``."""
        return self._rows

    @property
    def steps(self) -> int:
        """The number of steps of all games together."""
        return int(self._rows["steps"].sum())

    @property
    def paths(self) -> list[Path]:
        """The shards that hold its games."""
        return [self._paths[index] for index in np.unique(self._shards)]

    @property
    def tables(self) -> list[ShardTables]:
        """The tables of each shard in :attr:`paths`, which describe all games of the shard."""
        return [self._tables[index] for index in np.unique(self._shards)]

    @property
    def fractions(self) -> Fractions:
        """How the games are split.

        Raises:
            InputError: If not all shards are split in the same way.
        """
        found = dict.fromkeys(tables.fractions for tables in self._tables)
        if len(found) > 1:
            told = " and ".join(fractions.to_json() for fractions in found)
            raise InputError(f"{self.paths[0].parent}: is split in several ways, by {told}; strathack dataset split")
        return next(iter(found), Fractions())

    @cached_property
    def vocabularies(self) -> Vocabularies:
        """Every name that a game may hold, for each label that is an enumeration.

        A name's place is its code in streams, in all selections of a dataset; the games' own files may have others.
        """
        return unite_vocabularies(tables.vocabularies for tables in self._tables)

    def names_of(self, label: str) -> tuple[str, ...]:
        """Returns those names of a label that games of these shards may hold, in order; none if they lack the label."""
        held = unite_vocabularies(tables.vocabularies for tables in self.tables).get(label, ())
        return tuple(name for name in self.vocabularies.get(label, ()) if name in held)

    @cached_property
    def observations(self) -> tuple[str, ...]:
        """The observation keys that every game has; empty for keys-only games."""
        stored = [tables.provenance.observations for tables in self.tables]
        return tuple(key for key in OBSERVATIONS if stored and all(key in keys for keys in stored))

    @property
    def shows_by_replay(self) -> bool:
        """Whether no observation is stored of every game, but all games can be replayed to show any."""
        return not self.observations and bool(is_replayable(self._rows).all())

    @cached_property
    def games(self) -> pd.DataFrame:
        """One row per game: all columns of ``/games``, enumerations by name, and ``split`` and ``shard``."""
        import pandas as pd  # here, since streams need neither pandas nor the memory that it takes

        columns: dict[str, Any] = {}
        for name in GAME_DTYPE.names or ():
            values = self._rows[name]
            codes = h5py.check_enum_dtype(GAME_DTYPE[name])
            if codes is not None:
                columns[name] = _categories(values, codes)
            elif GAME_DTYPE[name].kind == "S":
                columns[name] = np.char.decode(values, "utf-8", "replace").astype(object)
            else:
                columns[name] = values
        columns["split"] = pd.Categorical(self.splits, categories=list(SPLITS))
        columns["shard"] = pd.Categorical.from_codes(self._shards, categories=[str(path) for path in self._paths])
        return pd.DataFrame(columns)

    @cached_property
    def splits(self) -> np.ndarray:
        """The split of each game, text [games]."""
        fractions = [tables.fractions for tables in self._tables]
        pairs = zip(self._shards, self._rows, strict=True)
        return np.array([fractions[shard].split_of(row) for shard, row in pairs], dtype="U10")

    def select(self, query: str | None = None, *, split: str | None = None, completeness: str | None = None) -> Dataset:
        """Returns the games that meet every condition given, in the same order.

        Args:
            query: A condition on the columns of :attr:`games`, in the language of ``pandas.DataFrame.query``.
            split: ``train``, ``validation`` or ``test``.
            completeness: ``complete`` or ``truncated``.

        Raises:
            InputError: If a condition is invalid; for ``query`` the message names the columns.
        """
        chosen = np.ones(len(self), dtype=bool)
        if split is not None:
            _check_name("split", split, SPLITS)
            chosen &= self.splits == split
        if completeness is not None:
            _check_name("completeness", completeness, COMPLETENESS)
            chosen &= self._rows["completeness"] == COMPLETENESS[completeness]
        if query is not None:
            chosen &= self._meets(query)
        return self.take(np.flatnonzero(chosen))

    @property
    def names(self) -> list[str]:
        """The games' names, in order."""
        return [row["game"].decode() for row in self.rows]

    @property
    def fingerprint(self) -> str:
        """A digest of the games' names, lengths, keys and splits, in order; identifies what a run was trained on."""
        games = zip(self.rows[["game", "steps", "keys_sha256"]].tolist(), self.splits.tolist(), strict=True)
        return hashlib.sha256(repr(list(games)).encode()).hexdigest()

    def without(self, names: Container[str]) -> Dataset:
        """Returns the games whose names are not among ``names``."""
        return self.take(place for place, name in enumerate(self.names) if name not in names)

    def take(self, places: Iterable[int]) -> Dataset:
        """Returns the games at these places, in this order."""
        places = np.fromiter(places, dtype=np.int64)
        taken = Dataset.__new__(Dataset)
        taken._paths, taken._tables, taken.left_out = self._paths, self._tables, self.left_out
        taken._rows, taken._shards = self._rows[places], self._shards[places]
        return taken

    def _meets(self, query: str) -> np.ndarray:
        try:
            met = self.games.eval(query)
        # pandas passes on whatever its parser, its engine and the columns' types raise.
        except Exception as error:
            raise InputError(
                f"select: {query!r} is no condition on the games ({error}); columns: {', '.join(self.games.columns)}"
            ) from error
        met = np.asarray(met)
        if met.dtype != bool or met.shape != (len(self),):
            raise InputError(f"select: {query!r} is no condition on the games; expected something true or false")
        return met


def selected_games(source: str | Path, condition: str | None, what: str) -> Dataset:
    """The games of a dataset that meet a condition, for a command that needs at least one.

    Args:
        source: The dataset, as `Dataset` takes it.
        condition: As `Dataset.select` takes it.
        what: What the command would do with the games, for the refusal: a verb.

    Raises:
        InputError: If no game meets the condition, or the condition cannot be read.
    """
    dataset = Dataset(source).select(condition)
    if not len(dataset):
        raise InputError(f"{source}: no game meets the condition; nothing to {what}")
    return dataset


def _check_name(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise InputError(f"{what}: {name!r} is unknown; expected one of {', '.join(known)}")


def _categories(values: np.ndarray, codes: Mapping[str, int]) -> pd.Categorical:
    import pandas as pd

    names = sorted(codes, key=codes.__getitem__)
    places = np.full(256, -1)
    places[[codes[name] for name in names]] = np.arange(len(names))
    return pd.Categorical.from_codes(places[values], categories=names)


def shards_at(source: Path) -> list[Path]:
    """Returns the shards of a folder, the shard itself, or what stands for the shards at an address.

    Raises:
        InputError: If there are none.
        RunError: If the place of an address cannot be reached.
    """
    address = address_of(source)
    if address is not None:
        return shards_elsewhere(address)
    if source.is_dir():
        shards = DatasetFolder(source).shards()
        if not shards:
            raise InputError(f"{source}: holds no shards (*.h5); expected a dataset")
        return shards
    if not source.exists():
        raise InputError(f"{source}: does not exist; expected a dataset folder or a shard")
    return [source]


def _open(source: Path, on_corrupt: OnCorrupt, left_out: list[str]) -> list[tuple[Path, ShardTables, np.ndarray]]:
    """Returns the shards at a path, their tables, and the rows of the games to take from each.

    The reasons why other shards were left out are added to ``left_out``.
    """
    _check_name("on_corrupt", on_corrupt, ("raise", "skip"))
    opened = []
    seen: set[bytes] = set()
    for shard in shards_at(source):
        try:
            tables = read_tables(shard)
        except FormatError as error:
            if on_corrupt == "raise":
                raise
            warnings.warn(f"left out: {error}", stacklevel=3)
            left_out.append(str(error))
            continue
        # After a killed merge a game may be in a merged shard, which comes first, and in its own shard.
        kept = np.array([row for row, name in enumerate(tables.rows["game"]) if name not in seen], dtype=np.int64)
        seen.update(tables.rows["game"][kept].tolist())
        opened.append((shard, tables, kept))
    return opened
