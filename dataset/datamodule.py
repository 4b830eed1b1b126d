"""Streams for PyTorch and Lightning: an iterable dataset, and a data module that resumes at the right batch.

Needs the extra ``train``; besides :mod:`strathack.dataset.devices`, no other module of this package imports torch.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from strathack.dataset.devices import TensorBatch, allocate_for, moved, on_device
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.frames import FrameSource
from strathack.dataset.prefetching import Allocate
from strathack.dataset.reading import Dataset, Paths
from strathack.dataset.schedule import Share
from strathack.dataset.streams import Stream, unrolls, windows

Kind = Literal["unrolls", "windows"]
WAIT_SECONDS = 0.001
"""How often a loader worker looks whether the first one has begun."""

OpenFrames = Callable[[], AbstractContextManager[FrameSource]]


class Position:
    """Counts the batches that a learner has taken from each stream; checkpoints keep these counts.

    Each loader worker has one stream; without workers there is a single stream. Batches come from the streams in turn.
    All workers have to begin at the same position, although a learner may have taken batches of the first ones before
    the last one is there: a worker begins where the learner was when it started the worker's process. Workers that
    outlive an epoch (``persistent_workers``) begin each further one where the first of them, which gives the first
    batch, has found the learner; for that, the counts lie in shared memory.

    Args:
        taken: Batches taken from each stream.
        next: The stream that gives the next batch.
    """

    def __init__(self, taken: Sequence[int], next: int = 0) -> None:
        self._place = torch.tensor([*taken, next], dtype=torch.int64).share_memory_()
        # Where the present pass began, and its number; written by the first worker.
        self._begun = torch.zeros(len(taken) + 2, dtype=torch.int64).share_memory_()
        # Not shared: of a process that is started now, this stays as it is.
        self._here = (*taken, next)

    @property
    def taken(self) -> list[int]:
        """Batches taken from each stream."""
        return [int(count) for count in self._place[:-1]]

    @property
    def next(self) -> int:
        """The stream that gives the next batch."""
        return int(self._place[-1])

    def take(self, batch: Mapping[str, Any]) -> None:
        """Counts a batch as taken."""
        stream = int(batch["stream"])
        self._place[stream] = int(batch["number"])
        self._place[-1] = (stream + 1) % (len(self._place) - 1)
        self._here = tuple(self._place.tolist())

    def beginning(self, worker: int, number: int) -> tuple[list[int], int]:
        """Returns where a pass of the loader begins: the batches taken from each stream, and the stream that is next.

        Args:
            worker: The number of the loader worker; 0 without workers.
            number: The number of the pass in this worker's process, from 1 on.
        """
        if worker == 0:
            place = self._here if number == 1 else tuple(self._place.tolist())
            self._begun[:-1] = torch.tensor(place)
            self._begun[-1] = number
        elif number == 1:
            place = self._here
        else:
            while int(self._begun[-1]) != number:
                time.sleep(WAIT_SECONDS)
            place = tuple(self._begun[:-1].tolist())
        return list(place[:-1]), place[-1]

    def state_dict(self) -> dict[str, Any]:
        """Returns the position as plain values."""
        return {"taken": self.taken, "next": self.next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a saved position.

        Raises:
            InputError: If the state was saved with another number of loader workers.
        """
        if len(state["taken"]) != len(self.taken):
            raise InputError(
                f"stream: the state is that of {len(state['taken'])} streams, there are {len(self.taken)} here; "
                "use as many loader workers"
            )
        self._place.copy_(torch.tensor([*state["taken"], state["next"]]))
        self._here = tuple(self._place.tolist())


