"""Folders that are elsewhere, through fsspec: what files they have, and bytes of them."""

from __future__ import annotations

import hashlib
import importlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from strathack.dataset.errors import InputError, RunError
from strathack.dataset.manifest import MANIFEST, is_inside, parse_manifest
from strathack.dataset.remote.addresses import without_secrets

Fetched = TypeVar("Fetched")

PACKAGES: Mapping[str, str] = {
    "hf": "huggingface_hub", "https": "aiohttp", "http": "aiohttp", "s3": "s3fs", "gs": "gcsfs",
}  # fmt: skip
"""Scheme → the package that fsspec needs for it."""

TRIES = 5
"""How often bytes are asked for before they are given up; what a folder holds is asked for twice."""

PAUSE = 0.5
"""Seconds before the second try; each further pause is twice as long."""

_MARKS = ("ETag", "etag", "blob_id", "Last-Modified", "LastModified", "last_modified", "mtime", "updated")
"""What file systems tell of a file's version, by the names that they use."""

RETRYING = ("s3", "gs")
"""Schemes whose file systems try again by themselves, many times."""


class UnreachableError(RunError):
    """A place elsewhere cannot be reached now."""


class NotThereError(InputError):
    """There is no such file, folder, repository or revision elsewhere."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that is elsewhere.

    Attributes:
        address: Its address; where there are revisions, with the one that was found.
        size: Its bytes.
        sha256: Its checksum; empty if nobody tells it.
        key: Stands for its content: a digest of its place, its size and its checksum or what else marks its version.
    """

    address: str
    size: int
    sha256: str
    key: str


@contextmanager
def reaching(address: str) -> Iterator[None]:
    """Turns what file systems raise into errors of one line, without any token in it.

    Raises:
        InputError: If there is no such thing, it may not be read, or a package is missing.
        UnreachableError: If it cannot be reached.
    """
    shown = without_secrets(address)
    try:
        yield
    except (InputError, RunError):
        raise
    except FileNotFoundError as error:
        said = without_secrets(str(error).partition("\n")[0])
        reason = next((f" ({part})" for part in ("revision not found", "repository not found") if part in said), "")
        raise NotThereError(f"{shown}: there is no such file or folder{reason}") from None
    except PermissionError:
        raise InputError(f"{shown}: may not be read; see that there is a key or a token, and that it may") from None
    except ImportError:
        package = PACKAGES.get(address.partition(":")[0], "fsspec")
        raise InputError(f'{shown}: needs the package {package}: pip install "strathack[hub]" {package}') from None
    # Each file system has errors of its own (of httpx, aiohttp, botocore), which have nothing in common.
    except Exception as error:
        said = without_secrets(" ".join(str(error).split()))[:200]
        refused = getattr(getattr(error, "response", None), "status_code", getattr(error, "status", None))
        if "Credentials" in type(error).__name__:
            raise InputError(
                f"{shown}: there are no credentials ({said}); for a public bucket of S3, set FSSPEC_S3_ANON=true"
            ) from error
        if refused in (401, 403):
            raise InputError(
                f"{shown}: may not be read ({refused}); see that there is a token, and that it may"
            ) from error
        raise UnreachableError(f"{shown}: cannot be reached ({type(error).__name__}: {said})") from error


def file_system(address: str) -> tuple[Any, str]:
    """Returns fsspec's file system for an address, and the address as it takes it."""
    core = importlib.import_module("fsspec.core")
    system, path = core.url_to_fs(address)
    return system, path


def pinned(address: str) -> str:
    """Returns an address of the Hugging Face hub with the commit that its revision stands for now; others as they are.

    Raises:
        InputError: If there is no such repository or revision, or the address holds a password or a query.
        UnreachableError: If the hub cannot be reached.
    """
    if "://" in address and without_secrets(address) != address:
        raise InputError(f"{without_secrets(address)}: passwords, tokens and queries in addresses are not taken")
    if not address.startswith("hf://"):
        return address
    with reaching(address):
        system, _ = file_system(address)
        place = system.resolve_path(address)
        api = importlib.import_module("huggingface_hub").HfApi(endpoint=system.endpoint, token=system.token)
        commit = api.repo_info(place.repo_id, repo_type=place.repo_type, revision=place.revision).sha
        kind = "" if place.repo_type == "model" else f"{place.repo_type}s/"
        inside = f"/{place.path_in_repo}" if place.path_in_repo else ""
        return f"hf://{kind}{place.repo_id}@{commit}{inside}"


