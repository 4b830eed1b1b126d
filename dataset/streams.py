"""Streams of batches for learners: lanes that walk games from start to end, or random windows.

A stream plans from the games' lengths (:mod:`strathack.dataset.schedule`) and fills its batches in threads, some
batches ahead. Several batches are filled at once, as one **slab**: the batches are consecutive rows of it, so they
are handed out without copying, and what a lane costs is paid once a slab.
"""

from __future__ import annotations

import hashlib
import json
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from strathack.dataset.actions import NO_ACTION
from strathack.dataset.errors import CorruptionError, FormatError, InputError
from strathack.dataset.frames import FrameReader, FrameSource, StoredFrames, StoredReader, stored_array
from strathack.dataset.labels import NO_PUBLISHED_LABEL, UNLABELLED
from strathack.dataset.reading import Dataset, Game, OnCorrupt
from strathack.dataset.schedule import GameQueue, LaneSchedule, Segment, Share, WindowIndex, shuffled
from strathack.dataset.schema import LABEL_COLUMNS, OBSERVATIONS, STORED_COLUMNS

Batch = dict[str, np.ndarray]
"""Array name → [T, B, …]."""

SLAB_BYTES = 64 << 20
"""How much a slab may hold, unless one batch is larger; three slabs are in the making or in use."""

SLABS_AHEAD = 2
MAX_SLAB_BATCHES = 32
LANE_GROUPS = 8
"""Tasks a slab for each thread, so that threads end at about the same time."""

DEFAULT_COLUMNS = ("actions", "rewards", "dones", "strategy")


