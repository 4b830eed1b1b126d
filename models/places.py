"""Where checkpoints are: those of runs, and those that come with this package."""

from __future__ import annotations

from pathlib import Path

from strathack.dataset.errors import InputError

LAST, BEST = "last.safetensors", "best.safetensors"
"""A run's checkpoints: of its current state, and of its best validation."""

PRETRAINED = Path(__file__).parent / "pretrained"
"""The folder of the policies that come with this package."""


def published() -> dict[str, Path]:
    """Returns the policies that come with this package: name → checkpoint."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def is_published(path: Path) -> bool:
    """Returns whether a path is the name of a policy that comes with this package, and no file or folder here."""
    return not path.exists() and str(path) in published()


def is_policy(path: Path) -> bool:
    """Returns whether a path is a checkpoint, a run's folder with one, or the name of a policy of this package."""
    return path.suffix == ".safetensors" or is_published(path) or any((path / name).is_file() for name in (BEST, LAST))


def checkpoint_at(path: Path) -> Path:
    """Returns the path itself; for a run's folder, the path of its best or last checkpoint; for a name, its policy's.

    Raises:
        InputError: If a folder has no checkpoint.
    """
    if is_published(path):
        return published()[str(path)]
    if path.is_dir():
        for name in (BEST, LAST):
            if (path / name).exists():
                return path / name
        raise InputError(f"{path}: no checkpoint in it; expected {BEST} or {LAST}")
    return path
