"""Finds the line of an xlogfile that a recording is about."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strathack.collect.importing.ttyrec import Ttyrec, last_turn
from strathack.collect.playing.xlogfile import LogEntry, LogError

CLOCK_SLACK = 2
"""Seconds by which the times of the log and a recording may differ: both round down, and starting a game takes time."""

TURN_SLACK = 5
"""Turns that may pass after the last bottom line was shown."""

GOLD_TAX = 0.1
"""The share of a dead hero's gold that is missing from the points (NetHack's ``end.c``)."""

SCORE_SLACK = 50
"""Points that the last key may add, after the score was last shown."""


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
            if not _is_there(path.parent / name):
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


def _is_there(path: Path) -> bool:
    """Returns whether something is at a path, which may be none, as a damaged line has it."""
    with suppress(OSError, ValueError):
        return path.exists()
    return False
