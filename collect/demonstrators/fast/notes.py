"""What the fast bot notes down about the current frame and the levels, beside the bot's own state."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from strathack.collect.demonstrators.fast.glyphs import CLASSES
from strathack.collect.demonstrators.fast.kernels import HEIGHT, WIDTH, classes_in

BLIND, CONFUSED, STUNNED, HALLUCINATING = 1, 2, 4, 8

_STATUSES = ((b"Blind", BLIND), (b"Conf", CONFUSED), (b"Stun", STUNNED), (b"Hallu", HALLUCINATING))


class Notes:
    """Notes of one game; the agent carries them as its attribute ``notes``.

    Everything in them is derived from the bot's state and is looked at only together with what it was derived from, so
    that notes are never out of date.
    """

    def __init__(self, agent: Any) -> None:
        self._agent = agent
        self._glyphs: np.ndarray | None = None
        self._classes = 0
        self._screen: np.ndarray | None = None
        self._status = 0
        self._charts: defaultdict[tuple[int, int], Chart] = defaultdict(Chart)
        self.search: tuple[Any, int, float] = (None, 0, 0.0)
        """The level, its number of searches, and how uneven they are."""
        self.tiles = np.empty(HEIGHT * WIDTH, np.int32)
        """Scratch space for a list of tiles."""
        self.items: dict[Any, tuple[Any, Any]] = {}
        """By text, category and glyph: what was known when an item was made of them, and a copy of it."""
        self.learned = 0
        """Grows whenever an item is found to be fewer things than before, or a container is looked into."""
        self.choices: dict[Any, Any] = {}
        """Best weapons and the like, by what they were chosen from."""

    @property
    def classes(self) -> int:
        """The classes of all glyphs on the map, as bits. Every observation has a glyph array of its own."""
        glyphs = self._agent.glyphs
        if glyphs is not self._glyphs:
            self._glyphs, self._classes = glyphs, classes_in(glyphs, CLASSES)
        return self._classes

    @property
    def status(self) -> int:
        """The bad conditions in the last line of the screen, as bits."""
        screen = self._agent.last_observation["tty_chars"]
        if screen is not self._screen:
            line = screen[-1].tobytes()
            line.decode()  # the bot decodes it, and would fail here
            self._screen = screen
            self._status = sum(bit for name, bit in _STATUSES if name in line)
        return self._status

    def chart(self, level: Any) -> Chart:
        """Returns the notes about a level."""
        return self._charts[level.key()]


class Chart:
    """Notes about one level.

    Attributes:
        agreed: The glyph that the items remembered at a tile fitted when it was last looked at, i2 [21, 79].
        agreed_pile: Whether the tile showed a pile then, b1 [21, 79].
        shops: By a shopkeeper's place, what the shop was derived from and its tiles.
    """

    def __init__(self) -> None:
        self.agreed = np.full((HEIGHT, WIDTH), -1, np.int16)
        self.agreed_pile = np.zeros((HEIGHT, WIDTH), np.bool_)
        self.shops: dict[tuple[int, int], tuple[bytes, np.ndarray, np.ndarray]] = {}
