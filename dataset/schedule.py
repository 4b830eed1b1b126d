"""Plans of streams: which lane shows which steps of which game, and when. Plans are made from lengths alone.

Nothing here reads a file. A plan is a function of the games' lengths and the seed, so a few numbers are enough to put a
stream back to any batch.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import numpy as np


class Segment(NamedTuple):
    """Consecutive steps of one game in one lane.

    Attributes:
        lane: The lane.
        row: The segment's first row, counted from the first row that the call of :meth:`Plan.advance` planned.
        game: The game's place in the dataset.
        step: First step.
        length: Number of steps.
    """

    lane: int
    row: int
    game: int
    step: int
    length: int


@dataclass(frozen=True)
class Share:
    """The part of the games that one of several streams shows; together the streams show each game once.

    Attributes:
        index: The number of this part, from 0.
        of: How many parts there are.
    """

    index: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        """Checks that the part exists."""
        if not 0 <= self.index < self.of:
            raise ValueError(f"part {self.index} of {self.of}; expected 0 to {self.of - 1}")


class GameQueue:
    """Games in the order in which lanes take them, epoch after epoch.

    Args:
        games: Number of games of the dataset.
        seed: Decides the order within each epoch; None keeps the dataset's order.
        share: Which part of the games.
        epochs: How often each game is shown; None repeats the games endlessly.
        usable: Returns whether a game is to be shown at all.
    """

    def __init__(
        self, games: int, seed: int | None, share: Share, epochs: int | None, usable: Callable[[int], bool]
    ) -> None:
        self._games, self._seed, self._share, self._epochs, self._usable = games, seed, share, epochs, usable
        self._epoch = 0
        self._taken = 0
        self._order = self._make_order()

    def _make_order(self) -> np.ndarray:
        if self._seed is None:
            order = np.arange(self._games)
        else:
            order = np.random.default_rng([self._seed, self._epoch]).permutation(self._games)
        return order[self._share.index :: self._share.of]

    def take(self) -> int | None:
        """Takes the next game; returns None when all epochs are over, or an epoch had no game to show."""
        fruitless = 0
        while self._epochs is None or self._epoch < self._epochs:
            while self._taken < len(self._order):
                game = int(self._order[self._taken])
                self._taken += 1
                if self._usable(game):
                    return game
            fruitless += 1
            self._epoch, self._taken = self._epoch + 1, 0
            self._order = self._make_order()
            if fruitless > 1:
                return None
        return None

    def state(self) -> dict[str, int]:
        """Returns the queue's position."""
        return {"epoch": self._epoch, "taken": self._taken}

    def load(self, state: Mapping[str, int]) -> None:
        """Restores a position of the queue."""
        self._epoch, self._taken = state["epoch"], state["taken"]
        self._order = self._make_order()


class Plan(Protocol):
    """Decides what a stream shows, and when."""

    def advance(self, rows: int) -> list[Segment]:
        """Plans the next ``rows`` rows of every lane and moves past them; rows without a segment are padding."""

    def state(self) -> dict[str, Any]:
        """Returns the plan's position as plain values."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a position of the plan."""


_PLANNED_AT_ONCE = 1000
"""Batches whose segments are in memory at a time while a plan is moved."""


def position_after(plan: Plan, state: Mapping[str, Any], batches: int, steps: int) -> dict[str, Any]:
    """Returns the position of a plan some batches of ``steps`` rows after a state; the plan stays where it is."""
    now = plan.state()
    plan.load(state)
    for start in range(0, batches, _PLANNED_AT_ONCE):
        plan.advance(min(batches - start, _PLANNED_AT_ONCE) * steps)
    after = plan.state()
    plan.load(now)
    return after


