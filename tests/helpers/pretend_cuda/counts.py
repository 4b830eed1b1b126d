"""What is counted on pretend CUDA, and where in the source it happened."""

from __future__ import annotations

import traceback
from collections import Counter

WAITS: Counter[str] = Counter()
"""What made the host wait for the device → how often."""

CALLS: Counter[str] = Counter()
"""Operation → how often it ran on the device."""

COPIED: Counter[str] = Counter()
"""``to device``, ``to host`` → bytes."""


def place() -> str:
    """The innermost place in strathack's own code, or its tests, that is being run."""
    for frame in reversed(traceback.extract_stack(limit=80)):
        name = frame.filename
        if "site-packages" not in name and "pretend_cuda" not in name and "/lib/python" not in name and name[0] == "/":
            return f"{'/'.join(name.split('/')[-2:])}:{frame.lineno} {(frame.line or '').strip()[:90]}"
    return "backward"


def note(why: str) -> None:
    """Counts that the host waits."""
    WAITS[f"{why} at {place()}"] += 1
