"""A running game as its demonstrator sees it, with everything recorded on the way."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from strathack.collect.playing.recorder import GameRecorder
from strathack.collect.playing.tracker import LabelTracker
from strathack.dataset.actions import KEY_CODES

STEP_FRAMES = 200
"""Frames that a step may use beyond the recursion limit: a demonstrator that recurses too deeply fails in its own code,
and every recorded step is whole."""


class GameOverError(RuntimeError):
    """A demonstrator went on stepping after the game's end."""


class InvalidActionError(ValueError):
    """A demonstrator's action is no index into ``nle.nethack.ACTIONS``."""


class Session:
    """Steps a game, records each step, and ends the game at its limits.

    Args:
        env: NetHackChallenge after its reset.
        observation: The game's first observation.
        seed: The game's seed, for demonstrators that draw random numbers.
        recorder: Records every step.
        labels: Tracks the strategy that the demonstrator is pursuing.
        max_steps: Steps after which the game is cut off, None for no limit.
        deadline: The time, by ``time.monotonic()``, at which the game is cut off, None for no limit.
        on_step: Called after each step with the number of steps so far.

    Attributes:
        observation: The current observation, read-only. The arrays change with every step.
        end: How the game ended as far as the session knows: ``game`` (NLE reported its end), ``step_limit``,
            ``time_limit``, or None while it runs.
        info: NLE's information about the last step.
        failure: The exception that stepping or recording raised; the demonstrator may have swallowed it.
    """

    def __init__(
        self,
        env: Any,
        observation: Mapping[str, np.ndarray],
        seed: int,
        recorder: GameRecorder,
        labels: LabelTracker,
        *,
        max_steps: int | None = None,
        deadline: float | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> None:
        self.seed = seed
        self.labels = labels
        self.end: str | None = None
        self.info: Mapping[str, Any] = {}
        self.failure: BaseException | None = None
        self.observation = MappingProxyType({key: _read_only(array) for key, array in observation.items()})
        self._env = env
        self._recorder = recorder
        self._max_steps = max_steps
        self._deadline = deadline
        self._on_step = on_step

    @property
    def steps(self) -> int:
        """Steps recorded so far."""
        return self._recorder.steps

    def is_late(self) -> bool:
        """Returns whether the time limit has passed while the game is still running."""
        return self.end is None and self._deadline is not None and time.monotonic() >= self._deadline

    @property
    def done(self) -> bool:
        """Whether the game is over."""
        return self.end is not None

    def step(self, action: int) -> tuple[Mapping[str, np.ndarray], float, bool]:
        """Plays one action.

        Args:
            action: Index into ``nle.nethack.ACTIONS``.

        Returns:
            The next observation (the same arrays as :attr:`observation`), the reward, and whether the game is
            over, either by itself or by a limit.

        Raises:
            GameOverError: If the game was over already.
            InvalidActionError: If the action is no such index.
            RecursionError: If the demonstrator has recursed up to the limit; the game is as it was.
            BaseException: The exception of an earlier step, if one failed; AutoAscend treats such an exception as a
                panic and goes on.
        """
        if self.failure is not None:
            raise self.failure
        if self.end is not None:
            raise GameOverError(f"step called after the game's end ({self.end})")
        if not 0 <= action < len(KEY_CODES):
            raise InvalidActionError(f"action {action!r}; expected an index from 0 to {len(KEY_CODES) - 1}")
        limit = sys.getrecursionlimit()
        try:
            sys.setrecursionlimit(limit)  # refused at the limit: then it cannot be set back either
        except RecursionError:
            raise RecursionError("maximum recursion depth exceeded") from None
        sys.setrecursionlimit(limit + STEP_FRAMES)
        try:
            return self._step(action)
        except BaseException as error:
            self.failure = error
            raise
        finally:
            sys.setrecursionlimit(limit)

    def _step(self, action: int) -> tuple[Mapping[str, np.ndarray], float, bool]:
        labels = self.labels
        self._recorder.record(action, labels.strategy, labels.substrategy, labels.published)
        _, reward, terminated, truncated, info = self._env.step(action)
        self._recorder.record_reward(reward)
        self.info = info
        if terminated or truncated:
            self.end = "game"
        elif self._max_steps is not None and self._recorder.steps >= self._max_steps:
            self.end = "step_limit"
        elif self.is_late():
            self.end = "time_limit"
        if self._on_step is not None:
            self._on_step(self._recorder.steps)
        return self.observation, reward, self.end is not None


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
