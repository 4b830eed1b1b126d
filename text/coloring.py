"""Histories in colours, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from strathack.text.history import ACTION, OBSERVATION, STRATEGY

_STYLES = {"+": "green", "-": "red", "@@": "cyan", ACTION: "bold yellow", STRATEGY: "bold magenta", OBSERVATION: "dim"}


def colored(text: str) -> Iterator[Text]:
    """Yields the lines of a history, those that are special or changed in colours."""
    changed = False
    for line in text.split("\n"):
        changed = changed or line.startswith(OBSERVATION)
        style = next((style for mark, style in _STYLES.items() if line.startswith(mark)), "")
        is_mark = line.startswith(("<|", "@@"))
        yield Text(line, style if is_mark or changed else "")
