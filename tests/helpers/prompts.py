"""Frames to tell a language model of, and a model that only knows how long a prompt may be."""

from __future__ import annotations

from typing import Any

import numpy as np

from strathack.dataset.schema import OBSERVATIONS
from strathack.rl.language.asking import Answer, Messages
from strathack.text.describing import NEEDED


def frame(message: str = "", column: int = 10, turn: int = 1) -> dict[str, np.ndarray]:
    """A frame of a hero alone on a dark map."""
    seen = {key: np.zeros(OBSERVATIONS[key].shape, OBSERVATIONS[key].dtype) for key in (*NEEDED, "tty_colors")}
    seen["glyphs"][:] = 2359  # stone
    seen["tty_chars"][:] = ord(" ")
    seen["tty_chars"][0, : len(message)] = list(message.encode())
    seen["tty_chars"][6, column] = ord("@")
    seen["blstats"][:2] = column, 5
    seen["blstats"][20] = turn
    seen["tty_cursor"][:] = 6, column
    seen["inv_letters"][0] = ord("a")
    seen["inv_strs"][0, :6] = list(b"a rock")
    return seen


class Roomy:
    """A model whose context has some characters."""

    def __init__(self, characters: int = 10**9) -> None:
        self.characters = characters

    def chat(self, messages: Any) -> Answer:
        raise AssertionError

    def complete(self, text: str, stop: str) -> Answer:
        raise AssertionError

    def fits(self, prompt: str | Messages) -> bool:
        text = prompt if isinstance(prompt, str) else "".join(turn["content"] for turn in prompt)
        return len(text) <= self.characters

    def close(self) -> None:
        pass
