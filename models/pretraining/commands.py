"""The command ``pretrain``; it returns an exit status."""

from __future__ import annotations

from strathack.models.fitting import concluded
from strathack.models.pretraining.options import PretrainConfig
from strathack.models.pretraining.training import PretrainingResult, pretrain
from strathack.models.running import process_of_a_run


def pretrain_(config: PretrainConfig) -> int:
    """``strathack pretrain``: pre-trains on screens alone, or resumes a run, and prints the last validation.

    Raises:
        InputError: If the options and the data do not fit together.
        RunError: If the loss is not finite.
    """
    with process_of_a_run(config):
        ended = pretrain(config)
    return concluded("pretrain", config, ended, lambda result: print(*lines_of(result), sep="\n"))


def lines_of(result: PretrainingResult) -> list[str]:
    """Returns a validation in words."""
    lines = []
    if result.nll is not None and result.accuracy is not None and result.chance is not None:
        lines.append(
            f"encoder: {result.nll:.3f} nats, {result.accuracy:.1%} of later frames found "
            f"(by chance {result.chance:.1%})"
        )
    if result.squared_error is not None and result.explained is not None and result.order is not None:
        lines.append(
            f"progress: squared error {result.squared_error:.3f}, {result.explained:.1%} of the variance explained, "
            f"{result.order:.1%} of pairs in the right order"
        )
    return lines
