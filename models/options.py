"""Options of the model commands, as dataclasses that check their own values."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from strathack.dataset.codec import Options
from strathack.dataset.errors import InputError, near_match
from strathack.dataset.options import check_above_zero, check_at_least, check_push, check_repository, given
from strathack.dataset.schema import LABEL_COLUMNS
from strathack.models.offline.options import Algorithm, OfflineConfig
from strathack.models.presets import preset

AnyRunOptions = TypeVar("AnyRunOptions", bound="RunOptions")
AnyLearningOptions = TypeVar("AnyLearningOptions", bound="LearningOptions")

_NO_FOLDER = "out: no folder is given for the run"

Precision = Literal["auto", "32", "bf16"]
"""The precision of training's arithmetic."""

BF16_MANTISSA = 7
"""Bits of the mantissa that a number in bf16 has."""

LARGEST_SEED = 2**32 - 1
"""The largest seed that NumPy accepts."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """The options that every training run has.

    Attributes:
        out: Folder for the new run's options, checkpoints and metrics.
        resume: Folder of a run to continue; the run keeps its options, except that a new end may be given.
        minutes: End training after this many minutes.
        validate_every: Optimiser steps between validations; 0 for none.
        checkpoint_every: Optimiser steps between checkpoints of the current state.
        log_every: Optimiser steps between rows of metrics.csv.
        precision: Precision of the arithmetic; auto is bf16 on GPUs and on processors that multiply in bf16 (AMX or
            avx512_bf16), and 32 elsewhere.
        device: Device to train on; auto uses GPUs if there are any.
        devices: Number of GPUs, or of processes on the CPU.
        tensorboard: Also log for TensorBoard.
        wandb: Also log to the Weights & Biases project of this name.
        seed: Determines the initial weights and the order of games.
        quiet: Show no progress line.
    """

    budget: ClassVar[tuple[str, ...]] = ("minutes",)
    """Options that determine when training ends; a resumed run may be given new ones."""

    moved: ClassVar[tuple[str, ...]] = ()
    """Options that locate data, which may have been moved before a run is resumed."""

    out: Path | None = None
    resume: Path | None = None
    minutes: float | None = None
    validate_every: int = 0
    checkpoint_every: int = 1000
    log_every: int = 50
    precision: Precision = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    tensorboard: bool = False
    wandb: str | None = None
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
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

    @property
    def folder(self) -> Path:
        """The folder of the run, new or resumed.

        Raises:
            InputError: If no folder is given.
        """
        folder = self.resume or self.out
        if folder is None:
            raise InputError(_NO_FOLDER)
        return folder

    def continued(self: AnyRunOptions, now: AnyRunOptions) -> AnyRunOptions:
        """Returns the options of a resumed run: its own, with the new ``quiet`` and the new end, if one is given.

        Args:
            now: The options that are given to resume the run.
        """
        end = {name: getattr(now, name) for name in self.budget}
        return replace(self, quiet=now.quiet, **(end if any(value is not None for value in end.values()) else {}))


@dataclass(frozen=True, kw_only=True)
class PolicyRunOptions(RunOptions):
    """The options of a run that trains a policy.

    Attributes:
        policy: Name of the policy; "strathack models" lists the names.
        set: Fields of the policy to change, separated by semicolons: "core.hidden=256; heads.combine=label".
    """

    policy: str = "symbols-small"
    set: str = ""

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        if self.resume is None:
            preset(self.policy)

    @property
    def changes(self) -> list[str]:
        """The changes to fields of the policy, one string each."""
        return changes_of(self.set)


def changes_of(text: str) -> list[str]:
    """Returns the changes to fields of a configuration, of a text that separates them by semicolons."""
    return [change for change in text.split(";") if change.strip()]


def check_nothing_else_is_given(
    options: Options, always: tuple[str, ...], budget: tuple[str, ...], moved: tuple[str, ...] = ()
) -> None:
    """Checks that a resumed run is given no options except a new end and new paths of its data.

    Args:
        options: A dataclass of options, or a group of them.
        always: Names of options that do not belong to the run.
        budget: Names of options that determine when the run ends.
        moved: Names of options that locate the run's data.

    Raises:
        InputError: If an option is invalid; the message names the option.
    """
    for one in fields(options):  # type: ignore[arg-type]
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        if one.name not in (*always, *budget, *moved) and getattr(options, one.name) != default:
            raise InputError(
                f"{one.name}: a resumed run keeps its own; only {', '.join((*budget, *moved))} may be given anew"
            )


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions(Options):
    """Options of the optimiser and of its learning rate's schedule.

    Attributes:
        learning_rate: Learning rate of AdamW after the warm-up.
        weight_decay: Weight decay of AdamW.
        warmup: Optimiser steps over which the learning rate rises from 0.
        final_rate: Learning rate at the end of the cosine schedule, as a share of the learning rate.
        clip: Norm to which larger gradients are clipped.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 200
    final_rate: float = 0.02
    clip: float = 1.0

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(0, self, "weight_decay", "warmup", "final_rate")
        check_above_zero(self, "learning_rate", "clip", finite=True)


