"""One observation as text, in five parts: statistics, the map, the message, the inventory and the cursor."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np

from strathack.dataset.errors import InputError, near_match
from strathack.text.geometry import COLUMNS, DIRECTIONS, DISTANCES, ROWS, direction_of, distance_of

Dialect = Literal["wrapper", "fair"]
"""``wrapper``: byte for byte what nle-language-wrapper gives. ``fair``: what a player can see, and no slips."""

DIALECTS: tuple[str, ...] = get_args(Dialect)

NEEDED = ("glyphs", "blstats", "tty_chars", "tty_cursor", "inv_strs", "inv_letters")
"""Observation keys that every dialect needs; ``fair`` needs ``tty_colors``, too."""


class TextObservation(NamedTuple):
    """An observation as text.

    Attributes:
        statistics: The hero's attributes, one "Name: value" each line.
        glyphs: What is on the map: name, distance, directions.
        message: The message, or the page of text that lies over the map.
        inventory: One "letter: item" each line.
        cursor: What the cursor is on.
    """

    statistics: str
    glyphs: str
    message: str
    inventory: str
    cursor: str

    @property
    def text(self) -> str:
        """All parts, each under its name in brackets, as diff history has them (Piterbarg et al., 2024)."""
        return "\n".join(f"{name}[\n{part}\n]" for name, part in zip(self._fields, self, strict=True))


def describe(observation: Mapping[str, np.ndarray], dialect: Dialect = "fair") -> TextObservation:
    """Puts one observation into words.

    Args:
        observation: Observation key → array, as NLE shows it: ``glyphs`` i16 [21, 79], ``blstats`` [27], ``tty_chars``
            u8 [24, 80], ``tty_cursor`` [2], ``inv_strs`` u8 [55, 80], ``inv_letters`` u8 [55], and for the dialect
            ``fair`` ``tty_colors`` u8 or i8 [24, 80].
        dialect: ``wrapper``: what nle-language-wrapper gives, its slips included. ``fair``: the same grammar, without
            what a player could not know: magic items are named by class and colour.

    Raises:
        InputError: If the dialect is unknown, or a key is missing.
    """
    return _describer(dialect).describe(observation)


@cache
def _describer(dialect: str) -> _Describer:
    if dialect not in DIALECTS:
        raise InputError(f"dialect: {dialect!r} is unknown{near_match(dialect, DIALECTS)}")
    return _Describer(dialect)


class _Describer:
    def __init__(self, dialect: str) -> None:
        # Not above: NLE's tables and numba are slow to import, and options need neither.
        from strathack.text.surroundings import Surroundings

        self._surroundings = Surroundings(dialect)
        self._is_fair = dialect == "fair"
        self._inventory = lru_cache(maxsize=256)(inventory_text)

    def describe(self, observation: Mapping[str, np.ndarray]) -> TextObservation:
        try:
            glyphs, blstats, tty_chars = observation["glyphs"], observation["blstats"], observation["tty_chars"]
            cursor, strings, letters = (observation[key] for key in ("tty_cursor", "inv_strs", "inv_letters"))
            tty_colors = observation["tty_colors"] if self._is_fair else tty_chars
        except KeyError as error:
            raise InputError(f"describe: the observation lacks {error.args[0]}; expected {', '.join(NEEDED)}") from None
        numbers = blstats.tolist()
        chars, colors = tty_chars[1 : ROWS + 1, :COLUMNS], tty_colors.view(np.uint8)[1 : ROWS + 1, :COLUMNS]
        return TextObservation(
            statistics_text(numbers, in_order=self._is_fair),
            self._surroundings.describe(glyphs, chars, colors, numbers[1], numbers[0]),
            message_text(tty_chars),
            self._inventory(strings.tobytes(), letters.tobytes()),
            self._cursor(glyphs, chars, colors, numbers, cursor.tolist()),
        )

    def _cursor(
        self, glyphs: np.ndarray, chars: np.ndarray, colors: np.ndarray, numbers: list[int], cursor: list[int]
    ) -> str:
        """Returns what the cursor is on; empty if it is off the map."""
        row, column = cursor[0] - 1, cursor[1]
        # The wrapper counts cells over the ends of rows, and leaves out the first.
        cell = column + row * COLUMNS
        rows, columns = row - numbers[1], column - numbers[0]
        if not (0 < cell < ROWS * COLUMNS and -ROWS < rows <= ROWS and columns < COLUMNS):
            return ""
        place = divmod(cell, COLUMNS)
        name = self._surroundings.name_at(int(glyphs[place]), int(chars[place]), int(colors[place]))
        if not rows and not columns:
            return f"Yourself a {name}"
        return f"{DISTANCES[distance_of(rows, columns)]} {DIRECTIONS[direction_of(rows, columns)]} {name}"


_STATISTICS = """\
Strength: {3}/{2}
Dexterity: {4}
Constitution: {5}
Intelligence: {6}
Wisdom: {7}
Charisma: {8}
Depth: {12}
Gold: {13}
HP: {10}/{11}
Energy: {14}/{15}
AC: {16}
XP: {18}/{19}
Time: {20}
Position: {0}|{1}
Hunger: {hunger}
Monster Level: {17}
Encumbrance: {load}
Dungeon Number: {23}
Level Number: {24}
Score: {9}
Alignment: {alignment}
Condition: {conditions}"""
"""By the indices of ``blstats``."""

_HUNGER = dict(enumerate(("Satiated", "Not Hungry", "Hungry", "Weak", "Fainting", "Fainted", "Starved")))
_LOADS = dict(enumerate(("Unencumbered", "Burdened", "Stressed", "Strained", "Overtaxed", "Overloaded")))
_ALIGNMENTS = {-128: "None", -1: "Chaotic", 0: "Neutral", 1: "Lawful"}

_CONDITIONS = (
    "Stoned", "Slimed", "Strangled", "Food Poisoning", "Terminally Ill", "Blind", "Deaf", "Stunned", "Confused",
    "Hallucinating", "Levitating", "Flying", "Riding",
)  # fmt: skip
"""By bit."""

_HASHED = (11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 12, 0)
"""The bits in the order in which the wrapper tells them, that of its hash table."""


def statistics_text(numbers: list[int], *, in_order: bool = True) -> str:
    """Returns the hero's attributes.

    Args:
        numbers: ``blstats``, 27 numbers.
        in_order: Whether to tell conditions in the order of their bits, not in the wrapper's.
    """
    return _STATISTICS.format(
        *numbers,
        hunger=_HUNGER.get(numbers[21], ""),
        load=_LOADS.get(numbers[22], ""),
        alignment=_ALIGNMENTS.get(numbers[26], ""),
        conditions=_conditions(numbers[25], in_order) if numbers[25] else "None",
    )


def _conditions(bits: int, in_order: bool) -> str:
    order = range(len(_CONDITIONS)) if in_order else _HASHED
    return " ".join(_CONDITIONS[bit] for bit in order if bits >> bit & 1) or "None"


_LAST_OF_PAGE = (b"--More--", b"(end)", b" of ")


def message_text(tty_chars: np.ndarray) -> str:
    """Returns the message: the top line, or a text of several lines up to its last.

    Args:
        tty_chars: u8 [24, 80].
    """
    screen = tty_chars.tobytes()
    width = tty_chars.shape[1]
    first = screen[:width]
    if any(mark in screen for mark in _LAST_OF_PAGE):
        return _page(screen, width)
    return _trimmed(first)


def _page(screen: bytes, width: int) -> str:
    rows = [screen[start : start + width] for start in range(0, len(screen), width)]
    first = _trimmed(rows[0])
    if not first and not rows[1].strip(b" "):
        return ""
    indent = len(rows[0]) - len(rows[0].lstrip(b" "))
    lines = []
    for row in rows:
        line = _trimmed(row[indent:])
        if line:
            lines.append(line)
        if _ends_page(line):
            return "\n".join(lines)
    return first


def _ends_page(line: str) -> bool:
    """Returns whether a line ends a text: "--More--", "(end)", or "(1 of 2)" with one digit each."""
    place = line.find(" of ")
    numbered = place >= 2 and line[place - 2] == "(" and line[place + 5 : place + 6] == ")"
    return numbered or "--More--" in line or "(end)" in line


def _trimmed(row: bytes) -> str:
    return row.strip(b" ").decode("latin-1")


def inventory_text(strings: bytes, letters: bytes) -> str:
    """Returns the inventory, one "letter: item" each line.

    Args:
        strings: The bytes of ``inv_strs``, u8 [55, 80].
        letters: The bytes of ``inv_letters``, u8 [55].
    """
    count = (letters + b"\0").index(0)
    width = len(strings) // len(letters)
    items = (strings[slot * width : (slot + 1) * width].split(b"\0", 1)[0] for slot in range(count))
    return "\n".join(f"{chr(letters[slot])}: {item.decode('latin-1')}" for slot, item in enumerate(items))
