"""What the loop of fine-tuning counts; whole runs are in test_finetuning.py."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from strathack.rl.learning.loop import FinetuningLoop
from strathack.rl.learning.progress import Counters


def test_all_that_passes_between_two_updates_counts_for_the_minutes() -> None:
    loop = FinetuningLoop.__new__(FinetuningLoop)
    loop.parts = SimpleNamespace(learner=SimpleNamespace(updates=3), fabric=SimpleNamespace(world_size=1))  # type: ignore[assignment]
    loop._display = SimpleNamespace(update=lambda: None)  # type: ignore[assignment]
    loop._counters = Counters()
    for _ in range(2):
        loop._since = time.monotonic() - 1000  # a validation, say
        loop._count(SimpleNamespace(frames=5))  # type: ignore[arg-type]
    assert loop._counters.seconds == pytest.approx(2000, rel=0.01)
    assert (loop._counters.updates, loop._counters.frames) == (3, 10)