@dataclass(frozen=True)
class StreamSpec:
    """Describes what to stream, without any open files, so that it can be sent to loader workers.

    Attributes:
        dataset: The games.
        kind: ``unrolls`` or ``windows``.
        options: Keyword arguments of :func:`strathack.dataset.streams.unrolls` or ``windows``, except ``frames`` and
            ``share``.
        frames: Opens a source of frames for games that are stored without frames.
        share: This rank's part of the games.
    """

    dataset: Dataset
    kind: Kind = "unrolls"
    options: Mapping[str, Any] = field(default_factory=dict)
    frames: OpenFrames | None = None
    share: Share = Share()

    def __post_init__(self) -> None:
        """Checks that ``kind`` is known and allows ``frames``.

        Raises:
            InputError: If it does not.
        """
        if self.kind not in ("unrolls", "windows"):
            raise InputError(f"kind: {self.kind!r} is unknown; expected unrolls or windows")
        if self.kind == "windows" and self.frames is not None:
            raise InputError("frames: random windows need stored frames; expand the dataset first")

    def open(self, stream: int, streams: int, frames: FrameSource | None, allocate: Allocate = np.empty) -> Stream:
        """Opens stream number ``stream`` of ``streams`` streams."""
        share = Share(self.share.index * streams + stream, self.share.of * streams)
        if self.kind == "windows":
            return windows(self.dataset, **self.options, share=share, allocate=allocate)
        return unrolls(self.dataset, **self.options, share=share, frames=frames, allocate=allocate)


class DemonstrationBatches(IterableDataset[TensorBatch]):
    """Batches as tensors; pass this dataset to a ``DataLoader`` with ``batch_size=None``.

    Beside its tensors, a batch has what the host knows of it, so that no one has to ask a GPU: ``stream`` and
    ``number``, integers that identify the batch; ``frames``, how many of its steps are no padding; and ``starts``, a
    tuple of the steps at which a game starts in some lane.

    Loader workers divide the games: each has its own stream with its own lanes. So the memory that a policy carries
    from batch to batch must be kept separately for each ``batch["stream"]``.

    Args:
        spec: What to stream.
        position: Where to begin; the learner advances it with ``position.take(batch)``.
        allocate: Makes the arrays of frames; see :func:`strathack.dataset.streams.unrolls`.
    """

    def __init__(self, spec: StreamSpec, position: Position, allocate: Allocate = np.empty) -> None:
        super().__init__()
        self.spec = spec
        self.position = position
        self._allocate = allocate
        self._passes = 0

    def __iter__(self) -> Iterator[TensorBatch]:
        info = get_worker_info()
        worker = 0 if info is None else info.id
        self._passes += 1
        taken, first = self.position.beginning(worker, self._passes)
        streams = len(taken)
        workers = 1 if info is None else info.num_workers
        if workers != streams:
            raise InputError(f"loader: {workers} workers for a position of {streams} streams")
        # The loader asks its workers in turn, beginning with the first, so the first worker gets the next stream.
        stream = (worker + first) % streams
        with self.spec.frames() if self.spec.frames is not None else nullcontext() as frames:
            source = self.spec.open(stream, streams, frames, self._allocate)
            number = taken[stream]
            try:
                source.skip(number)
                for batch in source:
                    number += 1
                    tensors: TensorBatch = {name: torch.from_numpy(array) for name, array in batch.items()}
                    starts = tuple(np.flatnonzero(batch["first"].any(1)).tolist())
                    known = {"frames": int(batch["mask"].sum()), "starts": starts}
                    yield {**tensors, "stream": stream, "number": number, **known}
            finally:
                source.close()


_NAME_OF_ERROR = re.compile(r"\Astrathack(\.\w+)+: ")


class EpochLoader:
    """The loader that Lightning iterates: an epoch is a fixed number of batches from an endless stream.

    Each epoch continues at the training position, kept by :class:`Position`; no batch is repeated or skipped.

    Args:
        spec: What to stream.
        position: The training position.
        batches: Batches in an epoch.
        workers: Loader workers; 0 for none.
        device: Where the batches go.
    """

    def __init__(
        self,
        spec: StreamSpec,
        position: Position,
        batches: int,
        workers: int,
        device: torch.device = torch.device("cpu"),  # noqa: B008  (immutable)
    ) -> None:
        self._spec, self._position, self._batches, self._workers = spec, position, batches, workers
        self._device = device

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._batches

    def __iter__(self) -> Iterator[TensorBatch]:
        # Other processes' memory cannot be pinned.
        allocate = np.empty if self._workers else allocate_for(self._device)
        loader = DataLoader(
            DemonstrationBatches(self._spec, self._position, allocate),
            batch_size=None,
            num_workers=self._workers,
            # A loader draws a seed for its workers; this must not change the learner's random numbers.
            generator=torch.Generator(),
        )
        left = self._batches - sum(self._position.taken) % self._batches
        try:
            for batch in on_device(loader, self._device):
                yield batch
                left -= 1
                if not left:
                    return
        except (InputError, RunError) as error:
            # An error from a loader worker includes that process's traceback; its last line is the message.
            kind = InputError if isinstance(error, InputError) else RunError
            raise kind(_NAME_OF_ERROR.sub("", str(error).strip().splitlines()[-1])) from None


