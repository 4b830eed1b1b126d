"""Atomic writes, which leave files whole or absent, and a lock on a folder."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strathack.dataset.errors import InputError, RunError

_TEMPORARY = ".tmp-"

_MERGED = re.compile(r"shard-\d+\.h5")


def absolute(path: Path) -> Path:
    """Returns a path as an absolute path, links kept. A file's name is taken from it, since ``.`` has no name."""
    return Path(os.path.abspath(path))


def path_text(path: Path) -> str:
    """Returns a path as text that can be written anywhere; bytes that are not UTF-8 become escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")


def atomic_write(path: Path, data: bytes | memoryview) -> None:
    """Writes a file under a temporary name, syncs it, and renames it into place.

    Raises:
        OSError: If writing fails, say on a full disk; the temporary file is then removed and ``path`` is unchanged.
    """
    # Each write has its own temporary file, since several processes may write the same game.
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(4)}-{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # the error of a failed write does not name a file
        raise
    sync_folder(path.parent)


def write_output(out: Path, content: bytes) -> None:
    """Writes the output file of a command, whole or not at all.

    Raises:
        InputError: If the file cannot be written.
    """
    try:
        atomic_write(out, content)
    except OSError as error:
        raise InputError(f"out: {out} cannot be written ({error.strerror})") from None


def is_merged(name: str) -> bool:
    """Returns whether a shard's name is that of one that several games were merged into."""
    return _MERGED.fullmatch(name) is not None


def shard_order(name: str) -> tuple[bool, str]:
    """Returns a key that sorts the names of a dataset's shards: merged ones in order, then one-game shards by name."""
    return not is_merged(name), name


def sync_folder(folder: Path) -> None:
    """Makes renames and removals in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporary_files(folder: Path) -> None:
    """Removes the temporary files that a killed writer left. Hold the folder's lock when calling this."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        path.unlink(missing_ok=True)


def is_empty(folder: Path) -> bool:
    """Returns whether a folder holds nothing but temporary files that a killed writer may have left."""
    return all(path.name.startswith(_TEMPORARY) for path in folder.iterdir())


def check_writable(path: Path) -> None:
    """Checks that a folder can be written or made.

    Raises:
        InputError: If it cannot.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"{existing}: is a file; expected a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{existing}: is not writable")


@contextmanager
def told_if_unwritable(path: Path, then: str) -> Iterator[None]:
    """Turns a failure to write into an error of one line.

    Args:
        path: What is written, where the failure names no file.
        then: What a user has to know then.

    Raises:
        RunError: In place of an ``OSError`` of the system.
    """
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise
        raise RunError(f"{error.filename or path}: cannot be written ({error.strerror}); {then}") from error


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Locks ``folder`` for one writer; the lock ends with the process, however the process ends.

    Raises:
        InputError: If another process holds the lock.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{folder}: another process is writing to it") from None
        yield
    finally:
        os.close(descriptor)
