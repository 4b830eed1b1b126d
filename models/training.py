"""``strathack train``: a run's folder, its policy and its data, and Lightning's trainer over them."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from rich.console import Console

from strathack.dataset import Dataset
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.files import atomic_write
from strathack.dataset.labels import PUBLISHED_STRATEGIES, UNLABELLED
from strathack.dataset.learning import DemonstrationModule
from strathack.dataset.progress import progress
from strathack.models.callbacks import Budget, Checkpoints, InterruptedRun, MetricsCSV, Rows, TrainingProgress
from strathack.models.cleaved import (
    AnyConfig,
    AnyPolicy,
    CleavedConfig,
    CleavedPolicy,
    build_policy,
    config_from_values,
)
from strathack.models.cloning import CloningModule, LabelTables
from strathack.models.config import HierarchicalConfig, LSTMTransformerConfig, PolicyConfig, TransformerConfig
from strathack.models.losses import action_table, strategy_table
from strathack.models.options import BUDGET, TrainConfig
from strathack.models.policy import Policy
from strathack.models.presets import preset
from strathack.models.running import (
    METRICS,
    OPTIONS,
    begin_folder,
    check_ended,
    checked_device,
    hold_freed_memory,
    is_first_process,
    other_loggers,
    quieten,
)
from strathack.models.saving import LAST, SafetensorsIO, load_policy, load_values
from strathack.models.tables import validation_table

TRAINING, VALIDATION = "training.json", "validation.json"
"""The last row of training and the last validation in full, with their confusion matrices."""

GAMES_COUNTED = 512
"""How many games of the train split are looked into for how frequent strategies are."""


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        folder: The run's.
        module: What was trained.
        interrupted: The signal that asked it to end, if one did; it can be resumed.
    """

    folder: Path
    module: CloningModule
    interrupted: int | None


def main(config: TrainConfig) -> int:
    """Trains, or goes on training, and prints the last validation.

    Raises:
        InputError: If options, data and policy do not go together.
        RunError: If the loss is no number.
    """
    quieten()
    hold_freed_memory()
    try:
        ended = train(config)
    except OSError as error:
        raise RunError(f"{error.filename or config.out}: {error.strerror or error}") from None
    if not is_first_process():
        return 0
    if ended.interrupted is not None:
        print(f"interrupted; strathack train --resume {ended.folder} goes on", file=sys.stderr)
        return 128 + ended.interrupted
    if ended.module.validated is None:
        print(f"{ended.folder}: at its end already; --{', --'.join(BUDGET)} set another")
        return 0
    Console().print(validation_table(ended.module.validated))
    print(f"{ended.module.frames:,} frames; checkpoints and {METRICS} in {ended.folder}")
    return 0


def train(config: TrainConfig) -> Ended:
    """Trains, or goes on training.

    Raises:
        InputError: If options, data and policy do not go together.
        RunError: If the loss is no number.
    """
    resumed = None
    if config.resume is not None:
        config, resumed = resumed_run(config)
    assert config.out is not None
    accelerator = checked_device(config)
    pl.seed_everything(config.seed, verbose=False)
    dataset = Dataset(config.data).select(config.select)
    lanes = checked_lanes(config, dataset)
    policy = new_policy(config, dataset) if resumed is None else build_policy(resumed.policy)
    tables = label_tables(
        policy.config, dataset, config.data[0], label=config.label, balance=config.balance, quiet=config.quiet
    )
    about = {"dataset": fingerprint(dataset), "games": len(dataset), "steps": dataset.steps}
    if resumed is not None and resumed.about["dataset"] != about["dataset"]:
        raise InputError(f"{config.data[0]}: {told_apart(dataset, resumed.about['games'], resumed.about['steps'])}")
    loggers = other_loggers(config)
    if resumed is None:
        begin_folder(config)
    loggers.append(MetricsCSV(config.out / METRICS, 0 if resumed is None else resumed.step))
    if config.compile:
        compile_parts(policy)
    data = demonstrations(config, dataset, lanes, policy.config)
    budget = budget_of(config, data)
    module = CloningModule(policy, config, tables, budget.share_done, about, config.log_every)
    trainer = trainer_of(config, accelerator, loggers, callbacks_of(config, budget))
    interrupted = None
    try:
        trainer.fit(module, data, ckpt_path=None if resumed is None else str(config.out / LAST))
    except InterruptedRun as interruption:
        interrupted = interruption.number
    except BaseException:
        # Other processes would wait for this one.
        if isinstance(launcher := trainer.strategy.launcher, _SubprocessScriptLauncher):
            launcher.kill(signal.SIGKILL)
        raise
    if isinstance(launcher := trainer.strategy.launcher, _SubprocessScriptLauncher):
        check_ended(launcher.procs)
    if trainer.is_global_zero:
        for name, result in ((TRAINING, module.trained), (VALIDATION, module.validated)):
            if result is not None:
                atomic_write(config.out / name, json.dumps(asdict(result), indent=2).encode())
    return Ended(config.out, module, interrupted)


