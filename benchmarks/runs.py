"""Runs of this package's commands, for benchmarks that need several."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def strathack(*words: object) -> None:
    """Runs a command to its end."""
    subprocess.run([sys.executable, "-m", "strathack", *map(str, words), "--quiet"], check=True)


def trained(command: str, run: Path, words: Sequence[object], end: Sequence[object]) -> None:
    """Trains by a command, or goes on with a run that was cut.

    Args:
        command: The command.
        run: The run's folder.
        words: What a new run is given.
        end: The options that say when it ends.
    """
    if (run / "options.json").exists():
        strathack(command, "--resume", run, *end)
    else:
        strathack(command, *words, "--out", run, *end)
