"""The options of the model commands: they check themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from strathack.dataset.errors import FormatError, InputError, near_match
from strathack.models.config import LABEL_NAMES, CloningConfig, check_at_least
from strathack.models.presets import preset

BUDGET = ("steps", "minutes", "passes")
"""Options that say when training ends; a run that goes on may be given another end."""


def check_nothing_else_is_given(options: Any, budget: Sequence[str], moved: Sequence[str] = ()) -> None:
    """Checks that a run which goes on is given nothing but another end, and where its data are now.

    Args:
        options: A dataclass of options, or a group of them.
        budget: Names of those that say when it ends.
        moved: Names of those that say where its data are.

    Raises:
        InputError: By name of the option.
    """
    for one in fields(options):
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        if one.name not in ("resume", "quiet", *budget, *moved) and getattr(options, one.name) != default:
            raise InputError(
                f"{one.name}: a resumed run keeps its own; only {', '.join((*budget, *moved))} may be given anew"
            )


@dataclass(frozen=True)
class ModelsConfig:
    """Lists the policies that are known by name.

    Attributes:
        json: Write JSON instead of a table.
    """

    json: bool = False


@dataclass(frozen=True)
class ImportHihackConfig:
    """Turns one of the paper's checkpoints into one of ours.

    Attributes:
        file: The checkpoint, as torch.save wrote it.
        out: The new checkpoint.
        legacy: Let a transformer attend as the published code does; otherwise as ours do. LSTMs are the same.
    """

    file: Path
    out: Path
    legacy: bool = True


@dataclass(frozen=True)
class TrainConfig(CloningConfig):
    """Clones the demonstrator's actions and strategies.

    Attributes:
        data: Dataset folders or shards.
        out: The run's new folder: options, checkpoints, metrics.
        resume: The folder of a run to go on with; its own options hold, but for a new end.
        policy: A policy by name; "strathack models" lists them.
        set: Fields of the policy set anew, separated by semicolons: "core.hidden=256; heads.combine=label".
        label: The label to learn strategies from: strategy, hihack_strategy or substrategy; by default the policy's.
        weights: A checkpoint or a run's folder to begin with, instead of fresh weights; the policy is then its own.
        high: Of a cleaved policy, the checkpoint that chooses strategies.
        low: Of a cleaved policy, the checkpoint that chooses actions given each strategy.
        freeze: Of a cleaved policy, the part that is not trained: high or low.
        select: A condition on the games: "role == 'Val' and score > 5000".
        lanes: Games side by side in a batch of each process.
        unroll: Steps of each in a batch; memory is carried on from batch to batch.
        accumulate: Batches that share an optimiser step.
        loader_workers: Processes that read batches; 0 reads in threads of this one.
        steps: End after so many optimiser steps.
        minutes: End after so many minutes.
        passes: End after so many passes over the train split; 1 unless another end is given.
        validate_every: Optimiser steps between validations.
        validation_batches: Batches of a validation at most; 0 for the whole split.
        checkpoint_every: Optimiser steps between checkpoints of the last state, besides those after validations.
        early_stop: End after so many validations without a better action NLL; 0 never does.
        ema: Decay of a moving average of the weights, which is then what is validated and kept; 0 keeps none.
        precision: Arithmetic; auto is bf16 on GPUs and 32 elsewhere.
        compile: Compile encoders and heads with torch.compile.
        device: Where to train; auto takes GPUs where there are any.
        devices: GPUs, or processes on the CPU.
        log_every: Optimiser steps between rows of metrics.csv.
        tensorboard: Also log for TensorBoard.
        wandb: Also log to this project of Weights & Biases.
        seed: Decides fresh weights and the order of games.
        quiet: No progress line.
    """

    data: list[Path] = field(default_factory=list)
    out: Path | None = None
    resume: Path | None = None
    policy: str = "symbols-small"
    set: str = ""
    label: str | None = None
    weights: Path | None = None
    high: Path | None = None
    low: Path | None = None
    freeze: str | None = None
    select: str | None = None
    lanes: int = 32
    unroll: int = 32
    accumulate: int = 1
    loader_workers: int = 0
    steps: int | None = None
    minutes: float | None = None
    passes: float | None = None
    validate_every: int = 1000
    validation_batches: int = 0
    checkpoint_every: int = 1000
    early_stop: int = 0
    ema: float = 0.0
    precision: Literal["auto", "32", "bf16"] = "auto"
    compile: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    log_every: int = 50
    tensorboard: bool = False
    wandb: str | None = None
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option, and that they go together.

        Raises:
            InputError: By name of the option.
        """
        super().__post_init__()
        check_at_least(1, self, "lanes", "unroll", "accumulate", "validate_every", "checkpoint_every", "devices")
        check_at_least(1, self, "log_every")
        check_at_least(0, self, "loader_workers", "validation_batches", "early_stop", "seed")
        for name in BUDGET:
            if (value := getattr(self, name)) is not None and not value > 0:
                raise InputError(f"{name}: {value} is not above 0")
        if self.seed >= 2**32:
            raise InputError(f"seed: {self.seed} is not below 2 ** 32")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema: {self.ema} is no decay; expected 0 to below 1")
        labels = (*LABEL_NAMES, "substrategy")
        if self.label is not None and self.label not in labels:
            raise InputError(f"label: {self.label!r} is unknown{near_match(self.label, labels)}")
        if self.resume is not None:
            check_nothing_else_is_given(self, BUDGET, ("data",))
            return
        if not self.data:
            raise InputError("data: no dataset is given, and no run to resume")
        if self.out is None:
            raise InputError("out: no folder is given for the run")
        self._check_policy()

    def _check_policy(self) -> None:
        preset(self.policy)
        if (self.high is None) != (self.low is None):
            raise InputError("high, low: a cleaved policy needs both")
        if self.high is not None and self.weights is not None:
            raise InputError("weights: a cleaved policy begins with those of high and low")
        if self.freeze is not None and self.high is None:
            raise InputError("freeze: only a part of a cleaved policy can be frozen; give high and low")
        given = [name for name in ("weights", "high") if getattr(self, name) is not None]
        if given and (self.set or self.policy != TrainConfig.policy):
            raise InputError(f"{given[0]}: the policy is what the checkpoint holds; leave policy and set out")

    def to_json(self) -> str:
        """As kept in a run's folder; from any other, too."""
        values = asdict(self) | {"data": [path.resolve() for path in self.data]}
        return json.dumps(values, default=str, indent=2)

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """The inverse of :meth:`to_json`.

        Raises:
            FormatError: If the text is of no such options.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            values["data"] = [Path(path) for path in values["data"]]
            for name in ("out", "resume", "weights", "high", "low"):
                values[name] = None if values[name] is None else Path(values[name])
            return cls(**values)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise FormatError(f"options: not those of a run of this release: {error}") from None

    def with_end_of(self, other: TrainConfig) -> TrainConfig:
        """With another end, where that one is given, and as quiet."""
        end: Mapping[str, Any] = {name: getattr(other, name) for name in BUDGET}
        return replace(self, quiet=other.quiet, **(end if any(value is not None for value in end.values()) else {}))
