"""What made a file, when, and from which code."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from strathack.collect.playing.clock import real_time


def made_now() -> dict[str, str]:
    """Returns this command, the code's revision and the time: the part of the provenance that is new in every run."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "revision": git_revision(),
        "created": real_time().isoformat(timespec="seconds"),
    }


def git_revision() -> str:
    """Returns the revision of the checkout that this code runs from; empty if it runs from an installed package."""
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    try:
        top = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True)
        if Path(top.stdout.strip()) != here.parents[2]:
            return ""
        return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