@dataclass(frozen=True)
class OnePass:
    """The loader of a validation: each iteration streams once, from the beginning.

    Attributes:
        spec: What to stream.
        device: Where the batches go.
    """

    spec: StreamSpec
    device: torch.device

    def __iter__(self) -> Iterator[TensorBatch]:
        return on_device(DemonstrationBatches(self.spec, Position([0]), allocate_for(self.device)), self.device)


class DemonstrationModule(pl.LightningDataModule):
    """Streams a dataset's train split endlessly, and its validation split once for each validation.

    Checkpoints keep how many batches were trained on. A resumed run trains on exactly the batches that an
    uninterrupted run would, regardless of what was prefetched.

    Args:
        path: The dataset or its path; see :class:`strathack.dataset.Dataset`.
        lanes: Lanes of a batch, on each rank and in each loader worker.
        steps: Steps of a batch.
        kind: ``unrolls`` or ``windows``.
        select: A condition on the games.
        workers: Loader workers; 0 streams in threads of this process, which is fastest if frames are stored.
        frames: Opens a source of frames; by default, stored frames are read, and keys-only games are replayed.
        batches_per_epoch: Batches in an epoch of Lightning; by default as many as show each step about once.
        validation_steps: Steps of a validation batch; by default ``steps``. If there are fewer validation games than
            lanes, validation batches have fewer lanes; more steps can make up for that.
        options: Further keyword arguments of the stream.

    Attributes:
        dataset: The games, of all splits.
        lanes: As given.
        position: The training position.
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
        """Returns the train split, in another order each epoch."""
        spec = self._spec("train", {"epochs": None})
        a_batch = self._options["lanes"] * self._options["steps"] * spec.share.of
        batches = self._batches_per_epoch or max(spec.dataset.steps // a_batch, 1)
        return EpochLoader(spec, self.position, batches, self._workers, self._device())

    def val_dataloader(self) -> Iterable[TensorBatch]:
        """Returns the validation split once, always in the same order; an empty list if it has no games."""
        spec = self._spec("validation", {"epochs": 1, "seed": 0})
        games = (spec.dataset.rows["steps"] > 0).sum()
        if not games:
            return []
        # Lanes beyond the number of games would hold nothing but padding.
        lanes = min(self.lanes, -(-int(games) // spec.share.of))
        steps = self._validation_steps or self._options["steps"]
        spec = replace(spec, options={**spec.options, "lanes": lanes, "steps": steps})
        return OnePass(spec, self._device())

    def _device(self) -> torch.device:
        """The device that is trained on."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def _spec(self, split: str, options: Mapping[str, Any]) -> StreamSpec:
        trainer = self.trainer
        share = Share() if trainer is None else Share(trainer.global_rank, trainer.world_size)
        dataset = self.dataset.select(split=split)
        return StreamSpec(dataset, self._kind, {**self._options, **options}, self._frames, share)

    def transfer_batch_to_device(self, batch: TensorBatch, device: torch.device, dataloader_idx: int) -> TensorBatch:
        """Moves what is not there yet."""
        return moved(batch, device)

    def on_after_batch_transfer(self, batch: TensorBatch, dataloader_idx: int) -> TensorBatch:
        """Counts a batch that is about to be trained on."""
        if self.trainer is None or self.trainer.training:
            self.position.take(batch)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Returns the training position."""
        return self.position.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the training position.

        Raises:
            InputError: If the state was saved with another number of loader workers.
        """
        self.position.load_state_dict(state_dict)
