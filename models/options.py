"""The options of the model commands: they check themselves."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from strathack.dataset.codec import Options
from strathack.dataset.errors import InputError, near_match
from strathack.dataset.options import check_above_zero, check_at_least
from strathack.models.config import LABEL_NAMES
from strathack.models.presets import preset

AnyRunOptions = TypeVar("AnyRunOptions", bound="RunOptions")

_NO_FOLDER = "out: no folder is given for the run"

LARGEST_SEED = 2**32 - 1
"""That NumPy takes."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """The options of every run, whatever is trained.

    Attributes:
        out: The new run's folder: options, checkpoints, metrics.
        resume: The folder of a run to go on with; its own options hold, but for a new end.
        policy: A policy by name; "strathack models" lists them.
        set: Fields of the policy set anew, separated by semicolons: "core.hidden=256; heads.combine=label".
        minutes: End after so many minutes.
        validate_every: Optimiser steps between validations; 0 for none.
        checkpoint_every: Optimiser steps between checkpoints of the last state.
        log_every: Optimiser steps between rows of metrics.csv.
        precision: Arithmetic; auto is bf16 on GPUs and 32 elsewhere.
        device: Where to train; auto takes GPUs where there are any.
        devices: GPUs, or processes on the CPU.
        tensorboard: Also log for TensorBoard.
        wandb: Also log to this project of Weights & Biases.
        seed: Decides fresh weights and the order of games.
        quiet: No progress line.
    """

    budget: ClassVar[tuple[str, ...]] = ("minutes",)
    """Options that say when training ends; a run that goes on may be given another end."""

    moved: ClassVar[tuple[str, ...]] = ()
    """Options that say where data are, which may have moved since."""

    out: Path | None = None
    resume: Path | None = None
    policy: str = "symbols-small"
    set: str = ""
    minutes: float | None = None
    validate_every: int = 0
    checkpoint_every: int = 1000
    log_every: int = 50
    precision: Literal["auto", "32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    tensorboard: bool = False
    wandb: str | None = None
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: By name of the option.
        """
        super().__post_init__()
        check_at_least(1, self, "checkpoint_every", "log_every", "devices")
        check_at_least(0, self, "validate_every", "seed")
        check_above_zero(self, *self.budget)
        if self.seed > LARGEST_SEED:
            raise InputError(f"seed: {self.seed} is not below 2 ** 32")
        if self.resume is not None:
            check_nothing_else_is_given(self, ("resume", "quiet"), self.budget, self.moved)
        elif self.out is None:
            raise InputError(_NO_FOLDER)
        else:
            preset(self.policy)

    @property
    def folder(self) -> Path:
        """Where the run is.

        Raises:
            InputError: If no folder is given.
        """
        folder = self.resume or self.out
        if folder is None:
            raise InputError(_NO_FOLDER)
        return folder

    @property
    def changes(self) -> list[str]:
        """The fields of the policy that are set anew, one by one."""
        return [change for change in self.set.split(";") if change.strip()]

    def half_precision(self, *, on_gpu: bool) -> bool:
        """Whether to calculate in bf16."""
        return self.precision == "bf16" or (self.precision == "auto" and on_gpu)

    def continued(self: AnyRunOptions, now: AnyRunOptions) -> AnyRunOptions:
        """The options of a run that goes on: its own, with the end that is given now, if one is, and as quiet.

        Args:
            now: The options with which it is resumed.
        """
        end = {name: getattr(now, name) for name in self.budget}
        return replace(self, quiet=now.quiet, **(end if any(value is not None for value in end.values()) else {}))


def check_nothing_else_is_given(
    options: Options, always: tuple[str, ...], budget: tuple[str, ...], moved: tuple[str, ...] = ()
) -> None:
    """Checks that a run which goes on is given nothing but another end, and where its data are now.

    Args:
        options: A dataclass of options, or a group of them.
        always: Names of those that are not the run's.
        budget: Names of those that say when it ends.
        moved: Names of those that say where its data are.

    Raises:
        InputError: By name of the option.
    """
    for one in fields(options):  # type: ignore[arg-type]
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        if one.name not in (*always, *budget, *moved) and getattr(options, one.name) != default:
            raise InputError(
                f"{one.name}: a resumed run keeps its own; only {', '.join((*budget, *moved))} may be given anew"
            )