class LanePlan:
    """Lanes that each walk a game to its end and then take the next one; a :class:`Plan`.

    When several lanes become free at the same row, the lane with the lowest number takes its game first, so the plan
    does not depend on how many rows are planned at once.

    Args:
        lanes: Number of lanes.
        queue: Where games come from.
        lengths: Steps of each game of the dataset, i64 [games].
    """

    def __init__(self, lanes: int, queue: GameQueue, lengths: np.ndarray) -> None:
        self._queue = queue
        self._lengths: list[int] = lengths.tolist()
        self._at: list[tuple[int, int] | None] = [None] * lanes

    def advance(self, rows: int) -> list[Segment]:
        """See :class:`Plan`."""
        segments: list[Segment] = []
        later: list[tuple[int, int]] = []
        for lane in range(len(self._at)):
            self._walk(lane, 0, rows, segments, later)
        while later:
            row, lane = heapq.heappop(later)
            self._walk(lane, row, rows, segments, later)
        return segments

    def _walk(self, lane: int, row: int, steps: int, segments: list[Segment], later: list[tuple[int, int]]) -> None:
        """Plans a lane's game from a row on; if the game ends before the last row, adds the lane to ``later``."""
        at = self._at[lane]
        if at is None:
            taken = self._queue.take()
            if taken is None:
                return
            at = taken, 0
        game, step = at
        left = self._lengths[game] - step
        count = min(left, steps - row)
        segments.append(Segment(lane, row, game, step, count))
        self._at[lane] = None if count == left else (game, step + count)
        if row + count < steps:
            heapq.heappush(later, (row + count, lane))

    def state(self) -> dict[str, Any]:
        """See :class:`Plan`."""
        return {"queue": self._queue.state(), "lanes": [None if at is None else list(at) for at in self._at]}

    def load(self, state: Mapping[str, Any]) -> None:
        """See :class:`Plan`."""
        self._queue.load(state["queue"])
        self._at = [None if at is None else (int(at[0]), int(at[1])) for at in state["lanes"]]


