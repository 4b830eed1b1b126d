"""The protocol between a demonstrator and the game it plays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from strathack.collect.playing.session import Session
from strathack.collect.playing.tracker import LabelTracker

Result = TypeVar("Result")


class DifferenceError(SystemExit):
    """The fast bot does something else than the bot. A ``SystemExit``, since the bot survives all other errors."""


class PlayAgainError(Exception):
    """A demonstrator cannot play this game as it should; another one can.

    Attributes:
        demonstrator: The one that can.
    """

    def __init__(self, demonstrator: Demonstrator) -> None:
        super().__init__("the game is to be played again")
        self.demonstrator = demonstrator


def played_by(demonstrator: Demonstrator, play: Callable[[Demonstrator], Result]) -> Result:
    """Has a game played by a demonstrator, or by the one that it names if it cannot.

    Args:
        demonstrator: The demonstrator.
        play: Plays the game from its start, and returns what came of it.
    """
    try:
        return play(demonstrator)
    except PlayAgainError as again:
        return play(again.demonstrator)


class Demonstrator(Protocol):
    """Plays games, one at a time in a process.

    Attributes:
        name: Its name, stored with the dataset.
        version: Its version, stored with the dataset.
        bot: How it plays, stored with each game; empty if there is only one way.
        notice: What a user should know before it plays; None if there is nothing.
    """

    name: str
    version: str
    bot: str
    notice: str | None

    def make_labels(self) -> LabelTracker:
        """Returns a label tracker for one game, with the names that this demonstrator's labels use."""

    def play(self, session: Session) -> None:
        """Plays until ``session.done``, calling ``session.step`` from this thread.

        It may return earlier (the game's end is then ``demonstrator_stopped``) or raise (the end is then
        ``demonstrator_error``, stored with the error's type and message).

        Raises:
            PlayAgainError: If another demonstrator has to play the game, from its start.
        """

    def warm_up(self) -> None:
        """Compiles and caches what a first game would compile. Called once on each machine before games start."""
