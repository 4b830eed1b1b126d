"""The checksums of a folder's files, as ``sha256sum`` writes and checks them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from strathack.dataset.errors import FormatError
from strathack.dataset.files import atomic_write

MANIFEST = "checksums.sha256"
"""The file with the checksums of all others: ``sha256sum --check checksums.sha256``."""

_READ = 1 << 20

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ):
            digest.update(part)
    return digest.hexdigest()


def files_of(folder: Path) -> list[str]:
    """Returns the files of a folder and of the folders in it, by their names below it; hidden ones are left out."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if not any(part.startswith(".") for part in path.parts))


def write_manifest(folder: Path, known: Mapping[str, str]) -> None:
    """Writes the checksums of a folder's files.

    Args:
        folder: The folder.
        known: Name → SHA-256 of files of which it is known already.

    Raises:
        OSError: If it cannot be written.
    """
    names = [name for name in files_of(folder) if name != MANIFEST]
    lines = [f"{known.get(name) or sha256_of(folder / name)}  {name}\n" for name in names]
    atomic_write(folder / MANIFEST, "".join(lines).encode())


def parse_manifest(text: str, where: str) -> dict[str, str]:
    """Reads checksums; returns name → SHA-256.

    Args:
        text: The content of the file.
        where: What the file is called in error messages.

    Raises:
        FormatError: If a line has another form, or names a file elsewhere.
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        found = _LINE.fullmatch(line)
        if found is None or not is_inside(found[2]):
            raise FormatError(f"{where}, line {number}: {line[:80]!r}; expected a SHA-256 and the name of a file")
        sums[found[2]] = found[1]
    return sums


def is_inside(name: str) -> bool:
    """Returns whether a name is that of a file below a folder, not hidden, and leads nowhere else."""
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") for part in parts)
    return bool(parts) and not name.startswith("/") and not hidden and "\\" not in name and "\0" not in name


def differing(folder: Path, sums: Mapping[str, str]) -> list[str]:
    """Returns the files whose content is not what the checksums say, and those that are missing.

    Args:
        folder: The folder.
        sums: Name → SHA-256.
    """
    return [name for name in sums if not (folder / name).is_file() or sha256_of(folder / name) != sums[name]]
