"""Files that are whole or absent: atomic writes, and a lock on a folder."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strathack.dataset.errors import InputError

_TEMPORARY = ".tmp-"


def absolute(path: Path) -> Path:
    """A path that means the same in every folder, links kept. Names are taken from such paths: ``.`` has none."""
    return Path(os.path.abspath(path))


def path_text(path: Path) -> str:
    """A path as text that can be written anywhere; bytes that are no UTF-8 become escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")


def atomic_write(path: Path, data: bytes | memoryview) -> None:
    """Writes a file under a temporary name, syncs it, and renames it into place.

    Raises:
        OSError: If the disk is full, say; the temporary file is gone then and ``path`` as it was.
    """
    # Of its own for each write: several processes may write the same game.
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
            error.filename = str(path)  # a failed write names no file of itself
        raise
    sync_folder(path.parent)


def write_output(out: Path, content: bytes) -> None:
    """Writes the file that a command was asked for, at once.

    Raises:
        InputError: If it cannot be written.
    """
    try:
        atomic_write(out, content)
    except OSError as error:
        raise InputError(f"out: {out} cannot be written ({error.strerror})") from None


def sync_folder(folder: Path) -> None:
    """Makes renames and removals in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporary_files(folder: Path) -> None:
    """Removes what a killed writer left under temporary names. Call it with the lock held."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        path.unlink(missing_ok=True)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds ``folder`` for one writer; the lock falls with the process, however it dies.

    Raises:
        InputError: If another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{folder}: another process is writing to this dataset") from None
        yield
    finally:
        os.close(descriptor)
