"""A game as a recording that asciinema plays (version 2 of its format)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from strathack.analysis.film import Film, Screen, printable
from strathack.analysis.palette import BACKGROUND, TERMINAL, colour_of, rgb
from strathack.dataset.errors import InputError
from strathack.dataset.files import write_output
from strathack.dataset.schema import SCREEN_COLUMNS, SCREEN_ROWS

CAPTION_ROWS = 2

_CLEAR = "\x1b[0m\x1b[2J"


def write_cast(film: Film, out: Path, *, start: int, stop: int | None, speed: float, caption: bool) -> int:
    """Writes a stretch of a game; each step draws only what has changed on the screen.

    Args:
        film: The game.
        out: The recording.
        start: First step.
        stop: Step after the last; the game's end by default.
        speed: Steps per second.
        caption: Whether to show the strategy below the screen.

    Returns:
        Steps written.

    Raises:
        InputError: If the stretch lies outside the game, or the file cannot be written.
        FormatError: If the game is not as it was written.
    """
    stop = stretch_end(film, start, stop)
    header = {
        "version": 2,
        "width": SCREEN_COLUMNS,
        "height": SCREEN_ROWS + CAPTION_ROWS * caption,
        "title": film.title,
        "env": {"TERM": "xterm-256color"},
        "theme": {"fg": TERMINAL[7], "bg": BACKGROUND, "palette": ":".join(TERMINAL)},
    }
    lines = [json.dumps(header, ensure_ascii=False)]
    for number, text in enumerate(_drawn(film, start, stop, caption)):
        lines.append(json.dumps([round(number / speed, 6), "o", text], ensure_ascii=False))
    # The last screen stays for a second.
    lines.append(json.dumps([round((stop - start) / speed + 1, 6), "o", ""]))
    write_output(out, ("\n".join(lines) + "\n").encode())
    return stop - start


def stretch_end(film: Film, start: int, stop: int | None) -> int:
    """Returns the step after the last of a stretch.

    Raises:
        InputError: If the stretch begins after the game's end.
    """
    if start >= len(film):
        raise InputError(f"start: {start} is beyond the end of {film.game.name}, which has {len(film):,} steps")
    return len(film) if stop is None else min(stop, len(film))


def _drawn(film: Film, start: int, stop: int, caption: bool) -> Iterator[str]:
    """Yields what has to be sent to a terminal for each step."""
    shown: Screen | None = None
    said = ""
    for step, screen in film.screens(start, stop):
        text = _CLEAR if shown is None else ""
        text += _changes(shown, screen)
        saying = _caption(film, step) if caption else ""
        if saying != said:
            text += saying
        shown, said = screen, saying
        row, column = screen.cursor
        yield f"{text}\x1b[{row + 1};{column + 1}H"


def _changes(shown: Screen | None, screen: Screen) -> str:
    """Returns the cursor moves, colours and characters that turn one screen into another."""
    chars = printable(screen.chars)
    if shown is None:
        changed = chars != 32
    else:
        changed = (chars != printable(shown.chars)) | ((screen.colours != shown.colours) & (chars != 32))
    parts = []
    place, colour = None, -1
    for row, column in np.argwhere(changed):
        if place != (row, column):
            parts.append(f"\x1b[{row + 1};{column + 1}H")
        if screen.colours[row, column] != colour:
            colour = int(screen.colours[row, column])
            parts.append(f"\x1b[{30 + colour if colour < 8 else 82 + colour}m")
        parts.append(chr(chars[row, column]))
        place = (row, column + 1)
    return "".join(parts)


def _caption(film: Film, step: int) -> str:
    name = film.strategy_at(step)
    red, green, blue = rgb(colour_of(name))
    rest = film.caption_at(step)[: SCREEN_COLUMNS - 1]
    return (
        f"\x1b[{SCREEN_ROWS + 1};1H\x1b[0m\x1b[K\x1b[1;38;2;{red};{green};{blue}m▌{name[: SCREEN_COLUMNS - 1]}\x1b[0m"
        f"\x1b[{SCREEN_ROWS + 2};1H\x1b[K\x1b[2m {rest}\x1b[0m"
    )
