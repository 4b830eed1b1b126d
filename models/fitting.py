"""What all runs have that learn from streams: the games, the trainer, its budget and callbacks, and how they end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from strathack.dataset import Dataset
from strathack.dataset.codec import finite
from strathack.dataset.datamodule import DemonstrationModule
from strathack.dataset.devices import is_bf16_faster_on_cpu
from strathack.dataset.errors import InputError
from strathack.dataset.files import atomic_write
from strathack.dataset.remote.addresses import address_of
from strathack.models.callbacks import (
    Budget,
    Checkpoints,
    EarlyStop,
    EndOfBatch,
    InterruptedRun,
    MovingAverage,
    TrainingProgress,
)
from strathack.models.learning import StreamModule
from strathack.models.options import AnyLearningOptions, LearningOptions
from strathack.models.places import LAST
from strathack.models.precision import is_bf16
from strathack.models.running import METRICS, Run, checked_device, is_first_process, status_of, together
from strathack.models.saving import SafetensorsIO

AnyStreamModule = TypeVar("AnyStreamModule", bound=StreamModule)

TRAINING, VALIDATION = "training.json", "validation.json"
"""Files for the last training row and the last validation, in full."""

LANES = {"cpu": 32, "gpu": 512}
"""Lightning's name of a device → lanes by default: on a GPU, a step has to be worth the host's work for it."""


@dataclass(frozen=True)
class Fit(Generic[AnyStreamModule]):
    """What Lightning's training loop needs.

    Attributes:
        trainer: Lightning's trainer.
        module: The model, and how it is trained.
        data: The streams of batches.
        checkpoint: The checkpoint to resume from; None for a new run.
    """

    trainer: pl.Trainer
    module: AnyStreamModule
    data: DemonstrationModule
    checkpoint: str | None


def fit_of(
    begun: Beginning[AnyLearningOptions], module: AnyStreamModule, data: DemonstrationModule, budget: Budget
) -> Fit[AnyStreamModule]:
    """Makes the trainer; afterwards the run's folder exists."""
    run, accelerator = begun.run, begun.accelerator
    loggers = run.begin(0 if run.saved is None else run.saved["global_step"])
    callbacks = callbacks_of(run, budget, module.monitored)
    trainer = trainer_of(run, accelerator, loggers, callbacks, idle_parameters=module.has_idle_parameters)
    return Fit(trainer, module, data, None if run.saved is None else str(run.folder / LAST))


@dataclass(frozen=True)
class Ended(Generic[AnyStreamModule]):
    """How a run ended.

    Attributes:
        folder: The run's folder.
        module: The trained module.
        interrupted: The signal that interrupted the run, which can be resumed; None if it ran to its end.
    """

    folder: Path
    module: AnyStreamModule
    interrupted: int | None


def learned(
    options: AnyLearningOptions, prepared: Callable[[Run[AnyLearningOptions]], Fit[AnyStreamModule]]
) -> Ended[AnyStreamModule]:
    """Trains to the end, or to an interruption, and writes the last summaries.

    Args:
        options: The options of a new run or of one to resume.
        prepared: Makes and checks everything that training needs.

    Raises:
        InputError: If the options and the data do not fit together.
        RunError: If the loss is not finite.
    """
    run = Run.of(options)
    fit = prepared(run)
    trainer, module, interrupted = fit.trainer, fit.module, None
    with together(lambda: trainer.strategy.launcher):
        try:
            trainer.fit(module, fit.data, ckpt_path=fit.checkpoint)
        except InterruptedRun as interruption:
            interrupted = interruption.number
    if trainer.is_global_zero:
        for name, result in ((TRAINING, module.trained), (VALIDATION, module.validated)):
            if result is not None:
                atomic_write(run.folder / name, json.dumps(finite(asdict(result)), indent=2).encode())
    return Ended(run.folder, module, interrupted)


