"""Addresses of what is elsewhere, such as hf://datasets/user/name@revision."""

from __future__ import annotations

import os
import re
from pathlib import Path

from strathack.dataset.files import absolute, path_text

SCHEMES = ("hf", "https", "http", "s3", "gs")
"""The beginnings of addresses; what each needs beyond fsspec is in :data:`strathack.dataset.remote.stores.PACKAGES`."""

_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)}):/+(.+)", re.DOTALL)
"""With one slash, too: that is what a :class:`~pathlib.Path` makes of two."""

_SECRETS = re.compile(r"\bhf_[A-Za-z0-9]{16,}|(?<=://)[^/\s'\"]*@|(?<=[^\s'\"])\?[^\s'\"?]+=[^\s'\"]*")
"""Matches tokens of the hub, what stands before the host of an address, and queries."""


def address_of(path: str | os.PathLike[str]) -> str | None:
    """Returns the address that a path stands for, without a slash at its end; None for a path of this machine."""
    found = _ADDRESS.fullmatch(os.fspath(path))
    return None if found is None else f"{found[1]}://{found[2].rstrip('/')}"


def place_text(path: Path) -> str:
    """Returns an address without secrets, or an absolute path, as text that can be written anywhere."""
    address = address_of(path)
    return path_text(absolute(path)) if address is None else without_secrets(address)


def without_secrets(text: str) -> str:
    """Returns a text without the tokens, passwords and signed queries that are in it."""
    return _SECRETS.sub("…", text)


def name_of(address: str) -> str:
    """Returns the last part of an address, which is a file's name if it is the address of a file."""
    return Path(address).name
