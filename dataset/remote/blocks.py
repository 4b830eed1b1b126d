"""A cache on disk of bounded size: blocks of files that are elsewhere, each in a file of its own.

A block is there whole or not at all, so that any number of processes may read and write the same blocks. Those not used
for longest are removed first.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
import shutil
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from strathack.dataset.errors import InputError

BLOCK = 1 << 15
"""Bytes of a block. Smaller ones fetch less that is not needed, larger ones need fewer files."""

_TRIMMED = 0.9
"""The share of the limit that a cache is cut back to."""

_LOOK_EVERY = 1 << 26
"""Bytes that a process writes before it looks how large the cache is."""

_TRIM_EVERY = 600.0
"""Seconds between the looks that processes take when they open a dataset."""

_USED_AGAIN = 300.0
"""Seconds after which another use of a block is noted."""

_ABANDONED = 3600.0
"""Seconds after which an unfinished block is one that nobody writes any more."""

LIMIT = "STRATHACK_CACHE_GB"
"""The environment variable that says how large the cache may grow."""

DEFAULT_GIGABYTES = 10.0


class BlockCache:
    """Blocks by the key of their file, which stands for the file's content, and their number.

    Args:
        folder: The cache's folder; made when the first block is written.
        limit: The most bytes that it may hold; for a moment, it may hold more.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._lock = threading.Lock()
        self._unlooked = 0
        self._told = False

    def _path(self, key: str, number: int) -> str:
        return f"{self._folder}/{key[:2]}/{key}/{number}"

    def read(self, key: str, number: int, start: int, stop: int, length: int) -> bytes | None:
        """Returns bytes of a block, or None if the block is not there.

        Args:
            key: The file's key.
            number: The block's number.
            start: First byte in the block.
            stop: Byte after the last.
            length: Bytes of the whole block; one of another length was not written to its end.
        """
        try:
            descriptor = os.open(self._path(key, number), os.O_RDONLY)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if status.st_size != length:
                return None
            if time.time() - status.st_mtime > _USED_AGAIN:
                with suppress(OSError):
                    os.utime(descriptor)
            data = os.pread(descriptor, stop - start, start)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return data if len(data) == stop - start else None

    def has(self, key: str, number: int, length: int) -> bool:
        """Returns whether a block is there, written to its end."""
        try:
            return os.stat(self._path(key, number)).st_size == length
        except OSError:
            return False

    def write(self, key: str, number: int, data: bytes) -> None:
        """Writes a block; where that fails, also after other blocks were removed, warns that nothing is kept."""
        try:
            self._write(key, number, data)
        except OSError as error:
            # Once: if that does not help, the disk is full of something else.
            if self._told or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                self._warn(error)
                return
            self.trim(int(self.size() / 2))
            try:
                self._write(key, number, data)
            except OSError as again:
                self._warn(again)
                return
        with self._lock:
            self._unlooked += len(data)
            look, self._unlooked = self._unlooked >= _LOOK_EVERY, self._unlooked % _LOOK_EVERY
        if look:
            self.trim()

    def _warn(self, error: OSError) -> None:
        """Tells once that nothing is kept; what was fetched is used all the same."""
        with self._lock:
            told, self._told = self._told, True
        if not told:
            warnings.warn(
                f"{self._folder}: the cache cannot be written ({error.strerror or error}), so that bytes are fetched "
                "each time; STRATHACK_CACHE names another folder for it",
                stacklevel=3,
            )

    def _write(self, key: str, number: int, data: bytes) -> None:
        path = Path(self._path(key, number))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{number}-{secrets.token_hex(4)}")
        try:
            temporary.write_bytes(data)
            temporary.rename(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise

    def drop(self, key: str, numbers: Iterable[int] | None = None) -> None:
        """Removes blocks of a file; by default all."""
        if numbers is None:
            shutil.rmtree(Path(self._path(key, 0)).parent, ignore_errors=True)
        for number in numbers or ():
            with suppress(OSError):
                os.unlink(self._path(key, number))

    def size(self) -> int:
        """Returns the bytes of all blocks."""
        return sum(size for _, size, _ in self._blocks())

    def _blocks(self) -> Iterator[tuple[float, int, str]]:
        """Yields last use, size and path of each block; those that go meanwhile are left out.

        So are those that are being written, unless their writer was killed long ago.
        """
        for folder in self._folder.glob("*/*/"):
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(OSError):
                        status = entry.stat()
                        if not entry.name.startswith(".") or time.time() - status.st_mtime > _ABANDONED:
                            yield status.st_mtime, status.st_size, entry.path

    def trim_at_times(self) -> None:
        """Trims the cache, unless some process did so a short time ago: to look at all blocks takes seconds."""
        stamp = self._folder / ".trimmed"
        with suppress(OSError):
            if stamp.exists() and time.time() - stamp.stat().st_mtime < _TRIM_EVERY:
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            stamp.touch()
        self.trim()

    def trim(self, limit: int | None = None) -> None:
        """Removes the blocks not used for longest, if there are more bytes than the limit allows."""
        limit = self._limit if limit is None else limit
        blocks = sorted(self._blocks())
        size = sum(size for _, size, _ in blocks)
        if size <= limit:
            return
        for _, length, path in blocks:
            with suppress(OSError):
                os.unlink(path)
            size -= length
            if size <= _TRIMMED * limit:
                return


@dataclass(frozen=True)
class CacheSettings:
    """Where the cache is, and how large it may grow.

    Attributes:
        folder: ``STRATHACK_CACHE``; by default ``strathack`` in the user's folder for caches.
        gigabytes: ``STRATHACK_CACHE_GB``; by default 10.
    """

    folder: Path
    gigabytes: float

    @classmethod
    def of_environment(cls) -> CacheSettings:
        """Reads the settings.

        Raises:
            InputError: If the size is no number above 0.
        """
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = os.environ.get("STRATHACK_CACHE") or Path(caches, "strathack")
        return cls(Path(folder), gigabytes_of(os.environ.get(LIMIT)))

    def blocks(self) -> BlockCache:
        """Returns the cache of blocks, the same for all that this process opens."""
        return _cache_at(self.folder / "blocks", int(self.gigabytes * 1e9), os.getpid())


@lru_cache(maxsize=16)
def _cache_at(folder: Path, limit: int, process: int) -> BlockCache:
    """Returns a cache, which counts what its process writes; its lock is not carried over a fork."""
    return BlockCache(folder, limit)


def gigabytes_of(text: str | None) -> float:
    """Returns how large the cache may grow.

    Raises:
        InputError: If that is no finite number above 0.
    """
    try:
        gigabytes = float(text or DEFAULT_GIGABYTES)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < math.inf:
        raise InputError(f"{LIMIT}: {text!r}; expected a finite number above 0")
    return gigabytes