@dataclass(frozen=True, kw_only=True)
class CloningOptions(OptimizerOptions):
    """Options of the cloning loss and its optimiser.

    Attributes:
        strategy_weight: λ in the loss: action NLL + λ · strategy NLL + μ · NLL of the action given the strategy.
        head_weight: μ in the loss; its term trains each action head on the steps of its own strategy.
        balance: Weight strategies in the strategy NLL by the inverse square root of their frequency.
    """

    strategy_weight: float = 1.0
    head_weight: float = 1.0
    balance: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(0, self, "strategy_weight", "head_weight")


@dataclass(frozen=True, kw_only=True)
class LearningOptions(RunOptions, OptimizerOptions):
    """The options of a run that learns from streams of recorded games.

    Attributes:
        data: Dataset folders or shards.
        select: A condition that selects games: "role == 'Val' and score > 5000".
        lanes: Number of lanes (games side by side) in each process's batch; by default 32, on a GPU 512 or as many as
            there are games.
        unroll: Steps of each lane in a batch; memory is carried from batch to batch.
        accumulate: Batches per optimiser step.
        loader_workers: Processes that read batches; 0 reads them in threads of the training process.
        steps: End training after this many optimiser steps.
        passes: End training after this many passes over the train split; 1 unless another end is given.
        validate_every: Optimiser steps between validations.
        validation_batches: Largest number of batches in a validation; 0 for the whole split.
        checkpoint_every: Optimiser steps between checkpoints of the current state; validations save further ones.
        keep_every: Optimiser steps between checkpoints that are kept, each as step-<number>.safetensors; 0 keeps none.
        early_stop: End training after this many validations without a better one; 0 never does.
        ema: Decay of a moving average of the weights, which is validated and saved in their place; 0 uses none.
    """

    budget: ClassVar[tuple[str, ...]] = ("steps", "minutes", "passes")
    moved: ClassVar[tuple[str, ...]] = ("data",)

    data: list[Path] = field(default_factory=list)
    select: str | None = None
    lanes: int | None = None
    unroll: int = 32
    accumulate: int = 1
    loader_workers: int = 0
    steps: int | None = None
    passes: float | None = None
    validate_every: int = 1000
    validation_batches: int = 0
    keep_every: int = 0
    early_stop: int = 0
    ema: float = 0.0

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        if self.resume is None and not self.data:
            raise InputError("data: no dataset is given, and no run to resume")
        check_at_least(1, self, "lanes", "unroll", "accumulate", "validate_every")
        super().__post_init__()
        check_at_least(0, self, "loader_workers", "validation_batches", "keep_every", "early_stop")
        check_above_zero(self, "passes", finite=True)
        if not 0 <= self.ema < 1:
            raise InputError(f"ema: {self.ema} is no decay; expected 0 to below 1")

    def continued(self: AnyLearningOptions, now: AnyLearningOptions) -> AnyLearningOptions:
        """See :meth:`RunOptions.continued`; new paths of the data, if given, replace the saved ones."""
        continued = super().continued(now)
        return replace(continued, data=now.data) if now.data else continued


