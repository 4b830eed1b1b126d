"""Environments for tests of learning."""

from __future__ import annotations

import os
import time
from typing import Any

import gymnasium
import numpy as np

from strathack.dataset.schema import OBSERVATIONS

KEYS = ("tty_chars", "tty_colors", "tty_cursor", "blstats")
LENGTH = 6


class Recall(gymnasium.Env[dict[str, np.ndarray], int]):
    """A cue at the start, one of two, is asked for at the end: 1 for naming it, −1 for the other.

    On the way a step counter is shown, and nothing of the cue.
    """

    action_names = ("left", "right")
    cues = (ord("<"), ord(">"))

    def __init__(self, length: int = LENGTH) -> None:
        spaces = {key: (OBSERVATIONS[key].shape, OBSERVATIONS[key].dtype) for key in KEYS}
        self.observation_space = gymnasium.spaces.Dict(
            {key: gymnasium.spaces.Box(0, 255, shape, dtype) for key, (shape, dtype) in spaces.items()}
        )
        self.action_space = gymnasium.spaces.Discrete(2)
        self.length = length
        self._arrays = {key: np.zeros(shape, dtype) for key, (shape, dtype) in spaces.items()}
        self._arrays["tty_cursor"][:] = 12, 40

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self._cue = int(self.np_random.integers(2))
        self._time = 0
        return self._seen(), {}

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self._time += 1
        over = self._time == self.length
        reward = (1.0 if action == self._cue else -1.0) if over else 0.0
        return self._seen(), reward, over, False, {}

    def _seen(self) -> dict[str, np.ndarray]:
        chars = self._arrays["tty_chars"]
        chars[:] = ord(" ")
        chars[12, 40] = self.cues[self._cue] if self._time == 0 else ord("?") if self._asked else ord(".")
        self._arrays["blstats"][20] = self._time
        return self._arrays

    @property
    def _asked(self) -> bool:
        return self._time == self.length - 1


class ShortRecall(Recall):
    """A game of four steps.

    An LSTM's fresh forget gates halve a memory at each step, so over six steps it is luck whether the first weights
    carry the cue far enough to be learned from: two of six seeds did in 150,000 frames, over four steps six of six.
    """

    def __init__(self) -> None:
        super().__init__(4)


class Endless(Recall):
    """Never ends; each step is worth 1."""

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self._time += 1
        return self._seen(), 1.0, False, False, {}


class Worthless(Recall):
    """Its third reward is no number."""

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        observation, reward, *rest = super().step(action)
        return observation, float("nan") if self._time == 3 else reward, *rest


class Dying(Recall):
    """Its process dies, or hangs, when a file asks for it, once; the file's name is in the environment."""

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        for what in ("die", "hang", "raise"):
            try:
                os.unlink(f"{os.environ['STRATHACK_TEST_FOLDER']}/{what}")
            except (FileNotFoundError, KeyError):
                continue
            if what == "die":
                os._exit(1)
            if what == "raise":
                raise ValueError("something broke")
            time.sleep(1000)
        return super().step(action)


class Blind(Recall):
    """Shows the screen's characters alone."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gymnasium.spaces.Dict({"tty_chars": self.observation_space["tty_chars"]})


class RaisesInStep(Recall):
    """Breaks after some steps of its first game."""

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        if self._time == 3:
            raise ValueError("out of order")
        return super().step(action)


class RaisesInSecondReset(Recall):
    """Breaks between two games."""

    resets = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        self.resets += 1
        if self.resets == 2:
            raise ValueError("out of order")
        return super().reset(seed=seed, options=options)
