"""The arrays of a batch, and how they are filled from games."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from strathack.dataset.actions import NO_ACTION
from strathack.dataset.errors import CorruptionError, InputError
from strathack.dataset.frames import FrameReader
from strathack.dataset.labels import NO_PUBLISHED_LABEL, UNLABELLED
from strathack.dataset.reading import Dataset, Game, OnCorrupt
from strathack.dataset.schedule import Segment, Share
from strathack.dataset.schema import LABEL_COLUMNS, OBSERVATIONS, STORED_COLUMNS

Batch = dict[str, np.ndarray]
"""Array name → [T, B, …]."""

DEFAULT_COLUMNS = ("actions", "rewards", "dones", "strategy")


@dataclass(frozen=True)
class StreamConfig:
    """Describes what a stream shows; the options are checked on creation.

    Attributes:
        lanes: Sequences in a batch, B.
        steps: Steps of each lane in a batch, T.
        observations: Observation keys, each an array [T, B, …].
        columns: One-dimensional arrays of the games, each [T, B].
        previous_strategy: The label whose value at the step before is added as ``previous_strategy``; None adds none.
        places: Whether to add, for each step, the game's place in the dataset as ``game`` and the step's number in the
            game as ``step``, i64 [T, B].
        seed: Decides the order of games; None keeps the dataset's order.
        epochs: How often each game is shown; None repeats the games endlessly.
        share: Which part of the games this stream shows.
        threads: Threads that fill batches.
        reuse: Whether a batch's arrays may be overwritten once the next batch is asked for.
        on_corrupt: ``skip`` leaves out games that are not as they were written, with a warning for each.
    """

    lanes: int
    steps: int
    observations: tuple[str, ...]
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    previous_strategy: str | None = None
    places: bool = False
    seed: int | None = 0
    epochs: int | None = 1
    share: Share = Share()
    threads: int = 2
    reuse: bool = False
    on_corrupt: OnCorrupt = "raise"

    def __post_init__(self) -> None:
        """Checks every option.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        for name in ("lanes", "steps", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)} is below 1")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"epochs: {self.epochs} is below 1")
        if self.seed is not None and self.seed < 0:
            raise InputError(f"seed: {self.seed} is below 0")
        known: Mapping[str, Sequence[str]] = {
            "observations": tuple(OBSERVATIONS),
            "columns": tuple(STORED_COLUMNS),
            "previous_strategy": (*LABEL_COLUMNS, "hihack_strategy"),
        }
        for option, names in known.items():
            value = getattr(self, option)
            for name in value if isinstance(value, tuple) else (value,):
                if name is not None and name not in names:
                    raise InputError(f"{option}: {name!r} is unknown; expected one of {', '.join(names)}")

    def frames(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Returns the shape and type of one frame of each observation."""
        return {key: (OBSERVATIONS[key].shape, OBSERVATIONS[key].dtype) for key in self.observations}

    def record(self) -> np.dtype[Any]:
        """Returns a structured type that holds everything about a step except its frames."""
        names = [(name, STORED_COLUMNS[name]) for name in self.columns]
        names.append(("previous_action", "u1"))
        if self.previous_strategy is not None:
            names.append(("previous_strategy", STORED_COLUMNS[self.previous_strategy]))
        names += [("first", "?"), ("mask", "?")]
        return np.dtype(names + ([("game", "<i8"), ("step", "<i8")] if self.places else []))

    @property
    def batch_bytes(self) -> int:
        """Bytes of a batch."""
        a_frame = sum(prod(shape) * dtype.itemsize for shape, dtype in self.frames().values())
        return self.lanes * self.steps * (a_frame + self.record().itemsize)


class Recoding:
    """Converts labels from the codes of a game's own file to the codes of the dataset's vocabularies."""

    def __init__(self, dataset: Dataset) -> None:
        self._places = {
            label: {name: code for code, name in enumerate(names)} for label, names in dataset.vocabularies.items()
        }

    def recoded(self, game: Game, name: str, values: np.ndarray, start: int) -> np.ndarray:
        """Returns the values of a column as the stream shows them.

        Args:
            game: The game.
            name: The column's name.
            values: Its values from step ``start`` on.
            start: The first step, for error messages.

        Raises:
            CorruptionError: If a value is out of range, or its name is not in the shard's vocabulary.
            InputError: If the dataset has more names of a label than a byte tells apart.
        """
        wrong = game.first_out_of_range(name, values)
        if wrong is not None:
            place = f"{game.place}: {game.name}/{name}, step {start + wrong}"
            raise CorruptionError(f"{place}: {values[wrong]} is out of range")
        if name not in LABEL_COLUMNS:
            return values
        if len(self._places[name]) > UNLABELLED:
            raise InputError(
                f"{name}: the games have {len(self._places[name])} names, of which a stream tells {UNLABELLED} apart; "
                "select games that have fewer"
            )
        table = np.full(256, UNLABELLED, dtype=np.uint8)
        for text, code in game.arrays[name].codes.items():
            if code != UNLABELLED:
                if text not in self._places[name]:
                    place = f"{game.place}: {game.name}/{name}"
                    raise CorruptionError(f"{place}: the shard does not know the name {text!r}")
                table[code] = self._places[name][text]
        return table[values]

    def read(self, game: Game, name: str) -> np.ndarray:
        """Reads a whole column; zeros for rewards that are not stored, since these come with the frames."""
        if name == "rewards" and name not in game.arrays:
            return np.zeros(len(game), dtype=STORED_COLUMNS[name])
        return self.recoded(game, name, game.stored(name)[:], 0)


Column = Callable[[str, int, int], np.ndarray]
"""A function: column's name, first step, step after the last → the column's values."""


def records_of(config: StreamConfig, place: int, start: int, stop: int, column: Column) -> np.ndarray:
    """Returns everything about some steps of a game except their frames.

    Args:
        config: What to show.
        place: The game's place in the dataset.
        start: First step.
        stop: Step after the last.
        column: Reads the game's columns.

    Returns:
        [stop − start], of the type ``config.record()``.
    """
    records = np.zeros(stop - start, dtype=config.record())
    for name in config.columns:
        records[name] = column(name, start, stop)
    previous = {"previous_action": "actions"}
    if config.previous_strategy is not None:
        previous["previous_strategy"] = config.previous_strategy
    for name, of in previous.items():
        if start:
            records[name] = column(of, start - 1, stop - 1)
        else:
            records[name][:1] = NO_PUBLISHED_LABEL if of == "hihack_strategy" else NO_ACTION
            records[name][1:] = column(of, 0, max(stop - 1, 0))
    records["mask"] = True
    records["first"][:1] = start == 0
    if config.places:
        records["game"] = place
        records["step"] = np.arange(start, stop)
    return records


RECORDS = "records"
"""The name of the array of records in a slab."""


def frame_names(config: StreamConfig, game: Game) -> tuple[str, ...]:
    """Returns what a frame reader must supply: observations, and rewards if only the game's keys are stored."""
    rewards = "rewards" in config.columns and "rewards" not in game.arrays
    return (*config.observations, *(["rewards"] if rewards else []))


def copy_frames(names: Sequence[str], segment: Segment, reader: FrameReader, arrays: Batch) -> None:
    """Copies a segment's frames to the segment's rows of a slab."""
    rows, lane = slice(segment.row, segment.row + segment.length), segment.lane
    out = {name: arrays[name][rows, lane] for name in names if name != "rewards"}
    if "rewards" in names:
        out["rewards"] = arrays[RECORDS]["rewards"][rows, lane, None]
    if out:
        reader.copy(segment.step, segment.step + segment.length, out)