def concluded(
    command: str, options: LearningOptions, ended: Ended[AnyStreamModule], show: Callable[[Any], None]
) -> int:
    """Prints how a run ended, and returns the exit status.

    Args:
        command: The command.
        options: Its options.
        ended: How the run ended.
        show: Prints a validation.
    """
    if not is_first_process():
        return 0
    module, folder = ended.module, ended.folder
    if ended.interrupted is None and module.validated is not None:
        show(module.validated)
        print(f"{module.frames:,} frames; checkpoints and {METRICS} in {folder}")
    elif ended.interrupted is None:
        print(f"{folder}: at its end already; --{', --'.join(options.budget)} set another")
    return status_of(command, folder, ended.interrupted)


@dataclass(frozen=True)
class Beginning(Generic[AnyLearningOptions]):
    """What a run begins with.

    Attributes:
        run: The run, whose options have the lanes, which it keeps wherever it is resumed.
        dataset: The games.
        about: Plain values about the games, which checkpoints keep.
        accelerator: Lightning's name of the device.
        lanes: Lanes of each process's batch.
    """

    run: Run[AnyLearningOptions]
    dataset: Dataset
    about: dict[str, Any]
    accelerator: str
    lanes: int


def beginning_of(run: Run[AnyLearningOptions]) -> Beginning[AnyLearningOptions]:
    """Checks games, device and lanes, and seeds all random numbers.

    Raises:
        InputError: If the games are not there, or not those that a resumed run was trained on, or there are too few; or
            if there is no such device.
    """
    check_data_are_there(run)
    options = run.options
    dataset = Dataset(options.data).select(options.select)
    about: dict[str, Any] = {"dataset": dataset.fingerprint, "games": len(dataset), "steps": dataset.steps}
    if run.saved is not None:
        check_same_games(options.data[0], dataset, about, run.saved["about"])
        about = {**run.saved["about"], **about}
    accelerator = checked_device(options)
    lanes = checked_lanes(options, dataset, accelerator)
    pl.seed_everything(options.seed, verbose=False)
    run = replace(run, options=replace(options, lanes=options.lanes or lanes))
    return Beginning(run, dataset, about, accelerator, lanes)


def streamed(
    options: LearningOptions,
    dataset: Dataset,
    lanes: int,
    observations: Sequence[str],
    columns: Sequence[str],
    validation_steps: int | None = None,
) -> DemonstrationModule:
    """Makes the data module, which streams batches.

    Args:
        options: The run's options.
        dataset: The games.
        lanes: Lanes of a batch.
        observations: Observation keys.
        columns: Columns of the games.
        validation_steps: Steps of a validation's batch; by default those of a batch.
    """
    return DemonstrationModule(
        dataset,
        lanes=lanes,
        steps=options.unroll,
        workers=options.loader_workers,
        validation_steps=validation_steps,
        # Lightning validates at the end of what it calls an epoch.
        batches_per_epoch=options.validate_every * options.accumulate,
        options={"observations": observations, "columns": columns, "places": True, "seed": options.seed},
    )


def check_data_are_there(run: Run[AnyLearningOptions]) -> None:
    """Checks that the data of a resumed run still exist where the run last found them; those elsewhere are read later.

    Raises:
        InputError: If they do not; the message tells how to give their new path.
    """
    if run.saved is None:
        return
    for path in run.options.data:
        if address_of(path) is None and not path.exists():
            raise InputError(
                f"{path}: the run's data are not there any more; "
                f"the same command with DATA and --resume {run.folder} names them anew"
            )


def check_same_games(path: Path, dataset: Dataset, about: Mapping[str, Any], trained_on: Mapping[str, Any]) -> None:
    """Checks that a resumed run is given the games that it was trained on.

    Raises:
        InputError: If the games differ; the message tells how.
    """
    if about["dataset"] == trained_on["dataset"]:
        return
    games, steps = trained_on["games"], trained_on["steps"]
    if (len(dataset), dataset.steps) == (games, steps):
        how = f"{games} games, {steps:,} steps, as many as the run was trained on, but others, or split otherwise"
    else:
        how = f"{len(dataset)} games, {dataset.steps:,} steps; the run was trained on {games} games, {steps:,} steps"
    raise InputError(f"{path}: {how}")


