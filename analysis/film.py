"""A game to be watched: its screen and its strategy at any step, and the steps at which the strategy changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import zstandard

from strathack.analysis.runs import starts_of
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.folder import replies_path
from strathack.dataset.frames import FrameReader, FrameSource, StoredFrames
from strathack.dataset.labels import UNLABELLED, names_by_code
from strathack.dataset.printing import told_score
from strathack.dataset.reading import Game
from strathack.dataset.replies import read_replies
from strathack.dataset.schema import OBSERVATIONS, SCREEN_COLUMNS, SCREEN_ROWS

SCREEN = ("tty_chars", "tty_colors", "tty_cursor")
"""The observations that make a screen."""

_BLOCK_STEPS = 512


@dataclass(frozen=True, eq=False)
class Screen:
    """What a terminal shows at one step.

    Attributes:
        chars: Characters, Latin-1, u8 [24, 80].
        colours: Colours, 0 to 15, u8 [24, 80].
        cursor: Row and column.
    """

    chars: np.ndarray
    colours: np.ndarray
    cursor: tuple[int, int]

    @property
    def lines(self) -> list[str]:
        """The 24 rows as text; characters that cannot be printed are spaces."""
        return [line.decode("latin-1") for line in np.ascontiguousarray(printable(self.chars)).view("S80")[:, 0]]


def printable(chars: np.ndarray) -> np.ndarray:
    """Returns characters, u8 of any shape, with a space for each character that Latin-1 does not print."""
    soft_hyphen = 173  # no terminal gives it a column
    return np.where((chars < 32) | ((chars > 126) & (chars < 161)) | (chars == soft_hyphen), np.uint8(32), chars)


class Film:
    """A game's screens and labels by step.

    Screens are read forward, since a replay can only run forward. Screens that were read are kept, compressed, so that
    going back costs little. A film may be used from several threads.

    Args:
        game: The game.
        source: Source of the screens; by default the stored screens.
        label: The column that tells the strategy.

    Raises:
        InputError: If the game has no steps, or no such column.
        FormatError: If the game does not conform to the format.
    """

    def __init__(self, game: Game, source: FrameSource | None = None, label: str = "strategy") -> None:
        if not len(game):
            raise InputError(f"{game.place}: {game.name} has no steps; there is nothing to show")
        self.game = game
        self.strategy, self.substrategy = (game.checked_labels(name) for name in (label, "substrategy"))
        self._label = label
        self._actions = game.action_names()
        self._source = source or StoredFrames()
        self._reader: FrameReader | None = None
        self._read: list[bytes] = []
        self._last: tuple[int, np.ndarray] = (-1, np.zeros(0))
        self._reading = threading.Lock()
        self._closed = False

    def __len__(self) -> int:
        return len(self.game)

    @cached_property
    def title(self) -> str:
        """The game's name, its character, its score and how it ended."""
        info = self.game.info
        who = "-".join(info[key].lower() for key in ("role", "race", "gender", "alignment") if info[key])
        cause = f": {info['cause']}" if info["cause"] else ""
        return f"{self.game.name}  {who}  score {told_score(info['score'])}  {info['end'].replace('_', ' ')}{cause}"

    @cached_property
    def strategy_names(self) -> Mapping[int, str]:
        """Code → name of the strategy."""
        return names_by_code(self.game.stored(self._label).codes)

    @cached_property
    def _substrategy_names(self) -> Mapping[int, str]:
        return names_by_code(self.game.substrategy.codes)

    @cached_property
    def changes(self) -> np.ndarray:
        """Steps at which another strategy begins, the first step included, i64 [runs]."""
        return starts_of(self.strategy)

    def strategy_at(self, step: int) -> str:
        """Returns the name of the strategy at a step."""
        return self.strategy_names[int(self.strategy[step])]

    def substrategy_at(self, step: int) -> str:
        """Returns the name of the substrategy at a step; empty if none was announced."""
        code = int(self.substrategy[step])
        return "" if code == UNLABELLED else self._substrategy_names[code]

    def action_at(self, step: int) -> str:
        """Returns the name of the action at a step; empty if the key is not known."""
        return str(self._actions[step])

    @cached_property
    def replies(self) -> Mapping[int, str]:
        """Step → what a language model replied, by which it decided the step; empty for other players.

        Raises:
            FormatError: If the replies cannot be read.
        """
        replies = read_replies(replies_path(self.game.path.parent, self.game.name))
        return {one.step: one.reply for one in replies if not one.error}

    def caption_at(self, step: int) -> str:
        """Returns a text with the step, the substrategy and the action, as far as these are known."""
        return " · ".join(part for part in (f"step {step:,}", self.substrategy_at(step), self.action_at(step)) if part)

    def change_after(self, step: int) -> int | None:
        """Returns the next step at which another strategy begins; None if there is none."""
        place = int(np.searchsorted(self.changes, step, side="right"))
        return int(self.changes[place]) if place < len(self.changes) else None

    def change_before(self, step: int) -> int | None:
        """Returns the last step before ``step`` at which a strategy began; None if there is none."""
        place = int(np.searchsorted(self.changes, step, side="left")) - 1
        return int(self.changes[place]) if place >= 0 else None

    def has_read(self, step: int) -> bool:
        """Returns whether a step's screen was read already, so that it can be shown at once."""
        return step < len(self._read) * _BLOCK_STEPS

    def screen(self, step: int) -> Screen:
        """Returns the screen at a step.

        Raises:
            FormatError: If the game is not as it was written, or its replay differs from it.
            RunError: If the game cannot be replayed.
        """
        row = self._block(step // _BLOCK_STEPS)[step % _BLOCK_STEPS]
        return _screen(row)

    def screens(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Screen]]:
        """Yields steps and their screens in order; see :meth:`screen`."""
        for step in range(start, len(self) if stop is None else min(stop, len(self))):
            yield step, self.screen(step)

    def find(self, text: str, after: int) -> int | None:
        """Returns the next step whose message line has a text that the step before it did not have, or None.

        Args:
            text: The text to search for; case does not matter.
            after: The step after which to search; this step itself is no result.
        """
        wanted = text.lower()
        said = wanted in self.screen(after).lines[0].lower()
        for step, screen in self.screens(after + 1):
            says = wanted in screen.lines[0].lower()
            if says and not said:
                return step
            said = says
        return None

    def close(self) -> None:
        """Closes the reader; a read that is going on in another thread ends with an error."""
        self._closed = True
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _block(self, index: int) -> np.ndarray:
        """Returns the screens of a block, u8 [steps, elements]; a block read before does not wait for other reads."""
        held, values = self._last
        if held != index:
            if index >= len(self._read):
                self._read_up_to(index)
            values = np.frombuffer(zstandard.decompress(self._read[index]), np.uint8).reshape(-1, _ELEMENTS)
            self._last = (index, values)
        return values

    def _read_up_to(self, index: int) -> None:
        with self._reading:
            while len(self._read) <= index:
                if self._closed:
                    raise RunError(f"{self.game.name}: was closed while it was read")
                self._read.append(zstandard.compress(self._read_on().tobytes(), 1))

    def _read_on(self) -> np.ndarray:
        if self._reader is None:
            self._reader = self._source.open(self.game, SCREEN, 0)
        start = len(self._read) * _BLOCK_STEPS
        stop = min(start + _BLOCK_STEPS, len(self))
        values = np.empty((stop - start, _ELEMENTS), np.uint8)
        self._reader.copy(start, stop, {name: values[:, place] for name, place in _PLACES.items()})
        return values


def _places() -> dict[str, slice]:
    places, at = {}, 0
    for name in SCREEN:
        size = int(np.prod(OBSERVATIONS[name].shape))
        places[name] = slice(at, at + size)
        at += size
    return places


_PLACES = _places()
_ELEMENTS = _PLACES[SCREEN[-1]].stop


def _screen(row: np.ndarray) -> Screen:
    chars, colours, cursor = (row[_PLACES[name]] for name in SCREEN)
    shape = SCREEN_ROWS, SCREEN_COLUMNS
    return Screen(chars.reshape(shape), colours.reshape(shape) & 15, (int(cursor[0]), int(cursor[1])))
