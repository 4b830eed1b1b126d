"""The protocol between a demonstrator and the game it plays."""

from __future__ import annotations

from typing import Protocol

from strathack.collect.playing.session import Session
from strathack.collect.playing.tracker import LabelTracker


class Demonstrator(Protocol):
    """Plays games, one at a time in a process.

    Attributes:
        name: Kept with the dataset.
        version: Kept with the dataset.
    """

    name: str
    version: str

    def make_labels(self) -> LabelTracker:
        """A tracker for one game, with the labels that this demonstrator gives."""

    def play(self, session: Session) -> None:
        """Plays until ``session.done``, calling ``session.step`` from this thread.

        It may return before (the game is then kept as ``demonstrator_stopped``) or raise (kept as
        ``demonstrator_error`` with the error's type and message).
        """

    def warm_up(self) -> None:
        """Compiles and caches what a first game would compile. Called once on a machine before games start."""
