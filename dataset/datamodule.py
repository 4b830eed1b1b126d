"""Streams for PyTorch and Lightning: an iterable dataset, and a data module that resumes at the same batch.

Needs the extra ``train``; nothing else in this package imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from strathack.dataset.errors import InputError
from strathack.dataset.frames import FrameSource
from strathack.dataset.reading import Dataset, Paths
from strathack.dataset.schedule import Share
from strathack.dataset.streams import Stream, unrolls, windows

TensorBatch = dict[str, Any]
"""Array name → tensor [T, B, …]; and ``stream`` and ``number``, integers that tell which batch it is."""

Kind = Literal["unrolls", "windows"]
OpenFrames = Callable[[], AbstractContextManager[FrameSource]]


class Position:
    """How many batches of each stream a learner has taken; what a checkpoint keeps.

    There is one stream a loader worker, and one without workers. Batches come from them in turn. It lies in memory that
    loader workers share, so that those which outlive an epoch (``persistent_workers``) go on from where it is.

    Args:
        taken: Batches taken of each stream.
        next: The stream whose turn it is.
    """

    def __init__(self, taken: Sequence[int], next: int = 0) -> None:
        self._place = torch.tensor([*taken, next], dtype=torch.int64).share_memory_()

    @property
    def taken(self) -> list[int]:
        """Batches taken of each stream."""
        return [int(count) for count in self._place[:-1]]

    @property
    def next(self) -> int:
        """The stream whose turn it is."""
        return int(self._place[-1])

    def take(self, batch: Mapping[str, Any]) -> None:
        """Counts a batch as taken."""
        stream = int(batch["stream"])
        self._place[stream] = int(batch["number"])
        self._place[-1] = (stream + 1) % (len(self._place) - 1)

    def state_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"taken": self.taken, "next": self.next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to where a learner was.

        Raises:
            InputError: If that learner had another number of loader workers.
        """
        if len(state["taken"]) != len(self.taken):
            raise InputError(
                f"stream: the state is that of {len(state['taken'])} streams, there are {len(self.taken)} here; "
                "use as many loader workers"
            )
        self._place.copy_(torch.tensor([*state["taken"], state["next"]]))


@dataclass(frozen=True)
class StreamSpec:
    """What to stream, without opening anything; it travels to loader workers.

    Attributes:
        dataset: The games.
        kind: ``unrolls`` or ``windows``.
        options: The keyword arguments of :func:`strathack.dataset.streams.unrolls` or ``windows``, but ``frames``
            and ``share``.
        frames: Opens a source of frames for games that have none stored.
        share: This rank's part of the games.
    """

    dataset: Dataset
    kind: Kind = "unrolls"
    options: Mapping[str, Any] = field(default_factory=dict)
    frames: OpenFrames | None = None
    share: Share = Share()

    def __post_init__(self) -> None:
        """Checks that the two go together.

        Raises:
            InputError: If they do not.
        """
        if self.kind not in ("unrolls", "windows"):
            raise InputError(f"kind: {self.kind!r} is unknown; expected unrolls or windows")
        if self.kind == "windows" and self.frames is not None:
            raise InputError("frames: random windows need stored frames; expand the dataset first")

    def open(self, stream: int, streams: int, frames: FrameSource | None) -> Stream:
        """Opens one of several streams."""
        share = Share(self.share.index * streams + stream, self.share.of * streams)
        if self.kind == "windows":
            return windows(self.dataset, **self.options, share=share)
        return unrolls(self.dataset, **self.options, share=share, frames=frames)


class DemonstrationBatches(IterableDataset[TensorBatch]):
    """Batches as tensors; give it to a ``DataLoader`` with ``batch_size=None``.

    Loader workers share the games: each has a stream of its own, with lanes of its own. So a memory that a policy
    carries from batch to batch is to be kept for each ``batch["stream"]``.

    Args:
        spec: What to stream.
        position: Where to begin; the learner moves it on by ``position.take(batch)``.
    """

    def __init__(self, spec: StreamSpec, position: Position) -> None:
        super().__init__()
        self.spec = spec
        self.position = position

    def __iter__(self) -> Iterator[TensorBatch]:
        info = get_worker_info()
        streams = len(self.position.taken)
        workers = 1 if info is None else info.num_workers
        if workers != streams:
            raise InputError(f"loader: {workers} workers for a position of {streams} streams")
        # The loader asks its workers in turn from its first one on, so the first gets the stream whose turn it is.
        stream = ((0 if info is None else info.id) + self.position.next) % streams
        with self.spec.frames() if self.spec.frames is not None else nullcontext() as frames:
            source = self.spec.open(stream, streams, frames)
            number = self.position.taken[stream]
            try:
                source.skip(number)
                for batch in source:
                    number += 1
                    tensors: TensorBatch = {name: torch.from_numpy(array) for name, array in batch.items()}
                    yield {**tensors, "stream": stream, "number": number}
            finally:
                source.close()


_NAME_OF_ERRORS = f"{InputError.__module__}."