@dataclass(frozen=True, kw_only=True)
class CloningOptions(Options):
    """The loss of cloning and how it is made small.

    Attributes:
        strategy_weight: λ in the loss: action NLL + λ · strategy NLL + μ · NLL of the action given the strategy.
        head_weight: μ; it trains each action head on the steps of its own strategy.
        balance: Weight strategies by the inverse of their frequency, to the power 0.5, in the strategy NLL.
        learning_rate: AdamW's, after the warm-up.
        weight_decay: AdamW's.
        warmup: Optimiser steps over which the learning rate rises from 0.
        final_rate: Share of the learning rate at which its cosine ends.
        clip: Largest norm of the gradient.
    """

    strategy_weight: float = 1.0
    head_weight: float = 1.0
    balance: bool = False
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 200
    final_rate: float = 0.02
    clip: float = 1.0

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: By name of the option.
        """
        super().__post_init__()
        check_at_least(0, self, "strategy_weight", "head_weight", "weight_decay", "warmup", "final_rate")
        check_above_zero(self, "learning_rate", "clip")


@dataclass(frozen=True)
class ModelsConfig(Options):
    """Lists the policies that are known by name.

    Attributes:
        json: Write JSON instead of a table.
    """

    json: bool = False


@dataclass(frozen=True)
class ImportHihackConfig(Options):
    """Turns one of the paper's checkpoints into one of ours.

    Attributes:
        file: The checkpoint, as torch.save wrote it.
        out: The new checkpoint.
        legacy: Let a transformer attend as the published code does; otherwise as ours do. LSTMs are the same.
    """

    file: Path
    out: Path
    legacy: bool = True


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunOptions, CloningOptions):
    """Clones the demonstrator's actions and strategies.

    Attributes:
        data: Dataset folders or shards.
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
        passes: End after so many passes over the train split; 1 unless another end is given.
        validate_every: Optimiser steps between validations.
        validation_batches: Batches of a validation at most; 0 for the whole split.
        checkpoint_every: Optimiser steps between checkpoints of the last state, besides those after validations.
        early_stop: End after so many validations without a better action NLL; 0 never does.
        ema: Decay of a moving average of the weights, which is then what is validated and kept; 0 keeps none.
        compile: Compile encoders and heads with torch.compile.
    """

    budget: ClassVar[tuple[str, ...]] = ("steps", "minutes", "passes")
    moved: ClassVar[tuple[str, ...]] = ("data",)

    data: list[Path] = field(default_factory=list)
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
    passes: float | None = None
    validate_every: int = 1000
    validation_batches: int = 0
    early_stop: int = 0
    ema: float = 0.0
    compile: bool = False

    def __post_init__(self) -> None:
        """Checks every option, and that they go together.

        Raises:
            InputError: By name of the option.
        """
        super().__post_init__()
        check_at_least(1, self, "lanes", "unroll", "accumulate", "validate_every")
        check_at_least(0, self, "loader_workers", "validation_batches", "early_stop")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema: {self.ema} is no decay; expected 0 to below 1")
        labels = (*LABEL_NAMES, "substrategy")
        if self.label is not None and self.label not in labels:
            raise InputError(f"label: {self.label!r} is unknown{near_match(self.label, labels)}")
        if self.resume is None:
            if not self.data:
                raise InputError("data: no dataset is given, and no run to resume")
            self._check_policy()

    def _check_policy(self) -> None:
        if (self.high is None) != (self.low is None):
            raise InputError("high, low: a cleaved policy needs both")
        if self.high is not None and self.weights is not None:
            raise InputError("weights: a cleaved policy begins with those of high and low")
        if self.freeze is not None and self.high is None:
            raise InputError("freeze: only a part of a cleaved policy can be frozen; give high and low")
        given = [name for name in ("weights", "high") if getattr(self, name) is not None]
        if given and (self.set or self.policy != TrainConfig.policy):
            raise InputError(f"{given[0]}: the policy is what the checkpoint holds; leave policy and set out")

    def continued(self, now: TrainConfig) -> TrainConfig:
        """See :meth:`RunOptions.continued`; the games may be elsewhere now."""
        continued = super().continued(now)
        return replace(continued, data=now.data) if now.data else continued
