"""Counts what was done in a run so far."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from strathack.rl.environments.stepping import EndedGame

RECENT = 100
"""How many of the last games the means and medians are taken over."""


@dataclass
class Counters:
    """What was done in a run so far; a resumed run goes on counting.

    Attributes:
        updates: Updates of the weights.
        frames: Steps that were learned from.
        seconds: Seconds spent.
        games: Games that ended.
        total_return: Sum of the rewards of all these games.
        lost: Rollout workers that died or hung, and were replaced.
        why_lost: Why the last of them was replaced.
        returns: Sums of the rewards of each of the last games.
        lengths: Steps of each of the last games.
        scores: NetHack's scores of the last games, if scores are shown.
        validation_nll: NLL of held-out demonstrations when last measured, nats, which shows how much of the cloned
            skill is kept; None if it is not measured.
    """

    updates: int = 0
    frames: int = 0
    seconds: float = 0.0
    games: int = 0
    total_return: float = 0.0
    lost: int = 0
    why_lost: str = ""
    returns: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    lengths: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))
    scores: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))
    validation_nll: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add_game(self, game: EndedGame) -> None:
        """Counts a game that ended; may be called from any thread."""
        with self._lock:
            self.games += 1
            self.total_return += game.reward
            self.returns.append(game.reward)
            self.lengths.append(game.steps)
            if game.score is not None:
                self.scores.append(game.score)

    def add_loss(self, why: str) -> None:
        """Counts a rollout worker that was replaced; may be called from any thread."""
        with self._lock:
            self.lost += 1
            self.why_lost = why

    def recent(self) -> dict[str, float]:
        """Returns means and medians over the last games; empty before the first game has ended."""
        with self._lock:
            if not self.returns:
                return {}
            values = {
                "return/mean": fmean(self.returns),
                "return/median": float(median(self.returns)),
                "length/mean": fmean(self.lengths),
            }
            if self.scores:
                values |= {"score/mean": fmean(self.scores), "score/median": float(median(self.scores))}
            return values

    def to_values(self) -> dict[str, Any]:
        """Returns the counters as plain values."""
        with self._lock:
            values = {name: value for name, value in vars(self).items() if not name.startswith("_")}
            return {name: list(value) if isinstance(value, deque) else value for name, value in values.items()}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Counters:
        """The inverse of :meth:`to_values`."""
        arguments: dict[str, Any] = {
            name: deque(value, maxlen=RECENT) if isinstance(value, list) else value for name, value in values.items()
        }
        # Runs of the release before have not summed them up.
        return cls(**{"total_return": math.nan, **arguments})
