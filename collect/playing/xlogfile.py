"""NetHack's xlogfile, which has a line for every finished game; finds the recording that a line is about."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strathack.collect.importing.ttyrec import Ttyrec, last_turn
from strathack.dataset.schema import GAME_DTYPE

CLOCK_SLACK = 2
"""Seconds by which the times of the log and a recording may differ: both round down, and starting a game takes time."""

TURN_SLACK = 5
"""Turns that may pass after the last bottom line was shown."""

GOLD_TAX = 0.1
"""The share of a dead hero's gold that is missing from the points (NetHack's ``end.c``)."""

SCORE_SLACK = 50
"""Points that the last key may add, after the score was last shown."""


class LogError(ValueError):
    """A field of an xlogfile line is invalid; the message names the field."""


@dataclass(frozen=True)
class LogEntry:
    """NetHack's line about a game that is over, from its xlogfile.

    Attributes:
        line: The line as written: ``key=value``, separated by tabs (NetHack 3.6) or colons (3.4.3).
    """

    line: str

    @property
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


@dataclass(frozen=True)
class LogLines:
    """The lines that may be about a recording.

    Attributes:
        source: The xlogfile that contains the lines, as it is shown to users.
        named: The line that names the recording; empty if there is none.
        nameless: Lines of the recording's process that name no recording, as older releases of NLE wrote them.
    """

    source: str = ""
    named: str = ""
    nameless: tuple[str, ...] = ()

    def about(self, ttyrec: Ttyrec) -> str:
        """Returns the line about a recording; empty if there is none.

        A line that names no recording is used only if the recording agrees with this line and with no other.
        """
        if self.named or not self.nameless:
            return self.named
        # Without its end, a recording cannot be told apart from others that began in the same second.
        if ttyrec.truncated:
            return ""
        turn, goes_on = last_turn(ttyrec)
        if goes_on:  # reset in mid-game, for which the log has no line
            return ""
        agreeing = [line for line in self.nameless if agrees(LogEntry(line), ttyrec, turn)]
        return agreeing[0] if len(set(agreeing)) == 1 else ""


def agrees(log: LogEntry, ttyrec: Ttyrec, turn: int) -> bool:
    """Returns whether a line can be about a recording: their shared values agree, and include turns or score.

    Args:
        log: The line.
        ttyrec: The recording, which must not be truncated.
        turn: The last turn that the recording shows, −1 for none.
    """
    try:
        began, ended = log.whole("starttime", ttyrec.start, "start_time"), log.whole("endtime", -1, "start_time")
        turns, points = log.whole("turns", -1, "turns"), log.whole("points", -1, "score")
    except LogError:
        return False
    if abs(began - ttyrec.start) > CLOCK_SLACK or ended > ttyrec.end + CLOCK_SLACK:
        return False
    evidence = []
    if turn >= 0 and turns >= 0:
        evidence.append(0 <= turns - turn <= TURN_SLACK)
    if ttyrec.version > 2 and points >= 0:
        most = np.inf if log.cause.startswith(("ascended", "escaped")) else ttyrec.last_score + SCORE_SLACK
        evidence.append((1 - GOLD_TAX) * ttyrec.last_score - 1 <= points <= most)
    return bool(evidence) and all(evidence)


class LogBook:
    """The lines of all xlogfiles of an import.

    Args:
        paths: The xlogfiles, each with its path as it is shown to users.

    Attributes:
        missing: Recordings that the xlogfiles name but that do not exist, a line each.
        unreadable: Xlogfiles that could not be read, a line each.
    """

    def __init__(self, paths: Iterable[tuple[Path, str]]) -> None:
        self.missing: list[str] = []
        self.unreadable: list[str] = []
        self._named: dict[Path, tuple[str, str]] = {}
        self._nameless: dict[Path, tuple[str, list[str]]] = defaultdict(lambda: ("", []))
        for path, shown in paths:
            try:
                lines = path.read_text(errors="replace").split("\n")
            except OSError as error:
                self.unreadable.append(f"{shown}: cannot be read ({error.strerror})")
                continue
            self._add(path, shown, [line for line in lines if line.strip()])

    def _add(self, path: Path, shown: str, lines: list[str]) -> None:
        process = path.with_suffix("")
        nameless = []
        for line in lines:
            name = LogEntry(line).fields.get("ttyrecname")
            if not name:
                nameless.append(line)
                continue
            self._named[path.parent / name] = shown, line  # if two lines name one recording, the later is used
            if not (path.parent / name).exists():
                told = f"{shown}: the ttyrec {name} is not there"
                self.missing += [told] if told not in self.missing else []
        self._nameless[process] = shown, nameless

    def lines_for(self, path: Path) -> LogLines:
        """Returns the lines that may be about the recording at a path."""
        if path in self._named:
            source, line = self._named[path]
            return LogLines(source, named=line)
        match = re.match(r"(.+?)\.\d+\.ttyrec", path.name)
        if match is None or path.with_name(match[1]) not in self._nameless:
            return LogLines()
        source, lines = self._nameless[path.with_name(match[1])]
        return LogLines(source, nameless=tuple(lines))


def end_of(log: LogEntry) -> tuple[str, str]:
    """Returns how a game ended according to its log, and the cause; ``unknown`` if the log has no cause."""
    cause = log.cause
    for end in ("ascended", "escaped", "quit"):
        if cause.startswith(end):
            return end, cause
    return ("death", cause) if cause else ("unknown", "")
