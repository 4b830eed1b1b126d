"""Fetches all files of a folder elsewhere into a folder here, checked, and in several goes if need be."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from strathack.dataset.errors import InputError, RunError
from strathack.dataset.files import (
    absolute,
    atomic_write,
    folder_lock,
    is_empty,
    remove_temporary_files,
    told_if_unwritable,
)
from strathack.dataset.manifest import MANIFEST, sha256_of
from strathack.dataset.remote.addresses import address_of, place_text, without_secrets
from strathack.dataset.remote.stores import RemoteFile, bytes_of, checksums_of, file_at, names_in, pinned

BEGUN = ".pull.json"
"""The file in an unfinished folder that tells what is being fetched."""

PART = ".part"
"""Ends the name of an unfinished file."""

PIECE = 1 << 22
"""Bytes that are asked for at once, all of which a lost connection costs."""


@dataclass(frozen=True)
class Pull:
    """What is to be fetched.

    Attributes:
        asked: The source as it was given, as text.
        place: The folder's address, with its revision.
        out: The folder here.
        files: Name → file, in the order in which they are fetched.
    """

    asked: str
    place: str
    out: Path
    files: Mapping[str, RemoteFile]

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files.values())


def planned(source: Path, out: Path) -> Pull:
    """Finds out what is to be fetched; a folder that was begun goes on with the revision that it began with.

    Raises:
        InputError: If there is no such folder, or something else is in the folder here.
        RunError: If the place cannot be reached.
    """
    address = address_of(source) or str(absolute(source))
    asked = place_text(source)
    place = _begun(out, asked) or pinned(address)
    sums = checksums_of(place)
    names = names_in(place, 2) if sums is None else [*sums, MANIFEST]
    if not names:
        raise InputError(f"{without_secrets(address)}: holds no files")
    known = sums or {}
    return Pull(asked, place, out, {name: file_at(f"{place}/{name}", known.get(name, "")) for name in names})


def _begun(out: Path, asked: str) -> str | None:
    """Returns the address with the revision that a folder was begun with, or None for a new folder."""
    try:
        begun = json.loads((out / BEGUN).read_bytes())
        same = begun["asked"] == asked
        place = str(begun["place"])
    except (FileNotFoundError, NotADirectoryError):
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: is a file; expected a new folder") from None
        if out.exists() and not is_empty(out):
            raise InputError(f"{out}: is not empty, and no unfinished pull; expected a new folder") from None
        return None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{out / BEGUN}: damaged; remove the folder") from None
    if not same:
        raise InputError(f"{out}: holds an unfinished pull of {begun['asked']}")
    return place


def pull_all(pull: Pull, parallel: int, on_bytes: Callable[[int], None]) -> None:
    """Fetches what is not there yet.

    Args:
        pull: What to fetch.
        parallel: Files that are fetched at the same time.
        on_bytes: Called with the number of bytes just fetched or found here.

    Raises:
        InputError: If another process fetches into the folder.
        RunError: If the place cannot be reached any more, a file cannot be written, or a checksum differs twice.
    """
    with told_if_unwritable(pull.out, "the same command goes on from there"):
        pull.out.mkdir(parents=True, exist_ok=True)
        begun = {"asked": pull.asked, "place": pull.place}
        with folder_lock(pull.out):
            remove_temporary_files(pull.out)
            atomic_write(pull.out / BEGUN, json.dumps(begun).encode())
            _fetch_files(pull, parallel, on_bytes)
            (pull.out / BEGUN).unlink()


def _fetch_files(pull: Pull, parallel: int, on_bytes: Callable[[int], None]) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(parallel) as threads:
        waiting = [
            threads.submit(_fetch_whole, file, pull.out / name, on_bytes, stop) for name, file in _ordered(pull.files)
        ]
        try:
            for done in as_completed(waiting):
                done.result()
        except BaseException:
            stop.set()
            threads.shutdown(cancel_futures=True)
            raise


def _ordered(files: Mapping[str, RemoteFile]) -> Sequence[tuple[str, RemoteFile]]:
    """Returns the files, the checksums last: their presence says that all others are there."""
    return sorted(files.items(), key=lambda item: (item[0] == MANIFEST, item[0]))


def _fetch_whole(file: RemoteFile, path: Path, on_bytes: Callable[[int], None], stop: threading.Event) -> None:
    """Fetches a file, unless it is there; what is there of it, in this version, is kept."""
    if path.exists() and _is(file, path):
        on_bytes(file.size)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{file.key[:16]}{PART}")
    for again in (False, True):
        _fetch_rest(file, part, on_bytes, stop)
        if stop.is_set():
            return
        if _is(file, part):
            part.rename(path)
            return
        part.unlink()
        on_bytes(-file.size)
        if again:
            raise RunError(f"{without_secrets(file.address)}: its checksum differs, twice; nothing of it is kept")


def _is(file: RemoteFile, path: Path) -> bool:
    """Returns whether a file here is the one elsewhere, by its checksum if that is known, else by its size."""
    return path.stat().st_size == file.size and (not file.sha256 or sha256_of(path) == file.sha256)


def _fetch_rest(file: RemoteFile, part: Path, on_bytes: Callable[[int], None], stop: threading.Event) -> None:
    with part.open("ab") as out:
        if out.tell() > file.size:
            out.truncate(0)
            out.seek(0)
        on_bytes(out.tell())
        while (start := out.tell()) < file.size and not stop.is_set():
            data = bytes_of(file, start, min(start + PIECE, file.size))
            out.write(data)
            out.flush()
            on_bytes(len(data))
        os.fsync(out.fileno())
