"""Which games of a dataset an interrupted verification has replayed already."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from strathack.collect.running.pools import Failed, Outcome
from strathack.collect.running.results import Refused
from strathack.dataset.files import atomic_write


class ReplayRecord:
    """Records which games were replayed, in a file beside the shards; a run that completes removes the file.

    Args:
        data: The dataset folder, or a shard.

    Attributes:
        done: Game name → why the game could not be reproduced; empty if it was.
    """

    def __init__(self, data: Path) -> None:
        self._path = (data if data.is_dir() else data.parent) / f".replayed-{data.stem}.json"
        content: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}
        self.done: dict[str, str] = content

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
        if os.access(self._path.parent, os.W_OK):  # a read-only dataset has to be verified in one run
            atomic_write(self._path, json.dumps(self.done).encode())

    def remove(self) -> None:
        """Removes the file."""
        self._path.unlink(missing_ok=True)
