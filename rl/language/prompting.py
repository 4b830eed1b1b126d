"""What asking a language model step by step takes, whatever the form of its prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from strathack.rl.language.asking import Answer, Client, Messages

P = TypeVar("P", str, Messages)

INVALID = "esc"
"""The action in place of a reply that names none."""


@dataclass(frozen=True)
class Move:
    """What a reply means.

    Attributes:
        actions: Names of the actions to take, one after the other.
        valid: Whether the reply named an action; if not, ``actions`` is the escape key.
        strategy: The strategy that it told; empty if none.
    """

    actions: tuple[str, ...]
    valid: bool = True
    strategy: str = ""


class Prompter(Protocol):
    """What one game's model is asked, from frame to frame."""

    def pages(self, observation: Mapping[str, np.ndarray]) -> tuple[str, ...]:
        """Returns actions to take at once because the model need not be asked on this frame; none if it is to be."""

    def look(self, observation: Mapping[str, np.ndarray]) -> None:
        """Takes in the frame that the model is asked about next."""

    def asked(self, client: Client) -> str | Messages:
        """Returns the prompt: a text that is continued, or a conversation."""

    def ask(self, client: Client, prompt: str | Messages) -> Answer:
        """Asks the model.

        Raises:
            UnansweredError: If there is no answer.
        """

    def understood(self, reply: str) -> Move:
        """Returns what a reply means, and keeps it for later prompts."""


class Fitting:
    """How many of the last observations a prompt shows: as many as fit the model's context.

    What fitted once is remembered, so that a game whose history no longer fits is not tried from its whole each time.

    Args:
        most: How many a prompt may show.
    """

    def __init__(self, most: int) -> None:
        self._fitted = most

    def longest(self, seen: int, prompt: Callable[[int], P], fits: Callable[[P], bool]) -> P:
        """Returns the longest prompt that fits and shows at most one observation more than the last did.

        If none fits, returns that of a single observation.

        Args:
            seen: How many observations there are to show.
            prompt: Returns the prompt that shows so many.
            fits: Returns whether a prompt fits.
        """
        # One more than fitted last time, since observations differ in length.
        for shown in range(min(seen, self._fitted + 1), 1, -1):
            longest = prompt(shown)
            if fits(longest):
                self._fitted = shown
                return longest
        self._fitted = 1
        return prompt(1)
