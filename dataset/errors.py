"""The two kinds of error that end a command with one line instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """The request is invalid: an option, a path or a file is not as required. Exit status 2.

    The message is one line that names what was found and what was expected.
    """


class RunError(RuntimeError):
    """The request was valid, but the work could not be finished (a full disk, say). Exit status 1.

    The message is one line that states what happened and what is safe on disk.
    """


class FormatError(InputError):
    """A file is not a strathack shard, or is one of a version that this release does not know."""


class CorruptionError(FormatError):
    """Something in a file is not as it was written; the message names the file, the array and the steps."""


def near_match(name: str, known: Iterable[str]) -> str:
    """Returns what to append to "'x' is unknown": the nearest known name, or all known names if none is near."""
    known = list(known)
    near = get_close_matches(name, known, 1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; expected one of {', '.join(known)}"


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message that is not blank, at most 300 characters; else the error's type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
