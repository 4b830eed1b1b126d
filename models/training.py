"""Makes policy, data, module and trainer from the options of a cloning run, and checks them before any step."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from strathack.dataset import Dataset
from strathack.dataset.datamodule import DemonstrationModule
from strathack.dataset.devices import is_bf16_faster_on_cpu
from strathack.dataset.errors import InputError
from strathack.dataset.files import atomic_write
from strathack.models.callbacks import Budget, Checkpoints, InterruptedRun, MovingAverage, Rows, TrainingProgress
from strathack.models.cleaved import (
    AnyConfig,
    AnyPolicy,
    CleavedConfig,
    CleavedPolicy,
    config_from_values,
    make_policy,
)
from strathack.models.cloning import CloningModule
from strathack.models.config import HierarchicalConfig, LSTMTransformerConfig, PolicyConfig, TransformerConfig
from strathack.models.growing import grown
from strathack.models.label_tables import check_observations, dataset_names, label_tables
from strathack.models.options import TrainConfig
from strathack.models.places import LAST, checkpoint_at
from strathack.models.policy import Policy
from strathack.models.precision import is_bf16
from strathack.models.presets import preset
from strathack.models.running import Run, checked_device, is_first_process, together
from strathack.models.saving import SafetensorsIO, frames_of, load_policy, load_values

TRAINING, VALIDATION = "training.json", "validation.json"
"""Files for the last training row and the last validation, in full, with their confusion matrices."""

LANES = {"cpu": 32, "gpu": 512}
"""Lightning's name of a device → lanes by default: on a GPU, a step has to be worth the host's work for it."""


@dataclass(frozen=True)
class Cloned:
    """How a run ended.

    Attributes:
        folder: The run's folder.
        module: The trained module.
        interrupted: The signal that interrupted the run, which can be resumed; None if it ran to its end.
    """

    folder: Path
    module: CloningModule
    interrupted: int | None


def clone(options: TrainConfig) -> Cloned:
    """Trains a policy, or resumes a run.

    Raises:
        InputError: If options, data and policy do not fit together.
        RunError: If the loss is not finite.
    """
    run = Run.of(options)
    cloning = cloning_of(run)
    trainer, module, interrupted = cloning.trainer, cloning.module, None
    with together(lambda: trainer.strategy.launcher):
        try:
            trainer.fit(module, cloning.data, ckpt_path=cloning.checkpoint)
        except InterruptedRun as interruption:
            interrupted = interruption.number
    if trainer.is_global_zero:
        for name, result in ((TRAINING, module.trained), (VALIDATION, module.validated)):
            if result is not None:
                atomic_write(run.folder / name, json.dumps(asdict(result), indent=2).encode())
    return Cloned(run.folder, module, interrupted)


@dataclass(frozen=True)
class Cloning:
    """What Lightning's training loop needs.

    Attributes:
        trainer: Lightning's trainer.
        module: The policy, and how it is trained.
        data: The streams of batches.
        checkpoint: The checkpoint to resume from; None for a new run.
    """

    trainer: pl.Trainer
    module: CloningModule
    data: DemonstrationModule
    checkpoint: str | None


def cloning_of(run: Run[TrainConfig]) -> Cloning:
    """Makes and checks everything that training needs; afterwards the run's folder exists.

    Raises:
        InputError: If options, data and policy do not fit together.
    """
    saved = run.saved
    check_data_are_there(run)
    accelerator = checked_device(run.options)
    dataset = Dataset(run.options.data).select(run.options.select)
    lanes = checked_lanes(run.options, dataset, accelerator)
    # A run keeps its lanes, wherever it is resumed.
    run = replace(run, options=replace(run.options, lanes=run.options.lanes or lanes))
    options = run.options
    pl.seed_everything(options.seed, verbose=False)
    policy = policy_of(options, dataset) if saved is None else make_policy(config_from_values(saved["policy"]))
    quiet = options.quiet or not is_first_process()
    tables = label_tables(
        policy.config, dataset, options.data[0], label=options.label, balance=options.balance, quiet=quiet
    )
    about = {"dataset": dataset.fingerprint, "games": len(dataset), "steps": dataset.steps}
    if saved is not None:
        check_same_games(options.data[0], dataset, about, saved["about"])
        about = {**saved["about"], **about}
    elif options.weights is not None:
        about["frames_before"] = frames_of(load_values(checkpoint_at(options.weights)))
    loggers = run.begin(0 if saved is None else saved["global_step"])
    if options.compile:
        compile_parts(policy, dynamic=accelerator == "cpu")
    data = demonstrations(options, dataset, lanes, policy.config)
    budget = budget_of(options, data)
    module = CloningModule(policy, options, tables, budget.share_done, about, options.log_every)
    trainer = trainer_of(run, accelerator, loggers, callbacks_of(run, budget))
    return Cloning(trainer, module, data, None if saved is None else str(run.folder / LAST))


def check_data_are_there(run: Run[TrainConfig]) -> None:
    """Checks that the data of a resumed run still exist where the run last found them.

    Raises:
        InputError: If they do not; the message tells how to give their new path.
    """
    if run.saved is None:
        return
    for path in run.options.data:
        if not path.exists():
            raise InputError(
                f"{path}: the run's data are not there any more; "
                f"strathack train DATA --resume {run.folder} names them anew"
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
    run: Run[TrainConfig], accelerator: str, loggers: list[Logger], callbacks: list[pl.Callback]
) -> pl.Trainer:
    """Makes Lightning's trainer; it has no limit of epochs, since :class:`Budget` ends training."""
    options = run.options
    half = is_bf16(options.precision, faster=accelerator == "gpu" or is_bf16_faster_on_cpu())
    return pl.Trainer(
        accelerator=accelerator,
        devices=options.devices,
        strategy=_strategy(options),
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


def checked_lanes(config: TrainConfig, dataset: Dataset, accelerator: str) -> int:
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


def policy_of(config: TrainConfig, dataset: Dataset) -> AnyPolicy:
    """Makes the policy that the options ask for.

    Raises:
        InputError: If the options do not give a policy, or it needs observations that the dataset does not have.
    """
    policy: AnyPolicy
    if config.high is not None and config.low is not None:
        high, low = load_policy(config.high), load_policy(config.low)
        if not (isinstance(high, Policy) and isinstance(low, Policy)):
            raise InputError("high, low: a cleaved policy is made of two whole ones")
        policy = CleavedPolicy(CleavedConfig(high.config, low.config, (config.freeze,) if config.freeze else ()))
        policy.high.load_state_dict(high.state_dict())
        policy.low.load_state_dict(low.state_dict())
    elif config.weights is not None:
        policy = load_policy(config.weights)
        if config.changes:
            policy = grown(policy, config.changes)
    else:
        policy = Policy(_preset_for(config, dataset))
    check_observations(policy.config, dataset, config.data[0])
    return policy.train()  # loaded policies are in evaluation mode, which Lightning does not change


def _preset_for(config: TrainConfig, dataset: Dataset) -> PolicyConfig:
    changes = config.changes
    wanted = preset(config.policy)
    if config.label is not None and wanted.label is not None:
        changes.insert(0, f"heads.label={config.label}")
    wanted = wanted.changed(changes)
    if isinstance(wanted.heads, HierarchicalConfig) and not wanted.strategies:
        names = dataset_names(dataset, wanted.heads.label)
        if not names:
            raise InputError(f"{config.data[0]}: no step has a {wanted.heads.label}")
        wanted = wanted.with_strategies(names)
    return wanted


def demonstrations(config: TrainConfig, dataset: Dataset, lanes: int, policy: AnyConfig) -> DemonstrationModule:
    """Makes the data module, which streams batches."""
    columns = ("actions", *([config.label or policy.label] if policy.label else []))
    # With few games to validate on, longer unrolls make batches as large as in training. The length of unrolls does not
    # affect a policy's outputs, unless the policy attends as the published code does.
    games = int((dataset.select(split="validation").rows["steps"] > 0).sum())
    longer = 1 if is_legacy(policy) else max(lanes // -(-games // config.devices), 1)
    return DemonstrationModule(
        dataset,
        lanes=lanes,
        steps=config.unroll,
        workers=config.loader_workers,
        validation_steps=config.unroll * longer,
        # Lightning validates at the end of what it calls an epoch.
        batches_per_epoch=config.validate_every * config.accumulate,
        options={"observations": policy.observations, "columns": columns, "places": True, "seed": config.seed},
    )


def is_legacy(policy: AnyConfig) -> bool:
    """Returns whether the policy has a transformer that attends as the published code does."""
    if isinstance(policy, CleavedConfig):
        return is_legacy(policy.high) or is_legacy(policy.low)
    core = policy.core.transformer if isinstance(policy.core, LSTMTransformerConfig) else policy.core
    return isinstance(core, TransformerConfig) and core.legacy


def budget_of(config: TrainConfig, data: DemonstrationModule) -> Budget:
    """Makes the budget, which ends training at the first of the given ends, or after one pass if none is given."""
    passes = config.passes
    if config.steps is None and config.minutes is None and passes is None:
        passes = 1.0
    ends = [] if config.steps is None else [config.steps]
    if passes is not None:
        batch = data.lanes * config.unroll * config.devices * config.accumulate
        ends.append(max(round(passes * data.dataset.select(split="train").steps / batch), 1))
    return Budget(min(ends, default=None), config.minutes)


def callbacks_of(run: Run[TrainConfig], budget: Budget) -> list[pl.Callback]:
    """Returns Lightning's callbacks and our own, in the order in which they are called."""
    options = run.options
    callbacks: list[pl.Callback] = [budget, Rows()]
    if options.ema:
        callbacks.append(MovingAverage(options.ema))
    if options.early_stop:
        monitored = "validation/action_nll"
        callbacks.append(pl.callbacks.EarlyStopping(monitored, patience=options.early_stop, check_finite=False))
    # After the callbacks above, since checkpoints must hold what those did at the end of a batch.
    callbacks.append(Checkpoints(run.folder, options.checkpoint_every, options.keep_every))
    if not options.quiet and is_first_process():
        callbacks.append(TrainingProgress(budget))
    return callbacks


def compile_parts(policy: AnyPolicy, *, dynamic: bool) -> None:
    """Compiles encoders and heads; not cores, which split unrolls at the unpredictable starts of games.

    Args:
        policy: The policy.
        dynamic: Whether shapes differ from batch to batch, as on CPUs, where equal cells are computed once.
    """
    for module in policy.modules():
        if isinstance(module, Policy):
            for part in (*module.encoders, module.heads):
                part.compile(dynamic=dynamic)


def _strategy(config: TrainConfig) -> Any:
    """Returns Lightning's strategy for one or several processes.

    Cloning does not use the value head, and a cleaved policy does not use the heads that its other part replaces, so
    some parameters have no gradient. Buffers are equal in all processes and never change; if they were broadcast at
    every forward pass, processes with validations of unequal length would wait for each other for ever.
    """
    if config.devices == 1:
        return "auto"
    return pl.strategies.DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
