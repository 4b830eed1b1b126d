"""Which games of a dataset an interrupted verification has replayed already."""

from __future__ import annotations

import json
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from strathack.collect.running.pools import Failed, Outcome
from strathack.collect.running.results import Refused
from strathack.dataset import Dataset
from strathack.dataset.files import atomic_write

WRITE_EVERY = 5.0
"""Seconds between writes of the file, which holds all games; what a killed run had not written is replayed again."""


class ReplayRecord:
    """Records which games were replayed, in a file beside the shards; a run that completes removes the file.

    Args:
        data: The dataset folder, or a shard.
        games: The games that are to be replayed. What is recorded of others, or of games that have changed since, is
            forgotten.

    Attributes:
        done: Game name → why the game could not be reproduced; empty if it was.
    """

    def __init__(self, data: Path, games: Dataset) -> None:
        self._path = (data if data.is_dir() else data.parent) / f".replayed-{data.stem}.json"
        self._digests = {name: _digest_of(row) for name, row in zip(games.names, games.rows, strict=True)}
        content = _content_of(self._path)
        self.done: dict[str, str] = {
            name: one["reason"]
            for name, one in content.items()
            if isinstance(one, dict) and one.get("digest") == self._digests.get(name)
        }
        self._written, self._warned = time.monotonic(), False

    @property
    def departed(self) -> dict[str, str]:
        """Name of each game that could not be reproduced → why."""
        return {name: reason for name, reason in self.done.items() if reason}

    def keep(self, outcome: Outcome) -> None:
        """Records the outcome of one game."""
        if isinstance(outcome, Failed):
            reason = outcome.reason
        else:
            reason = outcome.result.reason if isinstance(outcome.result, Refused) else ""
        self.done[outcome.job] = reason
        if time.monotonic() - self._written > WRITE_EVERY:
            self.write()

    def write(self) -> None:
        """Writes the file; where it cannot be written, which is told once, a dataset has to be verified in one run."""
        told = {name: {"digest": self._digests[name], "reason": reason} for name, reason in self.done.items()}
        try:
            atomic_write(self._path, json.dumps(told).encode())
        except OSError as error:
            if not self._warned:
                warnings.warn(
                    f"{self._path}: cannot be written ({error.strerror}); what is replayed from now on is not recorded",
                    stacklevel=2,
                )
            self._warned = True
        self._written = time.monotonic()

    def remove(self) -> None:
        """Removes the file, if there is one."""
        with suppress(OSError):
            self._path.unlink()


def _content_of(path: Path) -> dict[str, Any]:
    """Returns what is recorded in a file; nothing, with a warning, if it is damaged: games can be replayed again."""
    try:
        content: Any = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        warnings.warn(f"{path}: cannot be read ({error}); all games are replayed again", stacklevel=3)
        return {}
    return content if isinstance(content, dict) else {}


def _digest_of(row: np.void) -> str:
    """Returns what a game's keys and frames are told apart by."""
    return f"{row['keys_sha256'].decode()} {row['frames_sha256'].decode()}"
