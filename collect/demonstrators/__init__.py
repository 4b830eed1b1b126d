"""Makes demonstrators from the names that the command line accepts."""

from __future__ import annotations

import sys
from pathlib import Path

from strathack.collect.demonstrators.acting import BotDemonstrator, CallableDemonstrator, load_callable
from strathack.collect.demonstrators.base import Demonstrator
from strathack.collect.options import AUTOASCEND, Bot
from strathack.dataset.errors import InputError

__all__ = [
    "BotDemonstrator",
    "CallableDemonstrator",
    "Demonstrator",
    "absolute_reference",
    "choose_demonstrator",
    "make_demonstrator",
]


def make_demonstrator(reference: str, bot: Bot = "fast") -> Demonstrator:
    """Makes a demonstrator from its name on the command line.

    Args:
        reference: ``autoascend``, the path of a bot's folder, or ``package.module:callable``.
        bot: How AutoAscend plays.

    Raises:
        InputError: If the reference is none of these, or the demonstrator cannot be used.
    """
    if reference == AUTOASCEND:
        # Imported here, since the bot's packages are not available on Python 3.10.
        from strathack.collect.demonstrators.autoascend import AutoAscend

        return AutoAscend(bot)
    if Path(reference).is_dir():
        return BotDemonstrator(Path(reference))
    if ":" in reference:
        return load_callable(reference)
    raise InputError(
        f"demonstrator: {reference!r} is neither 'autoascend' nor a bot's folder nor package.module:callable"
    )


def absolute_reference(reference: str) -> str:
    """Returns the absolute path of a bot's folder, for workers elsewhere; other names as they are."""
    return str(Path(reference).resolve()) if reference != AUTOASCEND and Path(reference).is_dir() else reference


def choose_demonstrator(reference: str, bot: Bot = "fast") -> Demonstrator:
    """Makes a demonstrator for a command, and tells the user on standard error what to know before it plays.

    Raises:
        InputError: As :func:`make_demonstrator`.
    """
    demonstrator = make_demonstrator(reference, bot)
    if demonstrator.notice is not None:
        print(demonstrator.notice, file=sys.stderr)
    return demonstrator
