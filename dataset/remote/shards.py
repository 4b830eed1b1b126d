"""Shards that are elsewhere: their bytes are fetched when they are read, and kept in the cache."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

from strathack.dataset.errors import FormatError
from strathack.dataset.remote.blocks import BLOCK, BlockCache
from strathack.dataset.remote.stores import RemoteFile, bytes_of

CONNECTIONS = 8
"""Ranges of a file that a process fetches at the same time."""

AHEAD = 256
"""The most blocks that one call begins to fetch ahead, eight megabytes."""

BLOCKS_AT_ONCE = 32
"""The most blocks that are fetched by one request, a megabyte."""

Read = TypeVar("Read")


class RemoteShard:
    """A shard elsewhere, read through the cache. Threads may share it.

    Args:
        file: The shard.
        blocks: The cache.
    """

    def __init__(self, file: RemoteFile, blocks: BlockCache) -> None:
        self.file, self._blocks = file, blocks
        self._lock = threading.Lock()
        self._coming: dict[int, Future[dict[int, bytes]]] = {}
        # Asked for ahead before, so that nobody looks for them on disk again, until one of them is missing there.
        self._seen: set[int] = set()

    def read(self, offset: int, size: int) -> bytes:
        """Returns bytes of the shard; fewer only at its end.

        Raises:
            InputError: If the shard is gone, or may not be read any more.
            RunError: If it cannot be reached.
        """
        stop = min(offset + size, self.file.size)
        numbers = _blocks_of(offset, stop)
        if len(numbers) == 1:  # the usual case, and the fastest: no more than what is wanted is read from the cache
            start = numbers[0] * BLOCK
            data = self._blocks.read(self.file.key, numbers[0], offset - start, stop - start, self._length(numbers[0]))
            if data is not None:
                return data
        found = {number: self.kept(number) for number in numbers}
        blocks = {number: block for number, block in found.items() if block is not None}
        blocks |= self.fetched([number for number in numbers if number not in blocks])
        return _part(blocks, offset, stop)

    def kept(self, number: int) -> bytes | None:
        """Returns a block that is in the cache, or None."""
        length = self._length(number)
        return self._blocks.read(self.file.key, number, 0, length, length)

    def _has(self, number: int) -> bool:
        return self._blocks.has(self.file.key, number, self._length(number))

    def _length(self, number: int) -> int:
        return min(BLOCK, self.file.size - number * BLOCK)

    def through(self, read: Callable[[ShardFile], Read]) -> Read:
        """Reads through HDF5; what it misses is fetched, and it reads again, until it misses nothing.

        Args:
            read: Reads from the file; it may be called many times.

        Raises:
            FormatError: If the shard is not as it was written, even after it was fetched once more.
        """
        blocks: dict[int, bytes] = {}
        fresh = False
        while True:
            file = ShardFile(self, blocks)
            try:
                found = read(file)
                if not file.missing:
                    return found
            except FormatError as error:
                if not file.missing and fresh:
                    raise type(error)(f"{error}; fetched twice") from None
                if not file.missing:
                    fresh = True
                    self.forget()
                    blocks.clear()
            blocks.update(self.fetched(sorted(file.missing)))

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Begins to fetch ranges of the shard, offset and size each, that are not in the cache."""
        numbers = {number for offset, size in ranges for number in _blocks_of(offset, offset + size)}
        # No more than this: a process that ends waits for what it has begun.
        first = sorted(numbers - self._seen)[:AHEAD]
        self._begin(first)
        self._seen.update(first)

    def _begin(self, numbers: Sequence[int], *, anew: bool = False) -> list[Future[dict[int, bytes]]]:
        """Begins to fetch blocks that are neither coming nor in the cache; returns what brings those on their way."""
        with self._lock:
            # A block is in the cache before it is no longer coming, so that it is not fetched twice.
            for run in _runs([n for n in numbers if n not in self._coming and (anew or not self._has(n))]):
                self._coming.update(dict.fromkeys(run, _threads(os.getpid()).submit(self._fetch, run)))
            coming = [self._coming[number] for number in numbers if number in self._coming]
        return list(dict.fromkeys(coming))

    def _fetch(self, run: range) -> dict[int, bytes]:
        """Fetches blocks that follow each other, and keeps them in the cache."""
        try:
            start, stop = run.start * BLOCK, min(run.stop * BLOCK, self.file.size)
            data = bytes_of(self.file, start, stop)
            blocks = {number: data[(number - run.start) * BLOCK :][:BLOCK] for number in run}
            for number, block in blocks.items():
                self._blocks.write(self.file.key, number, block)
            return blocks
        finally:
            with self._lock:
                for number in run:
                    self._coming.pop(number, None)

    def fetched(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Returns blocks: fetches them, waits for those on their way, and takes from the cache what came meanwhile."""
        if any(number in self._seen and number not in self._coming for number in numbers):
            self._seen.clear()  # others may have been removed, too
        blocks: dict[int, bytes] = {}
        anew = False
        while missing := [number for number in numbers if number not in blocks]:
            for coming in self._begin(missing, anew=anew):
                blocks.update(coming.result())
            anew = True  # those that seem to be in the cache, and cannot be read
            kept = {number: self.kept(number) for number in missing if number not in blocks}
            blocks |= {number: block for number, block in kept.items() if block is not None}
        return {number: blocks[number] for number in numbers}

    def forget(self, offset: int = 0, size: int | None = None) -> None:
        """Removes blocks from the cache, those of a range or all, so that they are fetched anew."""
        self._seen.clear()
        self._blocks.drop(self.file.key, None if size is None else _blocks_of(offset, offset + size))


def _blocks_of(start: int, stop: int) -> range:
    """Returns the numbers of the blocks that hold the bytes from ``start`` up to but not including ``stop``."""
    return range(start // BLOCK, -(-stop // BLOCK)) if stop > start else range(0)


def _part(blocks: Mapping[int, bytes], start: int, stop: int) -> bytes:
    """Returns the bytes from ``start`` up to but not including ``stop``, of blocks by number."""
    numbers = _blocks_of(start, stop)
    whole = b"".join(blocks[number] for number in numbers)
    return whole[start - numbers.start * BLOCK :][: max(stop - start, 0)] if numbers else b""


@lru_cache(maxsize=1)
def _threads(process: int) -> ThreadPoolExecutor:
    """Returns the threads with which a process fetches; they are not carried over a fork."""
    return ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="strathack-fetch")


def _runs(numbers: Sequence[int]) -> Iterator[range]:
    """Yields ranges of numbers that follow each other, none longer than one request fetches."""
    start = 0
    for place in range(1, len(numbers) + 1):
        ends = place == len(numbers) or numbers[place] != numbers[place - 1] + 1
        if ends or place - start == BLOCKS_AT_ONCE:
            yield range(numbers[start], numbers[place - 1] + 1)
            start = place


class ShardFile(io.RawIOBase):
    """A shard elsewhere as a file that h5py can read.

    Nothing is fetched while HDF5 reads: it holds h5py's lock, for which a thread that fetches may have to wait. What is
    not there is noted in ``missing``, and the read fails.

    Args:
        shard: The shard.
        blocks: The blocks that are in memory; those that the cache has are added.

    Attributes:
        missing: The numbers of the blocks that are to be fetched.
    """

    def __init__(self, shard: RemoteShard, blocks: dict[int, bytes]) -> None:
        super().__init__()
        self._shard, self._at, self._blocks = shard, 0, blocks
        self.missing: set[int] = set()

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the position."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._shard.file.size}[whence]
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Reads into a buffer; returns how many bytes it got.

        Raises:
            OSError: If some of it is missing.
        """
        start, stop = self._at, min(self._at + len(buffer), self._shard.file.size)
        numbers = _blocks_of(start, stop)
        for number in numbers:
            if number not in self._blocks and (block := self._shard.kept(number)) is not None:
                self._blocks[number] = block
        self.missing.update(number for number in numbers if number not in self._blocks)
        if self.missing:
            raise BlockingIOError("some of the file has not been fetched yet")
        data = _part(self._blocks, start, stop)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
