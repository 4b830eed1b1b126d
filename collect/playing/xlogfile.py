"""NetHack's xlogfile, which has a line for every finished game."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from strathack.dataset.schema import GAME_DTYPE


class LogError(ValueError):
    """A field of an xlogfile line is invalid; the message names the field."""


@dataclass(frozen=True)
class LogEntry:
    """NetHack's line about a game that is over, from its xlogfile.

    Attributes:
        line: The line as written: ``key=value``, separated by tabs (NetHack 3.6) or colons (3.4.3).
    """

    line: str

    @cached_property
    def fields(self) -> dict[str, str]:
        """Key → value."""
        separator = "\t" if "\t" in self.line else ":"
        return dict(part.split("=", 1) for part in self.line.split(separator) if "=" in part)

    @property
    def cause(self) -> str:
        """Cause of death and what the hero was doing ("killed by a coyote, while sleeping"), or "quit" and so on."""
        fields = self.fields
        cause = fields.get("death", "")
        return f"{cause}, while {fields['while']}" if fields.get("while") else cause

    def whole(self, field: str, default: int, column: str) -> int:
        """Returns a field that is a whole number.

        Args:
            field: Its key.
            default: The value to return if the line lacks the field.
            column: The column of ``/games`` that the value has to fit into.

        Raises:
            LogError: If the field is not a whole number, or does not fit into the column.
        """
        text = self.fields.get(field)
        if text is None:
            return default
        limits = np.iinfo(GAME_DTYPE[column])
        if not re.fullmatch(r"[+-]?\d+", text, flags=re.ASCII):
            raise LogError(f"{field} is {text[:40]!r}; expected a whole number")
        if len(text) > 20 or not limits.min <= int(text) <= limits.max:
            raise LogError(f"{field} is {text[:40]}; expected {limits.min} to {limits.max}")
        return int(text)

    def short(self, *fields: str) -> str:
        """Returns the first of the fields that the line has, a code of up to three letters; empty if it has none.

        Raises:
            LogError: If the code is longer.
        """
        for field in fields:
            text = self.fields.get(field)
            if text is not None:
                if len(text.encode()) > GAME_DTYPE["role"].itemsize:
                    raise LogError(f"{field} is {text[:40]!r}; expected at most three letters")
                return text
        return ""


def end_of(log: LogEntry) -> tuple[str, str]:
    """Returns how a game ended according to its log, and the cause; ``unknown`` if the log has no cause."""
    cause = log.cause
    for end in ("ascended", "escaped", "quit"):
        if cause.startswith(end):
            return end, cause
    return ("death", cause) if cause else ("unknown", "")