class EpochLoader:
    """What Lightning iterates: an epoch of so many batches of a stream without end.

    Each epoch goes on where training is, which :class:`Position` knows; nothing is ever rewound or skipped.

    Args:
        spec: What to stream.
        position: Where training is.
        batches: Batches in an epoch.
        workers: Loader workers; 0 for none.
        pinned: Whether batches are put where a GPU can fetch them from.
    """

    def __init__(self, spec: StreamSpec, position: Position, batches: int, workers: int, pinned: bool = False) -> None:
        self._spec, self._position, self._batches, self._workers = spec, position, batches, workers
        self._pinned = pinned

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._batches

    def __iter__(self) -> Iterator[TensorBatch]:
        loader = DataLoader(
            DemonstrationBatches(self._spec, self._position),
            batch_size=None,
            num_workers=self._workers,
            pin_memory=self._pinned,
            # A loader draws a seed for its workers; the learner's random numbers are not to depend on that.
            generator=torch.Generator(),
        )
        left = self._batches - sum(self._position.taken) % self._batches
        try:
            for batch in loader:
                yield batch
                left -= 1
                if not left:
                    return
        except InputError as error:
            # From a loader worker it comes with that process's traceback, its own line last.
            raise InputError(str(error).strip().splitlines()[-1].removeprefix(_NAME_OF_ERRORS)) from None


class DemonstrationModule(pl.LightningDataModule):
    """Streams a dataset's train split without end, and its validation split once a validation run.

    Checkpoints keep how many batches were trained on; a resumed run trains on exactly those that an uninterrupted
    one would, whatever was prefetched.

    Args:
        path: The dataset, or where it is; see :class:`strathack.dataset.Dataset`.
        lanes: Lanes of a batch, on each rank and in each loader worker.
        steps: Steps of a batch.
        kind: ``unrolls`` or ``windows``.
        select: A condition on the games.
        workers: Loader workers; 0 streams in this process, in threads, which is the fastest where frames are stored.
        frames: Opens a source of frames for keys-only games, such as
            :class:`strathack.collect.replaying.streaming.ReplayedFrames`.
        batches_per_epoch: What Lightning calls an epoch; by default as many as show each step about once.
        validation_steps: Steps of a validation's batch; by default as many. Where fewer games than lanes are
            validated on, longer batches are as large.
        options: Further keyword arguments of the stream.

    Attributes:
        dataset: The games, of all splits.
        lanes: As given.
        position: Where training is.
    """

    def __init__(
        self,
        path: Paths | Dataset,
        *,
        lanes: int,
        steps: int,
        kind: Kind = "unrolls",
        select: str | None = None,
        workers: int = 0,
        frames: OpenFrames | None = None,
        batches_per_epoch: int | None = None,
        validation_steps: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if workers < 0:
            raise InputError(f"workers: {workers} is below 0")
        if options and options.get("reuse"):
            raise InputError("reuse: tensors of one batch may still be in use when the next is made; leave it off")
        self.dataset = (path if isinstance(path, Dataset) else Dataset(path)).select(select)
        self.lanes = lanes
        self._options = {"lanes": lanes, "steps": steps, **(options or {})}
        self._kind, self._workers, self._frames = kind, workers, frames
        self._batches_per_epoch, self._validation_steps = batches_per_epoch, validation_steps
        self.position = Position([0] * max(workers, 1))

    def train_dataloader(self) -> EpochLoader:
        """The train split, epoch after epoch in another order."""
        spec = self._spec("train", {"epochs": None})
        a_batch = self._options["lanes"] * self._options["steps"] * spec.share.of
        batches = self._batches_per_epoch or max(spec.dataset.steps // a_batch, 1)
        return EpochLoader(spec, self.position, batches, self._workers, self._on_gpu())

    def val_dataloader(self) -> Sequence[Any] | DataLoader[TensorBatch]:
        """The validation split once, always in the same order; nothing where it has no games."""
        spec = self._spec("validation", {"epochs": 1, "seed": 0})
        games = (spec.dataset.rows["steps"] > 0).sum()
        if not games:
            return []
        # More lanes than games would be padding from end to end.
        lanes = min(self.lanes, -(-int(games) // spec.share.of))
        steps = self._validation_steps or self._options["steps"]
        spec = replace(spec, options={**spec.options, "lanes": lanes, "steps": steps})
        batches = DemonstrationBatches(spec, Position([0]))
        return DataLoader(batches, batch_size=None, pin_memory=self._on_gpu(), generator=torch.Generator())

    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _spec(self, split: str, options: Mapping[str, Any]) -> StreamSpec:
        trainer = self.trainer
        share = Share() if trainer is None else Share(trainer.global_rank, trainer.world_size)
        dataset = self.dataset.select(split=split)
        return StreamSpec(dataset, self._kind, {**self._options, **options}, self._frames, share)

    def on_after_batch_transfer(self, batch: TensorBatch, dataloader_idx: int) -> TensorBatch:
        """Counts a batch that is about to be trained on."""
        if self.trainer is None or self.trainer.training:
            self.position.take(batch)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where training is."""
        return self.position.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes to where training was.

        Raises:
            InputError: If it had another number of loader workers.
        """
        self.position.load_state_dict(state_dict)
