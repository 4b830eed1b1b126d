"""Where checkpoints are: those of runs, and those that come with this package."""

from __future__ import annotations

from pathlib import Path

from strathack.dataset.errors import InputError
from strathack.dataset.remote.addresses import address_of
from strathack.dataset.remote.hub import downloaded, repository_of

LAST, BEST = "last.safetensors", "best.safetensors"
"""A run's checkpoints: of its current state, and of its best validation."""

MODEL = "model.safetensors"
"""The checkpoint in the folder of a published policy, by the Hugging Face hub's name for it."""

PRETRAINED = Path(__file__).parent / "pretrained"
"""The folder of the policies that come with this package."""


def published() -> dict[str, Path]:
    """Returns the policies that come with this package: name → checkpoint."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def is_published(path: Path) -> bool:
    """Returns whether a path is the name of a policy that comes with this package, and no file or folder here."""
    return not path.exists() and str(path) in published()


def is_policy(path: Path) -> bool:
    """Returns whether a path is a checkpoint, a folder with one, or the name or address of a published policy."""
    address = address_of(path)
    if address is not None:
        return address.startswith("hf://") and not address.startswith("hf://datasets/")
    folder = any((path / name).is_file() for name in (BEST, LAST, MODEL))
    return path.suffix == ".safetensors" or is_published(path) or folder


def checkpoint_at(path: Path) -> Path:
    """Returns the path of a checkpoint: of a folder, its best or last one; of a name or an address, its policy's.

    Args:
        path: A checkpoint, a run's folder, the folder or the address of a published policy
            (``hf://user/name@revision``, which is downloaded), or the name of one that comes with this package.

    Raises:
        InputError: If a folder has no checkpoint, or there is none at an address.
        RunError: If an address cannot be reached.
    """
    address = address_of(path)
    if address is not None:
        repository, revision = repository_of(address)
        return downloaded(repository, MODEL, revision)
    if is_published(path):
        return published()[str(path)]
    if path.is_dir():
        for name in (BEST, LAST, MODEL):
            if (path / name).exists():
                return path / name
        raise InputError(f"{path}: no checkpoint in it; expected {BEST}, {LAST} or {MODEL}")
    return path
