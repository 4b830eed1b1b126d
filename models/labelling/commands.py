"""The commands ``label train`` and ``label apply``; each function returns an exit status."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from strathack.models.fitting import concluded
from strathack.models.labelling.applying import apply
from strathack.models.labelling.metrics import LabelResult
from strathack.models.labelling.options import LabelApplyConfig, LabelTrainConfig
from strathack.models.labelling.training import train_labeller
from strathack.models.running import process_of_a_run


def train(config: LabelTrainConfig) -> int:
    """``strathack label train``: trains a labeller, or resumes a run, and prints the last validation.

    Raises:
        InputError: If the options and the data do not fit together.
        RunError: If the loss is not finite.
    """
    with process_of_a_run(config):
        ended = train_labeller(config)
    return concluded("label train", config, ended, show)


def apply_(config: LabelApplyConfig) -> int:
    """``strathack label apply``: writes labels beside what is there, into a new dataset.

    Raises:
        InputError: If the labeller and the dataset do not fit together.
        RunError: If the new dataset cannot be written.
    """
    games, steps = apply(config)
    print(f"{games:,} games, {steps:,} steps labelled, in {config.out}")
    return 0


def show(result: LabelResult) -> None:
    """Prints a validation."""
    print(in_words(result))
    Console().print(result_table(result))


def result_table(result: LabelResult) -> Table:
    """Returns a table of a validation: recall and precision by name."""
    table = Table("name")
    for heading in ("steps", "recall", "precision"):
        table.add_column(heading, justify="right")
    for row in result.by_name:
        table.add_row(row.name, f"{row.steps:,}", f"{row.recall:.1%}", f"{row.precision:.1%}")
    return table


def in_words(result: LabelResult) -> str:
    """Returns a validation in one line."""
    return (
        f"validation, {result.steps:,} steps: NLL {result.nll:.3f}, accuracy {result.accuracy:.1%} (most frequent "
        f"{result.majority:.1%}), macro recall {result.macro_recall:.1%}, calibration error "
        f"{result.calibration_error:.1%}"
    )