@dataclass(frozen=True)
class StreamConfig:
    """What a stream shows; checked when made.

    Attributes:
        lanes: Sequences in a batch, B.
        steps: Steps of each in a batch, T.
        observations: Observation keys, each an array [T, B, …].
        columns: One-dimensional arrays of the games, each [T, B].
        previous_strategy: The label whose value one step before is given as ``previous_strategy``, or None.
        places: Whether to tell of each step which game (place in the dataset) and which step of it it is, as
            ``game`` and ``step``, i64 [T, B].
        seed: Decides the order; None keeps the dataset's.
        epochs: How often each game is shown; None for without end.
        share: Which part of the games this stream shows.
        threads: Threads that fill batches.
        reuse: Whether a batch's arrays may be overwritten once the next batch is asked for.
        on_corrupt: ``skip`` leaves out games that are not as they were written, with a warning each.
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
            InputError: By name of the option.
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
            "previous_strategy": ("strategy", "substrategy", "hihack_strategy"),
        }
        for option, names in known.items():
            value = getattr(self, option)
            for name in value if isinstance(value, tuple) else (value,):
                if name is not None and name not in names:
                    raise InputError(f"{option}: {name!r} is unknown; expected one of {', '.join(names)}")

    def frames(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and type of one frame of each observation."""
        return {key: (OBSERVATIONS[key].shape, OBSERVATIONS[key].dtype) for key in self.observations}

    def record(self) -> np.dtype[Any]:
        """Everything about a step but its frames, as one structured type."""
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

    @property
    def slab_batches(self) -> int:
        """Batches in a slab."""
        return min(max(SLAB_BYTES // self.batch_bytes, 1), MAX_SLAB_BATCHES)


def unrolls(
    dataset: Dataset,
    *,
    lanes: int,
    steps: int,
    observations: Sequence[str] | None = None,
    frames: FrameSource | None = None,
    **options: Any,
) -> UnrollStream:
    """Batches of lanes that each walk games from start to end.

    A batch is a dictionary of arrays [T, B, …]: the observations, the columns, and

    - ``first``, bool: a game starts at this step; memory is to be reset before it,
    - ``mask``, bool: this is a step; False for padding, which comes only when the games run out,
    - ``previous_action``, u8: the action one step before; 255 at a game's start,
    - ``previous_strategy``, on request: likewise; 255 (−1 for ``hihack_strategy``) at a game's start.

    Lane b of a batch goes on where lane b of the batch before stopped. Where a game ends inside a batch, the next
    one follows at the next step. Labels have the codes of ``dataset.vocabularies``.

    Args:
        dataset: The games.
        lanes: B.
        steps: T.
        observations: Observation keys; by default all that every game has.
        frames: Where frames come from; by default they are stored.
        **options: The other fields of :class:`StreamConfig`.

    Raises:
        InputError: If an option is not one, or no game has a step.
    """
    keys = dataset.observations if observations is None else tuple(observations)
    return UnrollStream(dataset, StreamConfig(lanes, steps, keys, **options), frames)


def windows(
    dataset: Dataset,
    *,
    lanes: int,
    steps: int,
    replacement: bool = False,
    observations: Sequence[str] | None = None,
    **options: Any,
) -> WindowStream:
    """Batches of random windows, each within one game; the arrays are those of :func:`unrolls`.

    ``first`` is true only where a window begins at a game's start. A window shorter than T is padded at its end.

    Args:
        dataset: The games.
        lanes: Windows in a batch, B.
        steps: Steps of a window, T.
        replacement: With it, an epoch is as many windows as it takes to show every step once on average, drawn
            step by step alike, and a window may come twice. Without, each step is shown exactly once an epoch.
        observations: Observation keys; by default all that every game has.
        **options: The other fields of :class:`StreamConfig`.

    Raises:
        InputError: If an option is not one, or no game has a step.
    """
    keys = dataset.observations if observations is None else tuple(observations)
    return WindowStream(dataset, StreamConfig(lanes, steps, keys, **options), replacement)


@dataclass
class _Slab:
    """Batches being filled or handed out.

    Attributes:
        arrays: Observation key → [batches · T, B, elements of a frame], and ``RECORDS`` → [batches · T, B], what else
            there is to a step, which a lane then copies in one go.
        tasks: What fills them, one a group of lanes.
        batches: How many of its batches are to be handed out.
        state: Where the stream stood at its first row.
        handed_out: How many of them were.
    """

    arrays: Batch
    tasks: list[Future[None]]
    batches: int
    state: Mapping[str, Any]
    handed_out: int = 0


class _Stream:
    """What both kinds share: slabs ahead of the learner, filled by threads; the position among the batches."""

    def __init__(self, dataset: Dataset, config: StreamConfig) -> None:
        if not (dataset.rows["steps"] > 0).any():
            raise InputError("dataset: no game has a step; was anything selected?")
        self.dataset = dataset
        self.config = config
        self._slabs: deque[_Slab] = deque()
        self._spare: list[Batch] = []
        self._threads: ThreadPoolExecutor | None = None
        self._usable: dict[int, bool] = {}
        self._groups = min(config.lanes, config.threads * LANE_GROUPS)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch; with ``reuse`` it is overwritten once another one is asked for."""
        if self._slabs and self._slabs[0].handed_out == self._slabs[0].batches:
            finished = self._slabs.popleft()
            if self.config.reuse:
                self._spare.append(finished.arrays)
        while len(self._slabs) <= SLABS_AHEAD and self._start_slab():
            pass
        if not self._slabs:
            self.close()
            raise StopIteration
        slab = self._slabs[0]
        if slab.handed_out == 0:
            for task in slab.tasks:
                task.result()
        start = slab.handed_out * self.config.steps
        slab.handed_out += 1
        rows, lanes = slice(start, start + self.config.steps), self.config.lanes
        batch = {
            key: slab.arrays[key][rows].reshape(self.config.steps, lanes, *shape)
            for key, (shape, _) in self.config.frames().items()
        }
        records = slab.arrays[RECORDS][rows]
        return batch | {name: np.ascontiguousarray(records[name]) for name in records.dtype.names or ()}

    def close(self) -> None:
        """Ends the threads and lets games go. The stream stands where it stood and may be iterated on."""
        position = self._position()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._threads = None
        self._slabs.clear()
        self._let_games_go()
        self._load(position)

    def skip(self, batches: int) -> None:
        """Goes on by that many batches without making them; it takes as long as planning them."""
        position = self._advanced(self._position(), batches)
        self.close()
        self._load(position)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as plain values: the batch to come is the one after the last handed out."""
        return {"stream": self.fingerprint, **self._position()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to where a stream of the same games and options stood.

        Raises:
            InputError: If the state is that of another stream.
        """
        if state["stream"] != self.fingerprint:
            raise InputError("stream: the state is that of another stream: of other games, options, rank or worker")
        self.close()
        self._load(state)

    @property
    def fingerprint(self) -> str:
        """What a state belongs to: the games, their lengths, and the options that decide the order."""
        options = asdict(self.config)
        order = {name: options[name] for name in ("lanes", "steps", "seed", "epochs", "share", "on_corrupt")}
        digest = hashlib.sha256(json.dumps([type(self).__name__, self._kind(), order]).encode())
        digest.update(np.ascontiguousarray(self.dataset.rows[["game", "steps"]]).tobytes())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a stream stays in its process; send its dataset, its config and its state_dict()")

    def _position(self) -> dict[str, Any]:
        if not self._slabs:
            return self._state()
        return self._advanced(self._slabs[0].state, self._slabs[0].handed_out)

    def _start_slab(self) -> bool:
        """Plans the next slab and has it filled; False where nothing is left to show."""
        state = self._state()
        segments = self._plan(self.config.slab_batches)
        if not segments:
            return False
        arrays = self._spare.pop() if self._spare else self._new_arrays()
        _clear_padding(arrays, segments, self.config.lanes)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.config.threads, thread_name_prefix="strathack-stream")
        groups: list[list[Segment]] = [[] for _ in range(self._groups)]
        for segment in segments:
            groups[segment.lane % self._groups].append(segment)
        before = self._slabs[-1].tasks if self._slabs else [None] * self._groups
        tasks = [
            self._threads.submit(self._fill_group, group, arrays, task)
            for group, task in zip(groups, before, strict=True)
        ]
        rows = max(segment.row + segment.length for segment in segments)
        self._slabs.append(_Slab(arrays, tasks, -(-rows // self.config.steps), state))
        return True

    def _fill_group(self, segments: Sequence[Segment], arrays: Batch, before: Future[None] | None) -> None:
        # A thread takes tasks in order, so the one before is at least under way and this wait has an end.
        if before is not None:
            before.result()
        for segment in segments:
            self._fill(segment, arrays)

    def _new_arrays(self) -> Batch:
        rows, lanes = self.config.slab_batches * self.config.steps, self.config.lanes
        frames = self.config.frames()
        arrays = {key: np.empty((rows, lanes, prod(shape)), dtype) for key, (shape, dtype) in frames.items()}
        return arrays | {RECORDS: np.empty((rows, lanes), self.config.record())}

    def _is_usable(self, game: int) -> bool:
        """Whether a game has steps and, where corrupt ones are to be left out, is as it was written."""
        if not self.dataset.rows["steps"][game]:
            return False
        if self.config.on_corrupt == "raise":
            return True
        if game not in self._usable:
            try:
                for array in self.dataset[game].arrays.values():
                    array.check_sums()
                self._usable[game] = True
            except FormatError as error:
                self._usable[game] = False
                warnings.warn(f"game left out: {error}", stacklevel=2)
        return self._usable[game]

    def _kind(self) -> str:
        """What else decides the order."""
        return ""

    def _state(self) -> dict[str, Any]:
        """Where planning stands."""
        raise NotImplementedError

    def _load(self, state: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _advanced(self, state: Mapping[str, Any], batches: int) -> dict[str, Any]:
        """Where planning stands that many batches after a state."""
        raise NotImplementedError

    def _plan(self, batches: int) -> list[Segment]:
        """What the rows of the next batches show; nothing at the end."""
        raise NotImplementedError

    def _fill(self, segment: Segment, arrays: Batch) -> None:
        raise NotImplementedError

    def _let_games_go(self) -> None:
        raise NotImplementedError


def _clear_padding(arrays: Batch, segments: Sequence[Segment], lanes: int) -> None:
    """Zeroes the rows of each lane that no segment fills."""
    rows = len(arrays[RECORDS])
    if sum(segment.length for segment in segments) == rows * lanes:
        return
    filled = np.zeros((rows, lanes), dtype=bool)
    for segment in segments:
        filled[segment.row : segment.row + segment.length, segment.lane] = True
    for array in arrays.values():
        array[~filled] = np.zeros((), array.dtype)


class _Recoding:
    """Gives labels the codes of the dataset's vocabularies, whatever those of a game's own file are."""

    def __init__(self, dataset: Dataset) -> None:
        self._places = {
            label: {name: code for code, name in enumerate(names)} for label, names in dataset.vocabularies.items()
        }

    def recoded(self, game: Game, name: str, values: np.ndarray, start: int) -> np.ndarray:
        """Values of a column as the stream shows them.

        Args:
            game: The game.
            name: The column's name.
            values: Its values from step ``start`` on.
            start: For the error.

        Raises:
            CorruptionError: If one is out of range, or has a name that the shard does not know.
        """
        wrong = game.first_out_of_range(name, values)
        if wrong is not None:
            place = f"{game.path}: {game.name}/{name}, step {start + wrong}"
            raise CorruptionError(f"{place}: {values[wrong]} is out of range")
        if name not in LABEL_COLUMNS:
            return values
        table = np.full(256, UNLABELLED, dtype=np.uint8)
        for text, code in game.arrays[name].codes.items():
            if code != UNLABELLED:
                if text not in self._places[name]:
                    raise CorruptionError(f"{game.path}: {game.name}/{name}: the shard does not know the name {text!r}")
                table[code] = self._places[name][text]
        return table[values]

    def read(self, game: Game, name: str) -> np.ndarray:
        """A whole column; zeros for rewards that are not stored, which come with the frames."""
        if name == "rewards" and name not in game.arrays:
            return np.zeros(len(game), dtype=STORED_COLUMNS[name])
        return self.recoded(game, name, stored_array(game, name)[:], 0)


Column = Callable[[str, int, int], np.ndarray]
"""Column's name, first step, step after the last → its values."""


def _records(config: StreamConfig, place: int, start: int, stop: int, column: Column) -> np.ndarray:
    """Everything about some steps of a game but their frames.

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
"""What a slab calls them."""


def _frame_names(config: StreamConfig, game: Game) -> tuple[str, ...]:
    """What a frame reader has to give: observations, and rewards where only the game's keys are kept."""
    rewards = "rewards" in config.columns and "rewards" not in game.arrays
    return (*config.observations, *(["rewards"] if rewards else []))


def _copy_frames(names: Sequence[str], segment: Segment, reader: FrameReader, arrays: Batch) -> None:
    rows, lane = slice(segment.row, segment.row + segment.length), segment.lane
    out = {name: arrays[name][rows, lane] for name in names if name != "rewards"}
    if "rewards" in names:
        out["rewards"] = arrays[RECORDS]["rewards"][rows, lane, None]
    if out:
        reader.copy(segment.step, segment.step + segment.length, out)


@dataclass(frozen=True)
class _OpenGame:
    """A game that a lane walks: its records in memory, its frames as they come."""

    place: int
    records: np.ndarray
    frame_names: tuple[str, ...]
    reader: FrameReader


class UnrollStream(_Stream):
    """Made by :func:`unrolls`.

    Args:
        dataset: The games.
        config: What to show.
        frames: Where frames come from; None for as they are stored.
    """

    def __init__(self, dataset: Dataset, config: StreamConfig, frames: FrameSource | None = None) -> None:
        super().__init__(dataset, config)
        self._frames: FrameSource = frames or StoredFrames()
        self._recoding = _Recoding(dataset)
        self._schedule = self._new_schedule()
        self._open: dict[int, _OpenGame] = {}

    def _new_schedule(self) -> LaneSchedule:
        config = self.config
        queue = GameQueue(len(self.dataset), config.seed, config.share, config.epochs, self._is_usable)
        return LaneSchedule(config.lanes, queue, self.dataset.rows["steps"])

    def _state(self) -> dict[str, Any]:
        return self._schedule.state()

    def _load(self, state: Mapping[str, Any]) -> None:
        self._schedule.load(state)

    def _advanced(self, state: Mapping[str, Any], batches: int) -> dict[str, Any]:
        schedule = self._new_schedule()
        schedule.load(state)
        schedule.advance(batches * self.config.steps)
        return schedule.state()

    def _plan(self, batches: int) -> list[Segment]:
        return self._schedule.advance(batches * self.config.steps)

    def _fill(self, segment: Segment, arrays: Batch) -> None:
        game = self._open.get(segment.lane)
        if game is None:
            game = self._open[segment.lane] = self._open_game(segment.game, segment.step)
        assert game.place == segment.game, "a lane walks a game to its end"
        start, stop = segment.step, segment.step + segment.length
        arrays[RECORDS][segment.row : segment.row + segment.length, segment.lane] = game.records[start:stop]
        _copy_frames(game.frame_names, segment, game.reader, arrays)
        if segment.step + segment.length == self.dataset.rows["steps"][segment.game]:
            game.reader.close()
            del self._open[segment.lane]

    def _open_game(self, place: int, start: int) -> _OpenGame:
        game = self.dataset[place]
        columns: dict[str, np.ndarray] = {}

        def column(name: str, first: int, last: int) -> np.ndarray:
            if name not in columns:
                columns[name] = self._recoding.read(game, name)
            return columns[name][first:last]

        names = _frame_names(self.config, game)
        records = _records(self.config, place, 0, len(game), column)
        return _OpenGame(place, records, names, self._frames.open(game, names, start))

    def _let_games_go(self) -> None:
        for game in self._open.values():
            game.reader.close()
        self._open.clear()


MAX_INDEXED_GAMES = 4096
"""Games whose places in their files a window stream remembers, some 10 KB each."""


def _shuffling_keys(seed: int, epoch: int) -> list[int]:
    """The keys of an epoch's permutation."""
    return np.random.SeedSequence([seed, epoch]).generate_state(4, np.uint64).tolist()


class WindowStream(_Stream):
    """Made by :func:`windows`.

    Args:
        dataset: The games.
        config: What to show.
        replacement: Whether a window may come twice in an epoch.
    """

    def __init__(self, dataset: Dataset, config: StreamConfig, replacement: bool) -> None:
        super().__init__(dataset, config)
        if config.seed is None:
            raise InputError("seed: random windows need one")
        self._replacement = replacement
        self._recoding = _Recoding(dataset)
        self._lengths = dataset.rows["steps"]
        self._index = WindowIndex(self._lengths, config.steps)
        self._starts = np.cumsum(np.where(self._lengths > 0, np.maximum(self._lengths - config.steps + 1, 1), 0))
        self._game = lru_cache(MAX_INDEXED_GAMES)(dataset.__getitem__)
        self._keys = lru_cache(maxsize=2)(partial(_shuffling_keys, config.seed))
        self._thread = threading.local()
        self._epoch = 0
        self._number = config.share.index

    def _kind(self) -> str:
        return "with replacement" if self._replacement else "without replacement"

    def _state(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "number": self._number}

    def _load(self, state: Mapping[str, Any]) -> None:
        self._epoch, self._number = state["epoch"], state["number"]

    def _advanced(self, state: Mapping[str, Any], batches: int) -> dict[str, Any]:
        now = self._state()
        self._load(state)
        self._plan(batches)
        advanced = self._state()
        self._load(now)
        return advanced

    def _plan(self, batches: int) -> list[Segment]:
        segments = []
        for place in range(batches * self.config.lanes):
            window = self._next_window()
            if window is None:
                break
            batch, lane = divmod(place, self.config.lanes)
            segments.append(Segment(lane, batch * self.config.steps, *window))
        return segments

    def _next_window(self) -> tuple[int, int, int] | None:
        """Game, first step and count of steps of the next window; None at the end."""
        size = -(-int(self._lengths.sum()) // self.config.steps) if self._replacement else len(self._index)
        fruitless = 0
        while self.config.epochs is None or self._epoch < self.config.epochs:
            while self._number < size:
                number, self._number = self._number, self._number + self.config.share.of
                window = self._drawn(number) if self._replacement else self._dealt(number, size)
                if window is not None and self._is_usable(window[0]):
                    return window
            fruitless += 1
            self._epoch, self._number = self._epoch + 1, self.config.share.index
            if fruitless > 1:
                return None
        return None

    def _drawn(self, number: int) -> tuple[int, int, int]:
        rng = np.random.default_rng([self.config.seed or 0, self._epoch, number])
        drawn = int(rng.integers(self._starts[-1]))
        game = int(np.searchsorted(self._starts, drawn, side="right"))
        start = drawn - (int(self._starts[game - 1]) if game else 0)
        return game, start, min(self.config.steps, int(self._lengths[game]))

    def _dealt(self, number: int, size: int) -> tuple[int, int, int] | None:
        keys = self._keys(self._epoch)

        def cut(game: int) -> int:
            return 1 + shuffled(game, len(self._lengths), keys) % self.config.steps

        return self._index.window(shuffled(number, size, keys), cut)

    def _fill(self, segment: Segment, arrays: Batch) -> None:
        game = self._game(segment.game)
        # The chunks that a thread decompresses into are used again and again.
        chunks = self._thread.__dict__.setdefault("chunks", {})
        names = _frame_names(self.config, game)
        frames = StoredReader({name: stored_array(game, name) for name in names}, chunks, whole=False)
        columns = StoredReader(game.arrays, chunks, whole=False)

        def column(name: str, start: int, stop: int) -> np.ndarray:
            values = np.empty(stop - start, dtype=STORED_COLUMNS[name])
            columns.copy(start, stop, {name: values[:, None]})
            return self._recoding.recoded(game, name, values, start)

        stop = segment.step + segment.length
        records = _records(self.config, segment.game, segment.step, stop, column)
        arrays[RECORDS][segment.row : segment.row + segment.length, segment.lane] = records
        _copy_frames(names, segment, frames, arrays)

    def _let_games_go(self) -> None:
        self._game.cache_clear()
