"""Fills slabs ahead of the learner: several batches at once, by threads.

The batches of a slab are consecutive rows of it, so they are handed out without copying, and the overhead of each lane
occurs only once for a slab.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from strathack.dataset.batches import RECORDS, Batch, StreamConfig
from strathack.dataset.fillers import Filler
from strathack.dataset.schedule import Plan, Segment, position_after

SLAB_BYTES = 64 << 20
"""The most bytes of a slab, unless one batch is larger; up to three slabs are being filled or in use."""

SLABS_AHEAD = 2
MAX_SLAB_BATCHES = 32
LANE_GROUPS = 8
"""Tasks of each thread for a slab; several, so that the threads end at about the same time."""


Allocate = Callable[[tuple[int, ...], "np.dtype[Any]"], np.ndarray]
"""A function shape, type → an array of any values."""


@dataclass
class Slab:
    """Batches being filled or handed out.

    Attributes:
        arrays: Observation key → [batches · T, B, elements of a frame], and ``RECORDS`` → [batches · T, B], everything
            else about a step, which a lane copies in one go.
        tasks: The tasks that fill the arrays, one for each group of lanes.
        batches: How many batches are to be handed out.
        state: The plan's position at the slab's first row.
        handed_out: How many batches were handed out so far.
    """

    arrays: Batch
    tasks: list[Future[None]]
    batches: int
    state: Mapping[str, Any]
    handed_out: int = 0


class Prefetcher:
    """Plans slabs, fills them and hands out their batches.

    Args:
        config: What to show.
        plan: Decides what is shown, and when.
        filler: Copies what the plan shows.
        allocate: Makes the arrays of frames.
    """

    def __init__(self, config: StreamConfig, plan: Plan, filler: Filler, allocate: Allocate = np.empty) -> None:
        self._config, self._plan, self._filler, self._allocate = config, plan, filler, allocate
        self._batches = min(max(SLAB_BYTES // config.batch_bytes, 1), MAX_SLAB_BATCHES)
        self._groups = min(config.lanes, config.threads * LANE_GROUPS)
        self._slabs: deque[Slab] = deque()
        self._spare: list[Batch] = []
        self._threads: ThreadPoolExecutor | None = None

    def next_batch(self) -> Batch | None:
        """Returns the next batch, as rows of its slab; None at the end."""
        if self._slabs and self._slabs[0].handed_out == self._slabs[0].batches:
            finished = self._slabs.popleft()
            if self._config.reuse:
                self._spare.append(finished.arrays)
        while len(self._slabs) <= SLABS_AHEAD and self._start_slab():
            pass
        if not self._slabs:
            return None
        slab = self._slabs[0]
        if slab.handed_out == 0:
            for task in slab.tasks:
                task.result()
        start = slab.handed_out * self._config.steps
        slab.handed_out += 1
        return {name: array[start : start + self._config.steps] for name, array in slab.arrays.items()}

    def position(self) -> dict[str, Any]:
        """Returns the plan's position after the batches handed out; batches filled ahead do not count."""
        if not self._slabs:
            return self._plan.state()
        return position_after(self._plan, self._slabs[0].state, self._slabs[0].handed_out, self._config.steps)

    def stop(self) -> None:
        """Ends the threads and drops the slabs; the plan keeps its position."""
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._threads = None
        self._slabs.clear()

    def _start_slab(self) -> bool:
        """Plans the next slab and starts filling it; returns False if nothing is left to show."""
        state = self._plan.state()
        segments = self._plan.advance(self._batches * self._config.steps)
        if not segments:
            return False
        arrays = self._spare.pop() if self._spare else self._make_arrays()
        clear_padding(arrays, segments, self._config.lanes)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._config.threads, thread_name_prefix="strathack-stream")
        groups: list[list[Segment]] = [[] for _ in range(self._groups)]
        for segment in segments:
            groups[segment.lane % self._groups].append(segment)
        before = self._slabs[-1].tasks if self._slabs else [None] * self._groups
        tasks = [
            self._threads.submit(self._fill_group, group, arrays, task)
            for group, task in zip(groups, before, strict=True)
        ]
        rows = max(segment.row + segment.length for segment in segments)
        self._slabs.append(Slab(arrays, tasks, -(-rows // self._config.steps), state))
        return True

    def _fill_group(self, segments: Sequence[Segment], arrays: Batch, before: Future[None] | None) -> None:
        # Threads take tasks in order, so the task before is at least running and this wait ends.
        if before is not None:
            before.result()
        for segment in segments:
            self._filler.fill(segment, arrays)

    def _make_arrays(self) -> Batch:
        rows, lanes = self._batches * self._config.steps, self._config.lanes
        frames = self._config.frames()
        arrays = {key: self._allocate((rows, lanes, prod(shape)), dtype) for key, (shape, dtype) in frames.items()}
        return arrays | {RECORDS: np.empty((rows, lanes), self._config.record())}


def clear_padding(arrays: Batch, segments: Sequence[Segment], lanes: int) -> None:
    """Zeroes the rows of each lane that no segment fills."""
    rows = len(arrays[RECORDS])
    if sum(segment.length for segment in segments) == rows * lanes:
        return
    filled = np.zeros((rows, lanes), dtype=bool)
    for segment in segments:
        filled[segment.row : segment.row + segment.length, segment.lane] = True
    for array in arrays.values():
        array[~filled] = np.zeros((), array.dtype)
