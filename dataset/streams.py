"""Streams of batches for learners: lanes that walk games from start to end, or random windows.

A stream is a plan made from the games' lengths (:mod:`strathack.dataset.schedule`), a filler that copies what is
planned (:mod:`strathack.dataset.fillers`), and threads that fill some batches ahead
(:mod:`strathack.dataset.prefetching`).
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from strathack.dataset.batches import RECORDS, Batch, StreamConfig
from strathack.dataset.errors import FormatError, InputError
from strathack.dataset.fillers import Filler, LaneFiller, WindowFiller
from strathack.dataset.frames import FrameSource
from strathack.dataset.prefetching import Allocate, Prefetcher
from strathack.dataset.reading import Dataset
from strathack.dataset.schedule import GameQueue, LanePlan, Plan, WindowPlan, position_after
from strathack.dataset.schema import DEFAULT_OBSERVATIONS


def unrolls(
    dataset: Dataset,
    *,
    lanes: int,
    steps: int,
    observations: Sequence[str] | None = None,
    frames: FrameSource | None = None,
    allocate: Allocate = np.empty,
    **options: Any,
) -> Stream:
    """Streams batches of lanes that each walk games from start to end.

    A batch is a dictionary of arrays [T, B, …]: the observations, the columns, and

    - ``first``, bool: whether a game starts at this step; memory must be reset before such a step,
    - ``mask``, bool: True for a step, False for padding, which occurs only when the games run out,
    - ``previous_action``, u8: the action one step before; 255 at a game's start,
    - ``previous_strategy``, on request: the label one step before; 255 (−1 for ``hihack_strategy``) at a game's start.

    Lane b of a batch continues where lane b of the batch before stopped. Where a game ends inside a batch, the next
    game begins at the next step. Labels have the codes of ``dataset.vocabularies``.

    Args:
        dataset: The games.
        lanes: B.
        steps: T.
        observations: Observation keys; by default all keys that every game has or, if only the games' keys are stored,
            those of :data:`strathack.dataset.schema.DEFAULT_OBSERVATIONS`.
        frames: Source of the frames; by default the stored frames. Games of which only keys are stored are replayed in
            processes of the stream's own, which end with :meth:`Stream.close` or the stream's end.
        allocate: Makes the arrays of frames, for instance in memory that a GPU can copy from.
        **options: The other fields of :class:`StreamConfig`.

    Raises:
        InputError: If an option is invalid, or no game has a step.
    """
    if observations is None:
        observations = DEFAULT_OBSERVATIONS if dataset.shows_by_replay else dataset.observations
    config = StreamConfig(lanes, steps, tuple(observations), **options)
    check_steps(dataset)
    usable = usable_games(dataset, config)
    queue = GameQueue(len(dataset), config.seed, config.share, config.epochs, usable)
    plan = LanePlan(config.lanes, queue, dataset.rows["steps"])
    # States contain these names, the names that the stream classes had when the first states were saved.
    return Stream(dataset, config, plan, LaneFiller(dataset, config, frames), ("UnrollStream", ""), allocate)


def windows(
    dataset: Dataset,
    *,
    lanes: int,
    steps: int,
    replacement: bool = False,
    observations: Sequence[str] | None = None,
    allocate: Allocate = np.empty,
    **options: Any,
) -> Stream:
    """Streams batches of random windows, each within one game; the arrays are as in :func:`unrolls`.

    ``first`` is true only where a window begins at a game's start. A window shorter than T is padded at its end.

    Args:
        dataset: The games.
        lanes: Windows in a batch, B.
        steps: Steps of a window, T.
        replacement: If True, windows are drawn with equal probability for every start and may repeat; an epoch has as
            many windows as show every step once on average. If False, each step is shown exactly once in an epoch.
        observations: Observation keys; by default all keys that every game has.
        allocate: Makes the arrays of frames; see :func:`unrolls`.
        **options: The other fields of :class:`StreamConfig`.

    Raises:
        InputError: If an option is invalid, or no game has a step.
    """
    keys = dataset.observations if observations is None else tuple(observations)
    config = StreamConfig(lanes, steps, keys, **options)
    check_steps(dataset)
    if config.seed is None:
        raise InputError("seed: random windows need one")
    plan = WindowPlan(
        lanes, steps, dataset.rows["steps"], config.seed, config.share, config.epochs, usable_games(dataset, config),
        replacement=replacement,
    )  # fmt: skip
    kind = ("WindowStream", "with replacement") if replacement else ("WindowStream 2", "without replacement")
    return Stream(dataset, config, plan, WindowFiller(dataset, config), kind, allocate)


class Stream:
    """An iterator over batches, some of them filled ahead; made by :func:`unrolls` and :func:`windows`.

    Args:
        dataset: The games.
        config: What to show.
        plan: Decides what is shown, and when.
        filler: Copies what the plan shows.
        kind: Names the kind of plan in states.
        allocate: Makes the arrays of frames.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: StreamConfig,
        plan: Plan,
        filler: Filler,
        kind: tuple[str, str],
        allocate: Allocate = np.empty,
    ) -> None:
        self.dataset = dataset
        self.config = config
        self._plan, self._filler, self._kind = plan, filler, kind
        self._ahead = Prefetcher(config, plan, filler, allocate)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Returns the next batch; with ``reuse``, asking for another one overwrites it."""
        rows = self._ahead.next_batch()
        if rows is None:
            self.close()
            raise StopIteration
        steps, lanes = self.config.steps, self.config.lanes
        batch = {key: rows[key].reshape(steps, lanes, *shape) for key, (shape, _) in self.config.frames().items()}
        records = rows[RECORDS]
        return batch | {name: np.ascontiguousarray(records[name]) for name in records.dtype.names or ()}

    def close(self) -> None:
        """Ends the threads and closes the games. The stream keeps its position and may be iterated further."""
        self._go_to(self._ahead.position())

    def skip(self, batches: int) -> None:
        """Moves past ``batches`` batches without filling them; takes only as long as planning them."""
        self._go_to(position_after(self._plan, self._ahead.position(), batches, self.config.steps))

    def state_dict(self) -> dict[str, Any]:
        """Returns the stream's position as plain values; the next batch is the one after the last handed out."""
        return {"stream": self.fingerprint, **self._ahead.position()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the position of a stream of the same games and options.

        Raises:
            InputError: If the state is from a stream of other games or options.
        """
        if state["stream"] != self.fingerprint:
            raise InputError("stream: the state is that of another stream: of other games, options, rank or worker")
        self._go_to(state)

    def _go_to(self, state: Mapping[str, Any]) -> None:
        self._ahead.stop()
        self._filler.let_go()
        self._plan.load(state)

    @property
    def fingerprint(self) -> str:
        """A digest of the games, their lengths and the options that decide the order; states contain it."""
        options = asdict(self.config)
        order = {name: options[name] for name in ("lanes", "steps", "seed", "epochs", "share", "on_corrupt")}
        digest = hashlib.sha256(json.dumps([*self._kind, order]).encode())
        digest.update(np.ascontiguousarray(self.dataset.rows[["game", "steps"]]).tobytes())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a stream stays in its process; send its dataset, its config and its state_dict()")


def check_steps(dataset: Dataset) -> None:
    """Checks that there is something to stream.

    Raises:
        InputError: If no game has a step.
    """
    if not (dataset.rows["steps"] > 0).any():
        raise InputError("dataset: no game has a step; was anything selected?")


def usable_games(dataset: Dataset, config: StreamConfig) -> Callable[[int], bool]:
    """Returns a function game → whether it has steps and, if ``on_corrupt`` is ``skip``, is as it was written."""
    known: dict[int, bool] = {}

    def is_usable(game: int) -> bool:
        if not dataset.rows["steps"][game]:
            return False
        if config.on_corrupt == "raise":
            return True
        if game not in known:
            try:
                for array in dataset[game].arrays.values():
                    array.check_sums()
                known[game] = True
            except FormatError as error:
                known[game] = False
                warnings.warn(f"game left out: {error}", stacklevel=2)
        return known[game]

    return is_usable
