"""NetHack's xlogfile: a line a game that was over, and which recording a line is about."""

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
"""Seconds by which the log's times and a recording's may differ: each rounds down, and a game begins with work."""

TURN_SLACK = 5
"""Turns that may pass after a bottom line was shown last."""

GOLD_TAX = 0.1
"""Of the gold that a dead hero carries; it is missing from the points (NetHack's ``end.c``)."""

SCORE_SLACK = 50
"""Points that may be won with the last key, after the score was shown last."""


class LogError(ValueError):
    """A field of an xlogfile's line is not what it has to be; the message names it."""


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
        """A field that is a whole number.

        Args:
            field: Its key.
            default: What it is where the line lacks it.
            column: The column of ``/games`` that it has to fit into.

        Raises:
            LogError: If it is no whole number, or too large for the column.
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
        """The first of some fields that is there, a code of up to three letters; empty where none is.

        Raises:
            LogError: If it is longer.
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
        source: The xlogfile they stand in, as it is shown to users.
        named: The line that names the recording; empty for none.
        nameless: Lines of its process that name no recording, as older releases of NLE wrote them.
    """

    source: str = ""
    named: str = ""
    nameless: tuple[str, ...] = ()

    def about(self, ttyrec: Ttyrec) -> str:
        """The line about a recording, empty for none.

        A line that names no recording is taken only where the recording agrees with it, and with no other.
        """
        if self.named or not self.nameless:
            return self.named
        # Without its end there is nothing to tell a recording by from others of the same second.
        if ttyrec.truncated:
            return ""
        turn, goes_on = last_turn(ttyrec)
        if goes_on:  # reset in mid-game, of which there is no line
            return ""
        agreeing = [line for line in self.nameless if agrees(LogEntry(line), ttyrec, turn)]
        return agreeing[0] if len(set(agreeing)) == 1 else ""


def agrees(log: LogEntry, ttyrec: Ttyrec, turn: int) -> bool:
    """Whether a line can be about a recording: nothing that both tell differs, and they share turns or score.

    Args:
        log: The line.
        ttyrec: The recording, with its end.
        turn: The turn that it shows last, −1 for none.
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
        paths: The xlogfiles, and how each is shown to users.

    Attributes:
        missing: Recordings that they name and that are not there, a line each.
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
            self._named[path.parent / name] = shown, line  # of two that name one recording the later is about it
            if not (path.parent / name).exists():
                told = f"{shown}: the ttyrec {name} is not there"
                self.missing += [told] if told not in self.missing else []
        self._nameless[process] = shown, nameless

    def lines_for(self, path: Path) -> LogLines:
        """The lines that may be about the recording at a path."""
        if path in self._named:
            source, line = self._named[path]
            return LogLines(source, named=line)
        match = re.match(r"(.+?)\.\d+\.ttyrec", path.name)
        if match is None or path.with_name(match[1]) not in self._nameless:
            return LogLines()
        source, lines = self._nameless[path.with_name(match[1])]
        return LogLines(source, nameless=tuple(lines))


def end_of(log: LogEntry) -> tuple[str, str]:
    """How a game ended that its log says is over, and the cause; ``unknown`` where it does not tell."""
    cause = log.cause
    for end in ("ascended", "escaped", "quit"):
        if cause.startswith(end):
            return end, cause
    return ("death", cause) if cause else ("unknown", "")
