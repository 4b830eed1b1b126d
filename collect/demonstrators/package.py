"""AutoAscend as the package nethackers installs it: where it lies, and its modules."""

from __future__ import annotations

import importlib
import importlib.resources
import importlib.util
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from strathack.dataset.errors import InputError


def find_bot() -> Path:
    """Returns the folder to import ``autoascend`` from; the bot is package data of nethackers.

    Raises:
        InputError: If the package nethackers is not installed.
    """
    if importlib.util.find_spec("nethackers") is None:
        raise InputError(
            "demonstrator: autoascend needs the package nethackers, which needs Python 3.11 or later: "
            'pip install "nethackers[autoascend]"'
        )
    return Path(str(importlib.resources.files("nethackers") / "roots" / "autoascend"))


def bot_version() -> str:
    """Returns the version of the installed package."""
    return metadata.version("nethackers")


def load_bot() -> Any:
    """Imports the bot and returns its module ``autoascend.agent``.

    Raises:
        InputError: If the package nethackers is not installed.
    """
    folder = str(find_bot())
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("autoascend.agent")
