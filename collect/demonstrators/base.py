"""The protocol between a demonstrator and the game it plays."""

from __future__ import annotations

from typing import Protocol

from strathack.collect.playing.session import Session
from strathack.collect.playing.tracker import LabelTracker


class Demonstrator(Protocol):
    """Plays games, one at a time in a process.

    Attributes:
        name: Its name, stored with the dataset.
        version: Its version, stored with the dataset.
    """

    name: str
    version: str

    def make_labels(self) -> LabelTracker:
        """Returns a label tracker for one game, with the names that this demonstrator's labels use."""

    def play(self, session: Session) -> None:
        """Plays until ``session.done``, calling ``session.step`` from this thread.

        It may return earlier (the game's end is then ``demonstrator_stopped``) or raise (the end is then
        ``demonstrator_error``, stored with the error's type and message).
        """

    def warm_up(self) -> None:
        """Compiles and caches what a first game would compile. Called once on each machine before games start."""
