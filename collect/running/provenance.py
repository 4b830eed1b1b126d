"""What made a file, when, and from which code."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from strathack.collect.playing.clock import real_time


def made_now() -> dict[str, str]:
    """This command, the revision of this code and the time: the part of a provenance that every run has anew."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "revision": git_revision(),
        "created": real_time().isoformat(timespec="seconds"),
    }


def git_revision() -> str:
    """The revision of the checkout that this code runs from; empty where it runs from an installed package."""
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    try:
        top = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True)
        if Path(top.stdout.strip()) != here.parents[2]:
            return ""
        return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
