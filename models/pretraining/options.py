"""Options of the command ``pretrain``, as a dataclass that checks its own values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from strathack.dataset.errors import InputError
from strathack.dataset.options import check_above_zero, check_at_least
from strathack.models.options import LearningOptions, PolicyRunOptions

Objective = Literal["both", "encoder", "progress"]
"""What is pre-trained."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(LearningOptions, PolicyRunOptions):
    """Pre-trains an encoder and a model of progress on recorded screens, without actions and rewards.

    The method is that of Mazoure, Bruce, Precup, Fergus and Anand (2023): the encoder tells which of many frames comes
    a little later in the same game; the model of progress tells how much later one of two frames is.

    Attributes:
        policy: Name of the policy whose encoder is trained, as far as it sees the screen.
        objective: What is trained: encoder, progress, or both, which share nothing.
        continuation: γ of the geometric distribution of the steps to the later frame, whose mean is 1 / (1 − γ).
        temperature: Temperature of the similarities of frames.
        pairs: Pairs of frames that each lane gives to a batch.
        projection: Elements of the vectors by which frames are compared.
        longest: The most steps between the two frames of the model of progress.
        unroll: Steps of each lane in a batch.
    """

    objective: Objective = "both"
    continuation: float = 0.95
    temperature: float = 0.1
    pairs: int = 4
    projection: int = 128
    longest: int = 10_000
    unroll: int = 64

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(1, self, "pairs", "projection", "longest")
        check_above_zero(self, "temperature", finite=True)
        if not 0 < self.continuation < 1:
            raise InputError(f"continuation: {self.continuation}; expected a number between 0 and 1")
        if self.unroll < 2:
            raise InputError(f"unroll: {self.unroll} steps hold no pair of frames; expected at least 2")
