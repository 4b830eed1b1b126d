"""Streams and events of pretend CUDA: who has waited for whom, so that unordered uses of memory are found."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pretend_cuda.counts import note


class UnorderedStreamsError(RuntimeError):
    """A stream uses memory that another stream may still write, or may recycle meanwhile."""


class Stream:
    """A queue of work; ``queued`` counts what was ever put into it."""

    device_index = 0
    device_type = 1

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.queued = 0
        self.done = 0  # as far as the host knows
        self.seen: dict[Stream, int] = {}  # how much of other streams is done before what is queued next

    def wait_stream(self, other: Stream) -> None:
        self._wait(other, other.queued)

    def wait_event(self, event: Event) -> None:
        if event.stream is not None:
            self._wait(event.stream, event.place)

    def _wait(self, other: Stream, place: int) -> None:
        self.seen[other] = max(self.seen.get(other, 0), place)
        for third, there in other.seen.items():
            self.seen[third] = max(self.seen.get(third, 0), there)

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        note("stream")
        self.done = self.queued

    def query(self) -> bool:
        return True

    def comes_after(self, other: Stream, place: int) -> bool:
        """Whether what is queued here next runs after the first ``place`` entries of another stream."""
        return other is self or place <= max(other.done, self.seen.get(other, 0))


class Event:
    """A place in a stream."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.stream: Stream | None = None
        self.place = 0

    def record(self, stream: Stream | None = None) -> None:
        self.stream = stream or current()
        self.place = self.stream.queued

    def wait(self, stream: Stream | None = None) -> None:
        (stream or current()).wait_event(self)

    def synchronize(self) -> None:
        note("event")
        if self.stream is not None:
            self.stream.done = max(self.stream.done, self.place)

    def query(self) -> bool:
        return True


DEFAULT = Stream()
_local = threading.local()


def current(device: Any = None) -> Stream:
    """The stream that this thread queues its work into."""
    return getattr(_local, "stream", DEFAULT)


@contextmanager
def entered(stream: Stream | None) -> Iterator[None]:
    """Within, this thread queues its work into a stream."""
    before, _local.stream = current(), stream or current()
    try:
        yield
    finally:
        _local.stream = before


@dataclass
class Memory:
    """What is known of a piece of device memory: the stream it was taken in, its last writes, and who may use it.

    Lasting memory, such as weights, is held for as long as any stream is used.
    """

    home: Stream
    writes: dict[Stream, int] = field(default_factory=dict)
    recorded: set[Stream] = field(default_factory=set)
    lasting: bool = False

    def check(self, stream: Stream, what: str) -> None:
        for other, place in self.writes.items():
            if not stream.comes_after(other, place):
                raise UnorderedStreamsError(f"{what}: another stream may not have written this yet")
        if not (self.lasting or stream is self.home or stream in self.recorded):
            raise UnorderedStreamsError(f"{what}: the stream it was taken in may recycle this (record_stream)")