class WindowIndex:
    """All windows of some games, numbered, each within one game.

    Every epoch cuts each game anew, beginning at a random first cut, so that every step is in exactly one window. A
    game's first and last window may be shorter than the others.

    Args:
        lengths: Steps of each game, i64 [games].
        steps: Steps in a full window.
    """

    def __init__(self, lengths: np.ndarray, steps: int) -> None:
        self._lengths, self._steps = lengths, steps
        # If its first window has 1 to `steps` steps, a game is cut into at most this many windows.
        self._ends = np.cumsum(np.where(lengths > 0, -(-(lengths - 1) // steps) + 1, 0))

    def __len__(self) -> int:
        """An upper bound on the windows of an epoch; some numbers have no window."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def window(self, number: int, cut: Callable[[int], int]) -> tuple[int, int, int] | None:
        """A window by its number.

        Args:
            number: 0 to ``len(self) − 1``.
            cut: Game → steps of its first window, 1 to the window's length.

        Returns:
            Game, first step and count of steps, or None if the number has no window.
        """
        game = int(np.searchsorted(self._ends, number, side="right"))
        inside = number - (int(self._ends[game - 1]) if game else 0)
        first = cut(game)
        start = 0 if inside == 0 else first + (inside - 1) * self._steps
        stop = min(first + inside * self._steps, int(self._lengths[game]))
        return (game, start, stop - start) if stop > start else None


class WindowPlan:
    """Random windows, each within one game; a :class:`Plan`.

    Args:
        lanes: Windows in a batch.
        steps: Steps of a window.
        lengths: Steps of each game of the dataset, i64 [games].
        seed: Decides which windows come when.
        share: Which part of the windows.
        epochs: How often each step is shown; None repeats the steps endlessly.
        usable: Returns whether a game is to be shown at all.
        replacement: Whether a window may come twice in an epoch.
    """

    def __init__(
        self,
        lanes: int,
        steps: int,
        lengths: np.ndarray,
        seed: int,
        share: Share,
        epochs: int | None,
        usable: Callable[[int], bool],
        *,
        replacement: bool,
    ) -> None:
        self._lanes, self._steps, self._lengths = lanes, steps, lengths
        self._seed, self._share, self._epochs, self._usable = seed, share, epochs, usable
        self._index = WindowIndex(lengths, steps)
        self._starts = np.cumsum(np.where(lengths > 0, np.maximum(lengths - steps + 1, 1), 0))
        self._replacement = replacement
        windows = -(-int(lengths.sum()) // steps)
        self._size = windows if replacement else len(self._index)
        self._keys = lru_cache(maxsize=2)(partial(_shuffling_keys, seed))
        self._epoch, self._number = 0, share.index

    def advance(self, rows: int) -> list[Segment]:
        """See :class:`Plan`; ``rows`` has to be a whole number of batches."""
        segments = []
        for place in range(rows // self._steps * self._lanes):
            window = self._next()
            if window is None:
                break
            batch, lane = divmod(place, self._lanes)
            segments.append(Segment(lane, batch * self._steps, *window))
        return segments

    def state(self) -> dict[str, Any]:
        """See :class:`Plan`."""
        return {"epoch": self._epoch, "number": self._number}

    def load(self, state: Mapping[str, Any]) -> None:
        """See :class:`Plan`."""
        self._epoch, self._number = state["epoch"], state["number"]

    def _next(self) -> tuple[int, int, int] | None:
        """Returns game, first step and count of steps of the next window; None at the end."""
        fruitless = 0
        while self._epochs is None or self._epoch < self._epochs:
            while self._number < self._size:
                number, self._number = self._number, self._number + self._share.of
                window = self._drawn(number) if self._replacement else self._dealt(number)
                if window is not None and self._usable(window[0]):
                    return window
            fruitless += 1
            self._epoch, self._number = self._epoch + 1, self._share.index
            if fruitless > 1:
                return None
        return None

    def _drawn(self, number: int) -> tuple[int, int, int]:
        rng = np.random.default_rng([self._seed, self._epoch, number])
        drawn = int(rng.integers(self._starts[-1]))
        game = int(np.searchsorted(self._starts, drawn, side="right"))
        start = drawn - (int(self._starts[game - 1]) if game else 0)
        return game, start, min(self._steps, int(self._lengths[game]))

    def _dealt(self, number: int) -> tuple[int, int, int] | None:
        keys = self._keys(self._epoch)

        def cut(game: int) -> int:
            # Of many numbers, so that a small dataset's games are cut anywhere, too.
            return 1 + shuffled(game, 1 << 32, keys) % self._steps

        return self._index.window(shuffled(number, self._size, keys), cut)


def _shuffling_keys(seed: int, epoch: int) -> list[int]:
    """Returns the keys of an epoch's permutation."""
    return np.random.SeedSequence([seed, epoch]).generate_state(4, np.uint64).tolist()


def shuffled(number: int, size: int, keys: Sequence[int]) -> int:
    """Returns where a permutation of 0 to ``size − 1`` puts ``number``, without computing the whole permutation.

    A Feistel network over the next power of four is applied until the result is in range (Black and Rogaway, "Ciphers
    with Arbitrary Finite Domains", 2002). This is not secure encryption: it only has to mix.

    Args:
        number: 0 to ``size − 1``.
        size: Numbers in all.
        keys: One 64-bit key for each round; four are enough.
    """
    bits = max(1, -(-(size - 1).bit_length() // 2))
    mask = (1 << bits) - 1
    while True:
        left, right = number >> bits, number & mask
        for key in keys:
            mixed = (right ^ key) * 0x9E3779B97F4A7C15 & _WORD
            mixed ^= mixed >> 29
            mixed = mixed * 0xBF58476D1CE4E5B9 & _WORD
            left, right = right, left ^ (mixed >> 32) & mask
        number = left << bits | right
        if number < size:
            return number


_WORD = (1 << 64) - 1
