"""Fine-tuning from options to what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from strathack.dataset.signals import StopOnSignal
from strathack.models.running import Run, together
from strathack.rl.learning.loop import FinetuningLoop
from strathack.rl.learning.preparing import fabric_of, finetuning
from strathack.rl.learning.progress import Counters
from strathack.rl.options import FinetuneConfig


@dataclass(frozen=True)
class Finetuned:
    """How a run ended.

    Attributes:
        folder: The run's.
        counters: What was done in it.
        interrupted: The signal that asked it to end, if one did; it can be resumed.
    """

    folder: Path
    counters: Counters
    interrupted: int | None


def fine_tune(options: FinetuneConfig) -> Finetuned:
    """Fine-tunes, or goes on with it.

    Raises:
        InputError: If options, environment, policy and demonstrations do not go together.
        RunError: If the loss is no number, or rollout workers cannot go on.
    """
    run = Run.of(options)
    fabric = fabric_of(run.options)
    fabric.launch()
    with together(lambda: fabric.strategy.launcher), finetuning(run, fabric) as parts, StopOnSignal() as stop:
        interrupted = FinetuningLoop(parts).run(stop)
    return Finetuned(run.folder, parts.counters, interrupted)
