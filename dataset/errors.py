"""The two ways in which a command ends badly with one line instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """The request is bad: an option, a path or a file is not what it has to be. Exit status 2.

    The message is one line that names what was found and what was expected.
    """


class RunError(RuntimeError):
    """The request was good, but the work could not be finished (a full disk, say). Exit status 1.

    The message is one line that says what happened and what is safe on disk.
    """


class FormatError(InputError):
    """A file is not a strathack shard, or is one of a version that this release does not know."""


class CorruptionError(FormatError):
    """Something in a file is not as it was written; the message names the file, the array and the steps."""


def near_match(name: str, known: Iterable[str]) -> str:
    """What to say after "'x' is unknown": the known name that is near it, or else all of them."""
    known = list(known)
    near = get_close_matches(name, known, 1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; expected one of {', '.join(known)}"
