"""The text commands that need only exports; each returns its exit status."""

from __future__ import annotations

from rich.console import Console

from strathack.dataset.errors import InputError
from strathack.dataset.files import check_writable
from strathack.text.options import TrainConfig


def train(config: TrainConfig) -> int:
    """``strathack text train``.

    Raises:
        InputError: If the export or the model cannot be used, or the folder is not empty.
    """
    check_writable(config.out)
    if config.out.exists() and any(config.out.iterdir()):
        raise InputError(f"{config.out}: is not empty; take another folder")
    from strathack.text.training import RESULT, train_model

    result = train_model(config)
    console = Console()
    console.out(
        f"{result.steps:,} steps, {result.parameters / 1e6:.1f} M parameters; on {result.tokens:,} tokens of other "
        f"games {result.loss:.3f} nats a token, a 4-gram {result.ngrams:.3f}",
        highlight=False,
    )
    console.out(f"model, tokenizer and {RESULT} in {config.out}", highlight=False)
    return 0