def trainer_of(
    run: Run[AnyLearningOptions],
    accelerator: str,
    loggers: list[Logger],
    callbacks: list[pl.Callback],
    *,
    idle_parameters: bool,
) -> pl.Trainer:
    """Makes Lightning's trainer; it has no limit of epochs, since :class:`Budget` ends training."""
    options = run.options
    half = is_bf16(options.precision, faster=accelerator == "gpu" or is_bf16_faster_on_cpu())
    return pl.Trainer(
        accelerator=accelerator,
        devices=options.devices,
        strategy=_strategy(options.devices, idle_parameters=idle_parameters),
        precision="bf16-mixed" if half else "32-true",
        max_epochs=-1,
        accumulate_grad_batches=options.accumulate,
        limit_val_batches=options.validation_batches or 1.0,
        num_sanity_val_steps=0,
        logger=loggers,
        callbacks=callbacks,
        plugins=[SafetensorsIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=run.folder,
    )


def checked_lanes(config: LearningOptions, dataset: Dataset, accelerator: str) -> int:
    """Returns the number of lanes: as many as asked for, or as suit the device, or fewer if there are too few games.

    Raises:
        InputError: If a split is empty, no game is as long as an unroll, or there are fewer games than streams.
    """
    lengths = {}
    for split in ("train", "validation"):
        rows = dataset.select(split=split).rows
        lengths[split] = rows["steps"][rows["steps"] > 0]
        if not len(lengths[split]):
            raise InputError(
                f"{config.data[0]}: no game in the {split} split of {len(dataset)} games; "
                "strathack dataset split sets other shares"
            )
    longest = int(lengths["train"].max())
    if config.unroll > longest:
        raise InputError(f"unroll: {config.unroll} steps are more than the longest game has, {longest}")
    streams = config.devices * max(config.loader_workers, 1)
    most = len(lengths["train"]) // streams
    if not most:
        raise InputError(f"{config.data[0]}: {len(lengths['train'])} games to train on for {streams} streams of them")
    if config.lanes is None:
        return min(LANES[accelerator], most)
    if most < config.lanes and is_first_process():
        print(f"strathack: {config.lanes} lanes are more than there are games; using {most}", file=sys.stderr)
    return min(config.lanes, most)


def budget_of(config: LearningOptions, data: DemonstrationModule) -> Budget:
    """Makes the budget, which ends training at the first of the given ends, or after one pass if none is given."""
    passes = config.passes
    if config.steps is None and config.minutes is None and passes is None:
        passes = 1.0
    ends = [] if config.steps is None else [config.steps]
    if passes is not None:
        batch = data.lanes * config.unroll * config.devices * config.accumulate
        ends.append(max(round(passes * data.dataset.select(split="train").steps / batch), 1))
    return Budget(min(ends, default=None), config.minutes)


def callbacks_of(run: Run[AnyLearningOptions], budget: Budget, monitored: str) -> list[pl.Callback]:
    """Returns Lightning's callbacks and our own, in the order in which they are called."""
    options = run.options
    callbacks: list[pl.Callback] = [budget, EndOfBatch()]
    if options.ema:
        callbacks.append(MovingAverage(options.ema))
    if options.early_stop:
        callbacks.append(EarlyStop(f"validation/{monitored}", options.early_stop, goes_on=run.is_extended))
    # After the callbacks above, since checkpoints must hold what those did at the end of a batch.
    callbacks.append(Checkpoints(run.folder, options.checkpoint_every, options.validate_every, options.keep_every))
    if not options.quiet and is_first_process():
        callbacks.append(TrainingProgress(budget))
    return callbacks


def _strategy(devices: int, *, idle_parameters: bool) -> Any:
    """Returns Lightning's strategy for one or several processes.

    Buffers are equal in all processes; if they were broadcast at every forward pass, processes with
    validations of unequal length would wait for each other for ever.
    """
    if devices == 1:
        return "auto"
    return pl.strategies.DDPStrategy(find_unused_parameters=idle_parameters, broadcast_buffers=False)
