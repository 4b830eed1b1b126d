"""Options of the commands ``label train`` and ``label apply``, as dataclasses that check their own values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from strathack.dataset.errors import InputError
from strathack.dataset.options import WriterOptions, check_at_least
from strathack.models.options import LearningOptions

Label = Literal["strategy", "substrategy"]
"""A label that was reported by the demonstrator."""


@dataclass(frozen=True, kw_only=True)
class LabelTrainConfig(LearningOptions):
    """Trains a labeller: what was pursued at a step, from the screens before and after it.

    Attributes:
        label: The label to infer: strategy or substrategy.
        actions: Let the labeller see the keys pressed, too; it can then label only games whose keys are known.
        hidden: Units of its memory in each direction.
        unroll: Steps of each lane in a batch. What came before is remembered from batch to batch; what comes later is
            seen up to the batch's end.
        learning_rate: Learning rate of AdamW after the warm-up.
    """

    label: Label = "strategy"
    actions: bool = False
    hidden: int = 192
    unroll: int = 64

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(1, self, "hidden")


@dataclass(frozen=True, kw_only=True)
class LabelApplyConfig(WriterOptions):
    """Labels games: writes strategy_inferred and its probability beside what is there, into a new dataset.

    Attributes:
        run: The labeller: a run's folder or a checkpoint.
        data: A dataset folder or a shard.
        out: The new dataset's folder.
        select: A condition that selects games.
        lanes: Number of games that are labelled side by side.
        ahead: The least number of steps after a step that are looked at for its label, as far as its game goes.
        games_per_shard: Games in a shard after the final merge.
        device: Where the labeller runs; auto uses a GPU if there is one.
    """

    run: Path
    data: Path
    out: Path
    select: str | None = None
    lanes: int = 16
    ahead: int = 64
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(1, self, "lanes")
        check_at_least(0, self, "ahead")
        if self.ahead > BLOCK:
            raise InputError(f"ahead: {self.ahead} is above {BLOCK}, the steps that are read at a time")


BLOCK = 256
"""Steps of each lane that are read at a time."""
