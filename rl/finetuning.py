"""``strathack finetune``: a run's folder, its policy, its actors, and the loop that learns from what they play."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from rich.console import Console

from strathack.dataset.errors import InputError, RunError
from strathack.models.acting import ActingConfig
from strathack.models.callbacks import MetricsCSV
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
from strathack.models.saving import LAST, load_values
from strathack.models.training import fingerprint
from strathack.rl.display import ended_table
from strathack.rl.loop import Run, asked_to_end
from strathack.rl.options import FinetuneConfig
from strathack.rl.preparing import (
    check_environment,
    check_splits,
    demos_of,
    learner_of,
    playing,
    policy_of,
    saved_games_of,
    slices_in_batch,
    teacher_of,
    threads_of,
)
from strathack.rl.progress import Counters
from strathack.rl.rewards import Rewards
from strathack.rl.rollouts import Follower


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        folder: The run's.
        counters: What was done in it.
        interrupted: The signal that asked it to end, if one did; it can be resumed.
    """

    folder: Path
    counters: Counters
    interrupted: int | None


def main(config: FinetuneConfig) -> int:
    """Fine-tunes, or goes on with it, and prints what came of it.

    Raises:
        InputError: If options, environment, policy and demonstrations do not go together.
        RunError: If the loss is no number, or actors cannot go on.
    """
    quieten()
    hold_freed_memory()
    try:
        ended = finetune(config)
    except OSError as error:
        raise RunError(f"{error.filename or config.out}: {error.strerror or error}") from None
    if not is_first_process():
        return 0
    if ended.interrupted is not None:
        print(f"interrupted; strathack finetune --resume {ended.folder} goes on", file=sys.stderr)
        return 128 + ended.interrupted
    Console().print(ended_table(ended.counters))
    print(f"{ended.counters.frames:,} frames; checkpoint and {METRICS} in {ended.folder}")
    if ended.counters.lost:
        print(f"{ended.counters.lost} actors were replaced, the last since it {ended.counters.why_lost}")
    return 0


def finetune(config: FinetuneConfig) -> Ended:
    """Fine-tunes, or goes on with it.

    Raises:
        InputError: If options, environment, policy and demonstrations do not go together.
        RunError: If the loss is no number, or actors cannot go on.
    """
    saved: dict[str, Any] | None = None
    if config.resume is not None:
        config, saved = resumed_run(config)
    fabric = fabric_of(config)
    fabric.launch()
    launcher = fabric.strategy.launcher
    others = launcher.procs if isinstance(launcher, _SubprocessScriptLauncher) else []
    try:
        ended = _finetune(config, saved, fabric)
    except BaseException:
        # Other processes would wait for this one.
        for process in others:
            process.kill()
        raise
    check_ended(others)
    return ended


def _finetune(config: FinetuneConfig, saved: Mapping[str, Any] | None, fabric: Fabric) -> Ended:
    assert config.out is not None
    fabric.seed_everything(config.seed, verbose=False)
    torch.set_num_threads(threads_of(config))
    policy = policy_of(config, saved).to(fabric.device)
    # From here on every process draws for itself.
    torch.manual_seed(config.seed + fabric.global_rank)
    check_environment(config, policy.config)
    demos = demos_of(config.imitation.demos, policy.config)
    held_out = demos if config.imitation.held_out is None else demos_of(config.imitation.held_out, policy.config)
    check_splits(config, demos, held_out)
    slices_in_batch(config)
    teacher = teacher_of(config, policy.config, fabric.device)
    about = {"env": config.env, "dataset": "" if demos is None else fingerprint(demos.dataset)}
    if saved is not None and saved["about"] != about:
        raise InputError(f"{config.imitation.demos}: other games than those that the run was trained on")
    loggers = other_loggers(config) if fabric.is_global_zero else []
    if saved is None:
        begin_folder(config)
    counters = Counters.from_values(saved["counters"]) if saved is not None else Counters()
    if fabric.is_global_zero:
        loggers.append(MetricsCSV(config.out / METRICS, counters.updates))

    def summed(values: np.ndarray) -> np.ndarray:
        shared = fabric.all_reduce(torch.from_numpy(values).to(fabric.device), reduce_op="sum")
        return shared.cpu().numpy()

    rewards = Rewards(config.reward, config.appo.discount, summed if fabric.world_size > 1 else None)
    with ExitStack() as stack:
        follower = Follower(policy, ActingConfig(hold=config.appo.hold), counters.updates)
        saved_games = saved_games_of(config, policy.config, fabric)
        if saved_games is not None:
            stack.enter_context(saved_games)
        rollouts = stack.enter_context(
            playing(config, policy.config, follower, counters, saved_games, fabric.global_rank)
        )
        learner = learner_of(config, policy, demos, teacher, fabric, follower)
        run = Run(config, fabric, policy, learner, rollouts, rewards, counters, held_out, loggers, about)
        if saved is not None:
            run.load(saved)
        stack.enter_context(run.display)
        asked = stack.enter_context(asked_to_end())
        interrupted = run.until_it_ends(asked)
        rollouts.stop()
        fabric.barrier()  # the games of all are there
        if saved_games is not None:
            saved_games.merge()
    return Ended(config.out, counters, interrupted)


def fabric_of(config: FinetuneConfig) -> Fabric:
    """Lightning's Fabric: devices, and the processes that learn side by side."""
    accelerator = {"gpu": "cuda"}.get(name := checked_device(config), name)
    strategy = "ddp" if config.devices * config.nodes > 1 else "auto"
    return Fabric(accelerator=accelerator, devices=config.devices, num_nodes=config.nodes, strategy=strategy)


def resumed_run(config: FinetuneConfig) -> tuple[FinetuneConfig, dict[str, Any]]:
    """The options of the run to go on with, and its checkpoint.

    Raises:
        InputError: If there is no run.
    """
    assert config.resume is not None
    folder = config.resume
    if not (folder / OPTIONS).exists():
        raise InputError(f"{folder}: no run in it; expected {OPTIONS}")
    saved = FinetuneConfig.from_json((folder / OPTIONS).read_text()).with_end_of(config)
    values = load_values(folder / LAST)
    if "counters" not in values:
        raise InputError(f"{folder}: a run of strathack train; begin from it, strathack finetune {folder} --out ...")
    return replace(saved, out=folder), values