def told_apart(dataset: Dataset, games: int, steps: int) -> str:
    """How a dataset differs from that of so many games and steps which a run was trained on."""
    if (len(dataset), dataset.steps) == (games, steps):
        return f"{games} games, {steps:,} steps, as many as the run was trained on, but others, or split otherwise"
    return f"{len(dataset)} games, {dataset.steps:,} steps; the run was trained on {games} games, {steps:,} steps"


def trainer_of(
    config: TrainConfig, accelerator: str, loggers: list[Logger], callbacks: list[pl.Callback]
) -> pl.Trainer:
    """Lightning's trainer; what ends it is the budget."""
    return pl.Trainer(
        accelerator=accelerator,
        devices=config.devices,
        strategy=_strategy(config),
        precision=_precision(config, accelerator),
        max_epochs=-1,
        accumulate_grad_batches=config.accumulate,
        limit_val_batches=config.validation_batches or 1.0,
        num_sanity_val_steps=0,
        logger=loggers,
        callbacks=callbacks,
        plugins=[SafetensorsIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=config.out,
    )


@dataclass(frozen=True)
class Resumed:
    """What a run that goes on was.

    Attributes:
        policy: Its policy.
        about: What it was trained on.
        step: Optimiser steps it had taken.
    """

    policy: AnyConfig
    about: Mapping[str, Any]
    step: int


def resumed_run(config: TrainConfig) -> tuple[TrainConfig, Resumed]:
    """The options of the run to go on with, and what it was.

    Raises:
        InputError: If there is no run.
    """
    assert config.resume is not None
    folder = config.resume
    if not (folder / OPTIONS).exists():
        raise InputError(f"{folder}: no run in it; expected {OPTIONS}")
    saved = replace(TrainConfig.from_json((folder / OPTIONS).read_text()).with_end_of(config), out=folder)
    if config.data:  # the same games, elsewhere now
        saved = replace(saved, data=config.data)
    for path in saved.data:
        if not path.exists():
            raise InputError(
                f"{path}: the run's data are not there any more; strathack train DATA --resume {folder} names them anew"
            )
    values = load_values(folder / LAST)
    return saved, Resumed(config_from_values(values["policy"]), values["about"], values["global_step"])


def checked_lanes(config: TrainConfig, dataset: Dataset) -> int:
    """How many lanes the games allow for.

    Raises:
        InputError: If a split is empty, or no game is as long as an unroll.
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
    if most < config.lanes and is_first_process():
        print(f"strathack: {config.lanes} lanes are more than there are games; using {most}", file=sys.stderr)
    return min(config.lanes, most)


def new_policy(config: TrainConfig, dataset: Dataset) -> AnyPolicy:
    """The policy that the options ask for.

    Raises:
        InputError: If it is not one, or needs observations that the dataset does not have.
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
    else:
        policy = Policy(_preset_for(config, dataset))
    check_observations(policy.config, dataset, config.data[0])
    return policy.train()  # what was loaded is in evaluation mode, and Lightning leaves it there


def check_observations(policy: AnyConfig, dataset: Dataset, path: Path) -> None:
    """Checks that a dataset has what a policy needs.

    Raises:
        InputError: If it does not; the path is named.
    """
    missing = [key for key in policy.observations if key not in dataset.observations]
    if missing:
        have = ", ".join(dataset.observations) or "none, only keys (strathack dataset expand replays them)"
        raise InputError(f"{path}: the policy needs {', '.join(missing)}; the dataset has {have}")


def _preset_for(config: TrainConfig, dataset: Dataset) -> PolicyConfig:
    changes = [change for change in config.set.split(";") if change.strip()]
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


def dataset_names(dataset: Dataset, label: str) -> tuple[str, ...]:
    """The names of a label in a dataset; a name's place is its code in streams."""
    return PUBLISHED_STRATEGIES if label == "hihack_strategy" else tuple(dataset.vocabularies[label])


def label_tables(
    policy: AnyConfig,
    dataset: Dataset,
    path: Path,
    *,
    label: str | None = None,
    balance: bool = False,
    quiet: bool = True,
) -> LabelTables:
    """From the dataset's codes to the policy's indices, and the strategies' weights.

    Args:
        policy: The policy.
        dataset: The games.
        path: Where they are, for errors.
        label: The label to learn from; the policy's by default.
        balance: Whether to weight strategies; see :func:`balanced_weights`.
        quiet: Whether to show no progress.

    Raises:
        InputError: If they do not fit, or no step has the label.
    """
    actions = action_table(policy.actions)
    if policy.label is None and label is not None:
        raise InputError(f"label: a flat policy learns no {label}")
    if policy.label is None:
        return LabelTables(actions)
    label = label or policy.label
    names = dataset_names(dataset, label)
    if isinstance(policy, CleavedConfig):
        strategy_table(names, policy.high.strategies, label)
    table = strategy_table(names, policy.strategies, label)
    counts = strategy_counts(dataset.select(split="train"), label, table, len(policy.strategies), quiet)
    if not counts.any():
        raise InputError(
            f"{path}: no step of the train split has a {label} (of at most {GAMES_COUNTED} games looked into)"
        )
    return LabelTables(actions, table, label, balanced_weights(counts) if balance else None)


def strategy_counts(dataset: Dataset, label: str, table: np.ndarray, strategies: int, quiet: bool) -> np.ndarray:
    """Steps under each strategy, in at most ``GAMES_COUNTED`` games spread over the dataset, i64 [strategies]."""
    places = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), GAMES_COUNTED)).astype(int))
    counts = np.zeros(strategies, dtype=np.int64)
    codes = {name: code for code, name in enumerate(dataset_names(dataset, label))}
    quiet = quiet or not is_first_process()
    with progress("counting", int(dataset.rows["steps"][places].sum()), quiet=quiet) as advance:
        for place in places.tolist():
            array = dataset[place].arrays[label]
            own = np.bincount(array[:].astype(np.int64) % 256, minlength=256)
            names = {code: code for code in range(len(codes))} if label == "hihack_strategy" else {
                code: codes[name] for name, code in array.codes.items() if code != UNLABELLED
            }  # fmt: skip
            for code, there in names.items():
                if table[there] >= 0:
                    counts[table[there]] += own[code]
            advance(len(array))
    return counts


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Weights that fall with the square root of frequency, of mean 1 over the steps, f32.

    Args:
        counts: Steps under each strategy.
    """
    weights = 1 / np.sqrt(np.maximum(counts, 1))
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)


def fingerprint(dataset: Dataset) -> str:
    """What a run was trained on: a digest of the games' names, lengths, keys and splits, in their order."""
    games = zip(dataset.rows[["game", "steps", "keys_sha256"]].tolist(), dataset.splits.tolist(), strict=True)
    return hashlib.sha256(repr(list(games)).encode()).hexdigest()


