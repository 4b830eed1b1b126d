"""Small files in the cache that stand for shards elsewhere, so that these are opened by paths as others are."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from strathack.dataset.errors import FormatError, InputError, RunError
from strathack.dataset.files import atomic_write, shard_order
from strathack.dataset.remote.addresses import name_of, without_secrets
from strathack.dataset.remote.blocks import LIMIT, CacheSettings, gigabytes_of
from strathack.dataset.remote.shards import RemoteShard
from strathack.dataset.remote.stores import RemoteFile, UnreachableError, checksums_of, file_at, names_in, pinned

POINTER = ".remote"
"""Ends the name of a file that stands for a shard elsewhere."""

FOUND = "found.json"
"""The file with the names of those that stand for what was found last at an address."""


def shards_elsewhere(address: str) -> list[Path]:
    """Returns files that stand for the shards of a dataset elsewhere.

    Where the place cannot be reached, what was found there before is taken, with a warning.

    Args:
        address: The address of a folder or of a shard, without a slash at its end.

    Raises:
        InputError: If there are no shards, or they may not be read.
        UnreachableError: If the place cannot be reached, and was not read before.
        RunError: If the cache cannot be written.
    """
    settings = CacheSettings.of_environment()
    folder = settings.folder / "places" / sha256(address.encode()).hexdigest()[:32]
    try:
        found = list(_found(address))
    except UnreachableError as error:
        pointers = _last_found(folder)
        if not pointers:
            raise UnreachableError(f"{error}, and nothing of it is in the cache") from None
        warnings.warn(f"{error}; what is in the cache is read", stacklevel=4)
        return pointers
    if not found:
        raise InputError(f"{without_secrets(address)}: holds no shards (*.h5); expected a dataset")
    settings.blocks().trim_at_times()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Named by their content, too: processes that opened an older revision go on with it.
        pointers = [folder / f"{name}@{file.key[:16]}{POINTER}" for name, file in found]
        contents = [json.dumps(asdict(file)) for _, file in found]
        pairs = [*zip(pointers, contents, strict=True), (folder / FOUND, json.dumps([path.name for path in pointers]))]
        for path, content in pairs:
            if not path.exists() or path.read_text() != content:
                atomic_write(path, content.encode())
    except OSError as error:
        raise RunError(f"{folder}: the cache cannot be written ({error.strerror or error})") from None
    return pointers


def _last_found(folder: Path) -> list[Path]:
    """Returns what stands for the shards that were found the last time."""
    try:
        return [folder / name for name in json.loads((folder / FOUND).read_bytes())]
    except (OSError, ValueError):
        return []


def _found(address: str) -> Iterator[tuple[str, RemoteFile]]:
    """Yields name and facts of each shard."""
    place = pinned(address)
    if place.endswith(".h5"):
        yield name_of(place), file_at(place)
        return
    sums = checksums_of(place)
    names = names_in(place, 1) if sums is None else list(sums)
    for name in sorted(names, key=shard_order):
        if name.endswith(".h5") and "/" not in name:
            yield name, file_at(f"{place}/{name}", (sums or {}).get(name, ""))


def is_elsewhere(path: Path) -> bool:
    """Returns whether a path stands for a shard that is elsewhere."""
    return path.suffix == POINTER


def shown(path: Path) -> str:
    """Returns what a shard is called in messages: its path, or its address elsewhere."""
    return without_secrets(shard_at(path).file.address) if is_elsewhere(path) else str(path)


def size_of(path: Path) -> int:
    """Returns the bytes of a shard, here or elsewhere."""
    return shard_at(path).file.size if is_elsewhere(path) else path.stat().st_size


def shard_at(path: Path) -> RemoteShard:
    """Returns the shard that a path stands for; each process opens it once.

    Raises:
        FormatError: If the file is not what stands for a shard.
    """
    return _shard_at(path, os.getpid(), os.environ.get(LIMIT))


@lru_cache(maxsize=1024)
def _shard_at(path: Path, process: int, limit: str | None) -> RemoteShard:
    """Opens a shard in a process; threads are not carried over a fork."""
    try:
        file = RemoteFile(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise FormatError(f"{path}: no file that stands for a shard elsewhere ({error})") from None
    # The cache that the file is in, which need not be the one that this process would choose.
    return RemoteShard(file, CacheSettings(path.parents[2], gigabytes_of(limit)).blocks())
