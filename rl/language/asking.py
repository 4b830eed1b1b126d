"""What it is to ask a language model: a prompt, an answer or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Messages = Sequence[Mapping[str, str]]
"""Turns of a conversation, each with ``role`` and ``content``."""


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    Attributes:
        text: The answer.
        tokens_in: Tokens of the prompt, as far as they were told.
        tokens_out: Tokens of the answer.
        seconds: How long it took, without waiting for the answers to others.
    """

    text: str
    tokens_in: int
    tokens_out: int
    seconds: float


class UnansweredError(Exception):
    """A model did not answer, however often it was asked; the message says why, in one line."""


class Client(Protocol):
    """A language model; its methods may be called from several threads."""

    def chat(self, messages: Messages) -> Answer:
        """Answers the last of the messages.

        Raises:
            UnansweredError: If there is no answer.
        """

    def complete(self, text: str, stop: str) -> Answer:
        """Continues a text up to ``stop``, which may be part of the answer.

        Raises:
            UnansweredError: If there is no answer.
        """

    def fits(self, prompt: str | Messages) -> bool:
        """Returns whether a prompt and its answer are known not to exceed the model's context."""

    def close(self) -> None:
        """Gives up requests under way."""
