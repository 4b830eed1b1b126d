"""The command ``finetune``, a function that returns its exit status."""

from __future__ import annotations

from rich.console import Console

from strathack.models.running import METRICS, is_first_process, process_of_a_run, status_of
from strathack.rl.learning.display import ended_table
from strathack.rl.learning.finetuning import fine_tune
from strathack.rl.options import FinetuneConfig


def finetune(config: FinetuneConfig) -> int:
    """``strathack finetune``: fine-tunes a policy or resumes a run, and prints the result.

    Raises:
        InputError: If options, environment, policy and demonstrations do not go together.
        RunError: If the loss is not finite, or the rollout workers cannot go on.
    """
    with process_of_a_run(config):
        ended = fine_tune(config)
    if not is_first_process():
        return 0
    if ended.interrupted is None:
        counters = ended.counters
        Console().print(ended_table(counters))
        print(f"{counters.frames:,} frames; checkpoint and {METRICS} in {ended.folder}")
        if counters.lost:
            print(f"{counters.lost} rollout workers were replaced; the last: {counters.why_lost}")
    return status_of("finetune", ended.folder, ended.interrupted)
