"""The commands ``models`` and ``train``; each function returns an exit status."""

from __future__ import annotations

import json

from rich.console import Console

from strathack.dataset.errors import InputError, RunError
from strathack.dataset.remote.hub import upload
from strathack.models.cleaved import config_from_values
from strathack.models.fitting import concluded
from strathack.models.hihack import imported_policy
from strathack.models.options import ImportHihackConfig, ModelsConfig, PublishConfig, TrainConfig
from strathack.models.presets import PRESETS
from strathack.models.publishing import is_made, publish, published_rows
from strathack.models.running import process_of_a_run
from strathack.models.saving import save_policy
from strathack.models.tables import parameter_count, parts_of, presets_table, published_table, validation_table
from strathack.models.training import train_policy


def train(config: TrainConfig) -> int:
    """``strathack train``: trains a policy, or resumes a run, and prints the last validation.

    Raises:
        InputError: If options, data and policy do not fit together.
        RunError: If the loss is not finite.
    """
    with process_of_a_run(config):
        ended = train_policy(config)
    return concluded("train", config, ended, lambda result: Console().print(validation_table(result)))


def list_(config: ModelsConfig) -> int:
    """``strathack models list``: prints the preset policies, and the trained ones that come with the package."""
    if config.json:
        known = {name: {"parameters": parameter_count(policy)} | policy.to_values() for name, policy in PRESETS.items()}
        for name, policy, about in published_rows():
            known[name] = {"parameters": parameter_count(config_from_values(policy)), **policy, "about": about}
        print(json.dumps(known))
    else:
        Console().print(presets_table())
        Console().print(published_table(published_rows()))
    return 0


def publish_(config: PublishConfig) -> int:
    """``strathack models publish``: writes a run's policy into a file or a folder, and uploads the folder.

    A folder that the same options made of the same checkpoint is uploaded as it is: an upload that broke off goes on.

    Raises:
        InputError: If there is no such run, the file or folder exists already, or the hub refuses.
        RunError: If a file cannot be written, or the hub cannot be reached.
    """
    try:
        path = config.out if config.push and is_made(config) else publish(config)
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        size = sum(one.stat().st_size for one in files)
    except OSError as error:
        raise RunError(f"{config.out}: {error.strerror or error}") from None
    print(f"{size:,} bytes in {path}")
    if config.push is not None:
        print(f"uploaded: {upload(path, config.push, 'model', private=config.private)}")
    return 0


def import_hihack(config: ImportHihackConfig) -> int:
    """``strathack models import-hihack``: converts one of the paper's checkpoints into one of this package.

    Raises:
        InputError: If the file is not such a checkpoint, or the new file already exists.
        RunError: If the new file cannot be written.
    """
    if config.out.exists():
        raise InputError(f"{config.out}: exists already")
    policy = imported_policy(config.file, legacy=config.legacy)
    try:
        save_policy(config.out, policy, {"source": str(config.file), "legacy": config.legacy})
    except OSError as error:
        raise RunError(f"{config.out}: {error.strerror or error}") from None
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    encoder, core, heads = parts_of(policy.config)
    print(f"{encoder}, {core}, action heads: {heads}; {parameters:,} parameters, in {config.out}")
    return 0
