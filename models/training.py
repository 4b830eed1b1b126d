"""Makes policy, data, module and trainer from the options of ``train``, and checks them before any step."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from torch import nn

from strathack.dataset import Dataset
from strathack.dataset.datamodule import DemonstrationModule
from strathack.dataset.errors import InputError
from strathack.dataset.options import given
from strathack.models.acting import combine_of
from strathack.models.cleaved import (
    AnyConfig,
    AnyPolicy,
    CleavedConfig,
    CleavedPolicy,
    config_from_values,
    make_policy,
)
from strathack.models.cloning import CloningModule
from strathack.models.config import HierarchicalConfig, PolicyConfig
from strathack.models.fitting import Ended, Fit, beginning_of, budget_of, fit_of, learned, streamed
from strathack.models.growing import grown
from strathack.models.label_tables import check_observations, held_names, label_tables
from strathack.models.offline.options import OfflineConfig, used_options
from strathack.models.offline.training import OfflineModule, check_learnable
from strathack.models.options import TrainConfig
from strathack.models.places import checkpoint_at
from strathack.models.policy import Policy
from strathack.models.presets import preset
from strathack.models.pretraining.networks import is_pretrained, load_pretrained, take_encoder
from strathack.models.running import Run, is_first_process
from strathack.models.saving import frames_of, load_plain_values, load_policy

PolicyModule = CloningModule | OfflineModule
"""What trains a policy on recorded games."""


def train_policy(options: TrainConfig) -> Ended[PolicyModule]:
    """Trains a policy, or resumes a run; see :func:`strathack.models.fitting.learned`."""
    return learned(options, training_of)


def training_of(run: Run[TrainConfig]) -> Fit[PolicyModule]:
    """Makes and checks everything that training needs; afterwards the run's folder exists.

    Raises:
        InputError: If options, data and policy do not fit together.
    """
    begun, saved = beginning_of(run), run.saved
    options, dataset, about = begun.run.options, begun.dataset, begun.about
    policy = policy_of(options, dataset) if saved is None else make_policy(config_from_values(saved["policy"]))
    if options.freeze == "encoder" and isinstance(policy, Policy):
        policy.encoders.requires_grad_(False)
    if saved is None:
        check_used(options, policy.config)
    quiet = options.quiet or not is_first_process()
    tables = label_tables(
        policy.config, dataset, options.data[0], label=options.label, balance=options.balance, quiet=quiet
    )
    if saved is None and options.weights is not None:
        before = load_plain_values(checkpoint_at(options.weights))
        about["frames_before"] = 0 if is_pretrained(before) else frames_of(before)
    data = demonstrations(options, dataset, begun.lanes, policy.config)
    budget = budget_of(options, data)
    module: PolicyModule
    if options.algorithm == "bc":
        module = CloningModule(policy, options, tables, budget.share_done, about, options.log_every)
    else:
        valued = check_learnable(policy, dataset, options)
        module = OfflineModule(valued, options, tables, dataset, budget.share_done, about, options.log_every)
    if options.compile:
        compile_parts(module, dynamic=begun.accelerator == "cpu")
    return fit_of(begun, module, data, budget)


def check_used(options: TrainConfig, policy: AnyConfig) -> None:
    """Checks that every option of a new run makes sense for its policy and its algorithm.

    Raises:
        InputError: If one does not.
    """
    if options.freeze == "encoder" and isinstance(policy, CleavedConfig):
        raise InputError(f"freeze: {options.weights} holds a cleaved policy, which has no encoder of its own")
    if options.algorithm != "bc" and options.early_stop:
        raise InputError(f"early_stop: a small TD error of {options.algorithm} makes no good policy; leave it out")
    if options.algorithm != "bc" and options.unroll < 2:
        raise InputError(f"unroll: {options.unroll} steps hold no step with a next one; expected at least 2")
    if options.algorithm != "bc" and combine_of(policy) == "label":
        raise InputError(f"heads.combine: label; {options.algorithm} learns of actions, whatever strategy they served")
    for name in () if policy.label is not None else given(options, "balance", "strategy_weight", "head_weight"):
        raise InputError(f"{name}: is of policies with strategies, and this one is flat")
    for name in () if options.algorithm == "bc" else given(options, "balance", "head_weight"):
        raise InputError(f"{name}: is of cloning; {options.algorithm} has no use for it")
    for field in fields(OfflineConfig):
        if field.name not in used_options(options.algorithm) and given(options.offline, field.name):
            raise InputError(f"offline.{field.name}: algorithm {options.algorithm} has no use for it")


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
        policy = _policy_from(config.weights, config, dataset)
    else:
        policy = Policy(_preset_for(config, dataset))
    check_observations(policy.config.observations, dataset, config.data[0])
    return policy.train()  # loaded policies are in evaluation mode, which Lightning does not change


def _policy_from(weights: Path, config: TrainConfig, dataset: Dataset) -> AnyPolicy:
    """Returns the policy of a checkpoint, with what is to be added to it; or a new one with a pre-trained encoder."""
    if is_pretrained(load_plain_values(checkpoint_at(weights))):
        new = Policy(_preset_for(config, dataset))
        take_encoder(new, load_pretrained(weights), weights)
        return new
    if config.policy != TrainConfig.policy:
        raise InputError("weights: the policy is what the checkpoint holds; leave policy out")
    policy = load_policy(weights)
    return grown(policy, config.changes) if config.changes else policy


def _preset_for(config: TrainConfig, dataset: Dataset) -> PolicyConfig:
    changes = config.changes
    wanted = preset(config.policy)
    if config.algorithm in ("cql", "rem") and isinstance(wanted.heads, HierarchicalConfig):
        changes.insert(0, "heads.combine=values")
    if config.label is not None and wanted.label is not None:
        changes.insert(0, f"heads.label={config.label}")
    wanted = wanted.changed(changes)
    if isinstance(wanted.heads, HierarchicalConfig) and not wanted.strategies:
        names = held_names(dataset, wanted.heads.label)
        if not names:
            raise InputError(f"{config.data[0]}: no step has a {wanted.heads.label}")
        wanted = wanted.with_strategies(names)
    return wanted


def demonstrations(config: TrainConfig, dataset: Dataset, lanes: int, policy: AnyConfig) -> DemonstrationModule:
    """Makes the data module, which streams batches."""
    columns = ("actions", *([config.label or policy.label] if policy.label else []))
    if config.algorithm != "bc":
        columns = (*columns, "rewards", "dones")
    # With few games to validate on, longer unrolls make batches as large as in training. The length of unrolls does not
    # affect a policy's outputs, unless the policy attends as the published code does.
    games = int((dataset.select(split="validation").rows["steps"] > 0).sum())
    longer = 1 if policy.is_legacy else max(lanes // -(-games // config.devices), 1)
    return streamed(config, dataset, lanes, policy.observations, columns, config.unroll * longer)


def compile_parts(module: nn.Module, *, dynamic: bool) -> None:
    """Compiles encoders and heads; not cores, which split unrolls at the unpredictable starts of games.

    Args:
        module: The module, of whose policies these are.
        dynamic: Whether shapes differ from batch to batch, as on CPUs, where equal cells are computed once.
    """
    for policy in module.modules():
        if isinstance(policy, Policy):
            for part in (*policy.encoders, policy.heads):
                part.compile(dynamic=dynamic)