def demonstrations(config: TrainConfig, dataset: Dataset, lanes: int, policy: AnyConfig) -> DemonstrationModule:
    """The streams of batches."""
    columns = ("actions", *([config.label or policy.label] if policy.label else []))
    # With few games to validate on, longer unrolls make batches as large; what a policy says does not depend on it,
    # unless it attends as the published code does.
    games = int((dataset.select(split="validation").rows["steps"] > 0).sum())
    longer = 1 if is_legacy(policy) else max(lanes // -(-games // config.devices), 1)
    return DemonstrationModule(
        dataset,
        lanes=lanes,
        steps=config.unroll,
        workers=config.loader_workers,
        validation_steps=config.unroll * longer,
        # What Lightning calls an epoch ends with a validation.
        batches_per_epoch=config.validate_every * config.accumulate,
        options={"observations": policy.observations, "columns": columns, "places": True, "seed": config.seed},
    )


def is_legacy(policy: AnyConfig) -> bool:
    """Whether a transformer of it attends as the published code does."""
    if isinstance(policy, CleavedConfig):
        return is_legacy(policy.high) or is_legacy(policy.low)
    core = policy.core.transformer if isinstance(policy.core, LSTMTransformerConfig) else policy.core
    return isinstance(core, TransformerConfig) and core.legacy


def budget_of(config: TrainConfig, data: DemonstrationModule) -> Budget:
    """When training ends: at the first of the ends that were given, after one pass where none was."""
    passes = config.passes
    if config.steps is None and config.minutes is None and passes is None:
        passes = 1.0
    ends = [] if config.steps is None else [config.steps]
    if passes is not None:
        batch = data.lanes * config.unroll * config.devices * config.accumulate
        ends.append(max(round(passes * data.dataset.select(split="train").steps / batch), 1))
    return Budget(min(ends, default=None), config.minutes)


def callbacks_of(config: TrainConfig, budget: Budget) -> list[pl.Callback]:
    """Lightning's callbacks and ours, in the order in which they are called."""
    assert config.out is not None
    callbacks: list[pl.Callback] = [budget, Rows()]
    if config.ema:
        callbacks.append(pl.callbacks.EMAWeightAveraging(decay=config.ema, use_buffers=False))
    if config.early_stop:
        monitored = "validation/action_nll"
        callbacks.append(pl.callbacks.EarlyStopping(monitored, patience=config.early_stop, check_finite=False))
    # What the others did at the end of a batch belongs into the checkpoint.
    callbacks.append(Checkpoints(config.out, config.checkpoint_every))
    if not config.quiet and is_first_process():
        callbacks.append(TrainingProgress(budget))
    return callbacks


def compile_parts(policy: AnyPolicy) -> None:
    """Has encoders and heads compiled; cores are cut at the starts of games, which no compiler foresees."""
    for module in policy.modules():
        if isinstance(module, Policy):
            for part in (*module.encoders, module.heads):
                part.compile(dynamic=True)


def _strategy(config: TrainConfig) -> Any:
    """How several processes work together.

    Cloning leaves the value head out, and a cleaved policy the heads that its other part stands in for, so there are
    parameters without a gradient. Buffers are the same everywhere and never change; were they sent around at every
    forward pass, validations of unequal length would wait for each other for ever.
    """
    if config.devices == 1:
        return "auto"
    return pl.strategies.DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)


def _precision(config: TrainConfig, accelerator: str) -> str:
    if config.precision == "bf16" or (config.precision == "auto" and accelerator == "gpu"):
        return "bf16-mixed"
    return "32-true"