@dataclass(frozen=True)
class ModelsConfig(Options):
    """Lists the preset policies.

    Attributes:
        json: Write JSON instead of a table.
    """

    json: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishConfig(Options):
    """Writes a run's policy, how it was trained and what it plays to into one file, or a folder for the hub.

    Attributes:
        run: The run's folder, or a checkpoint.
        out: The new file, NAME.safetensors; or a new folder, with a card, that can be uploaded as it is.
        evaluation: The folder of an evaluation of the policy, whose figures are added.
        precision: Precision of the weights; bf16 takes half of the space.
        mantissa: Bits of mantissa that weights in bf16 keep, of 7; with fewer, the file compresses
            better. An evaluation has to be of the file that was published so.
        temperature: The temperature that the policy is to be evaluated with, unless another one is asked for; by
            default what was told of the run's policy, or 1.
        patience: The patience that the policy is to be evaluated with, unless another one is asked for; by default what
            was told of the run's policy, or 0.
        name: The policy's name; by default the folder's.
        dataset: The repository on the Hugging Face hub of the data that it learned from, user/name.
        license: An identifier of the hub's list of licences.
        replay: An mp4 of a game for the card, as "export-video" writes it.
        notes: A Markdown file whose text the card has.
        push: The repository of the hub to upload the folder to, user/name.
        private: Make the repository a private one, if it is new.
    """

    run: Path
    out: Path
    evaluation: Path | None = None
    precision: Literal["bf16", "32"] = "bf16"
    mantissa: int = BF16_MANTISSA
    temperature: float | None = None
    patience: int | None = None
    name: str = ""
    dataset: str = ""
    license: str = "mit"
    replay: Path | None = None
    notes: Path | None = None
    push: str | None = None
    private: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is out of range, or is for folders and a file is to be written.
        """
        super().__post_init__()
        check_at_least(0, self, "patience")
        check_above_zero(self, "temperature", finite=True)
        if not 1 <= self.mantissa <= BF16_MANTISSA:
            raise InputError(f"mantissa: {self.mantissa} bits; 1 to {BF16_MANTISSA} are possible")
        if self.precision == "32" and self.mantissa != BF16_MANTISSA:
            raise InputError("mantissa: is for weights in bf16, and precision is 32")
        of_folders = given(self, "name", "dataset", "license", "replay", "notes", "push", "private")
        for option in () if self.makes_folder else of_folders:
            raise InputError(f"{option}: is for a folder, and {self.out} is a file")
        if self.dataset:
            check_repository("dataset", self.dataset)
        check_push(self.push, private=self.private)

    @property
    def makes_folder(self) -> bool:
        """Whether a folder is written, and not one file."""
        return self.out.suffix != ".safetensors"


@dataclass(frozen=True)
class ImportHihackConfig(Options):
    """Converts one of the paper's checkpoints into a checkpoint of this package.

    Attributes:
        file: The paper's checkpoint, as torch.save wrote it.
        out: File for the new checkpoint.
        legacy: Let a transformer attend as in the published code, instead of as in this package. LSTMs do not differ.
    """

    file: Path
    out: Path
    legacy: bool = True


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LearningOptions, PolicyRunOptions, CloningOptions):
    """Trains a policy on recorded games: by cloning actions and strategies, or by offline reinforcement learning.

    Attributes:
        algorithm: bc clones; awac, iql, cql and rem learn from the rewards, too.
        offline: Options of the algorithms but bc.
        label: The label to learn strategies from: strategy, hihack_strategy, substrategy or one that was inferred,
            strategy_inferred or substrategy_inferred; the policy's by default.
        weights: A checkpoint or a run's folder to take the policy and its weights from, instead of fresh weights. Parts
            can be added to it by set: "encoder.inventory=64; encoder.corpses=32; encoder.events=32;
            encoder.marks=true; heads.offered=true". Of a run of pretrain, the encoder.
        high: For a cleaved policy, the checkpoint of the part that chooses strategies.
        low: For a cleaved policy, the checkpoint of the part that chooses actions given each strategy.
        freeze: A part that is not trained: the encoder; or, with high and low, one of these two.
        compile: Compile encoders and heads with torch.compile.
    """

    algorithm: Algorithm = "bc"
    offline: OfflineConfig = OfflineConfig()
    label: str | None = None
    weights: Path | None = None
    high: Path | None = None
    low: Path | None = None
    freeze: str | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        """Checks every option, and that the options fit together.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        labels = (*LABEL_COLUMNS, "hihack_strategy")
        if self.label is not None and self.label not in labels:
            raise InputError(f"label: {self.label!r} is unknown{near_match(self.label, labels)}")
        if self.resume is None:
            self._check_policy()

    def _check_policy(self) -> None:
        if (self.high is None) != (self.low is None):
            raise InputError("high, low: a cleaved policy needs both")
        if self.high is not None and self.weights is not None:
            raise InputError("weights: a cleaved policy begins with those of high and low")
        parts = ("high", "low") if self.high is not None else ("encoder",)
        if self.freeze is not None and self.freeze not in parts:
            cleaved = "" if self.high is not None else "; high and low are parts of a cleaved policy"
            raise InputError(f"freeze: {self.freeze!r}; expected {' or '.join(parts)}{cleaved}")
        if self.high is not None and self.policy != TrainConfig.policy:
            raise InputError("high: the policy is what the checkpoints hold; leave policy out")
        if self.high is not None and self.set:
            raise InputError("high: the policy is what the checkpoints hold; leave set out")