def checksums_of(folder: str) -> dict[str, str] | None:
    """Returns the checksums that a folder tells of its files, name → SHA-256; None if it tells none.

    Raises:
        InputError: If they may not be read.
        FormatError: If the file with the checksums is damaged.
        UnreachableError: If the folder cannot be reached.
    """
    address = f"{folder}/{MANIFEST}"

    def fetch() -> bytes:
        system, path = file_system(address)
        return bytes(system.cat_file(path))

    try:
        text = _again(address, fetch)
    except NotThereError:
        return None
    return parse_manifest(text.decode(errors="replace"), without_secrets(address))


def names_in(folder: str, depth: int) -> list[str]:
    """Returns the names of the files in a folder and below it, as the place lists them.

    Args:
        folder: The folder's address.
        depth: 1 for the folder alone, 2 for the folders in it, too.

    Raises:
        InputError: If there is no such folder, or it may not be read.
        UnreachableError: If it cannot be reached.
    """

    def find() -> list[str]:
        system, root = file_system(folder)
        beginning = f"{root.rstrip('/')}/"
        found = map(str, system.find(root, maxdepth=depth))
        return [path.removeprefix(beginning) for path in found if path.startswith(beginning)]

    return sorted(name for name in _again(folder, find) if is_inside(name))


def file_at(address: str, sha256: str = "") -> RemoteFile:
    """Returns what a place tells of a file.

    Args:
        address: The file's address.
        sha256: Its checksum, if that is known.

    Raises:
        InputError: If there is no such file, or it may not be read.
        UnreachableError: If it cannot be reached.
    """

    def ask() -> dict[str, Any]:
        system, path = file_system(address)
        return dict(system.info(path))

    facts = _again(address, ask)
    size = facts.get("size")
    if size is None:
        raise InputError(f"{without_secrets(address)}: the place does not tell how long it is; strathack dataset pull")
    large = facts.get("lfs")
    sha256 = sha256 or (getattr(large, "sha256", "") if large is not None else "")
    # Of this place alone: what a checksum is said to be of is not known before all of it is there.
    place = re.sub(r"@[^/]+", "", address)
    told = [sha256] if sha256 else [address, *(str(facts[name]) for name in _MARKS if facts.get(name))]
    key = hashlib.sha256("\n".join([place, str(size), *told]).encode()).hexdigest()
    return RemoteFile(address, int(size), sha256, key)


def bytes_of(file: RemoteFile, start: int, stop: int) -> bytes:
    """Fetches bytes of a file; what a dropped connection had brought is asked for again.

    Raises:
        InputError: If the file is gone, or may not be read any more.
        UnreachableError: If it cannot be reached.
    """

    def fetch() -> bytes:
        system, path = file_system(file.address)
        if file.address.startswith("hf://"):  # whose cat_file reads ahead
            with system.open(path, "rb", cache_type="none") as opened:
                opened.seek(start)
                data = bytes(opened.read(stop - start))
        else:
            data = bytes(system.cat_file(path, start=start, end=stop))
        if len(data) > stop - start:
            shown = without_secrets(file.address)
            raise InputError(f"{shown}: the server sends more than is asked for; expected one that knows ranges")
        if len(data) != stop - start:
            raise ConnectionError(f"{len(data)} bytes came of {stop - start}")
        return data

    return _again(file.address, fetch, TRIES)


def _again(address: str, fetch: Callable[[], Fetched], tries: int = 2) -> Fetched:
    """Calls a function until it succeeds, with a pause between tries; what cannot succeed is not tried again."""
    for tried in range(0 if address.startswith(RETRYING) else tries - 1):
        try:
            with reaching(address):
                return fetch()
        except UnreachableError:
            time.sleep(PAUSE * 2**tried)
    with reaching(address):
        return fetch()
