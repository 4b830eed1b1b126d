"""``strathack models``: the policies known by name, and the paper's checkpoints."""

from __future__ import annotations

import json

from rich.console import Console

from strathack.dataset.errors import InputError, RunError
from strathack.models.hihack import import_hihack
from strathack.models.options import ImportHihackConfig, ModelsConfig
from strathack.models.presets import PRESETS
from strathack.models.saving import save_policy
from strathack.models.tables import parameter_count, parts_of, presets_table


def models(config: ModelsConfig) -> int:
    """Lists the policies that are known by name."""
    if config.json:
        known = {name: {"parameters": parameter_count(policy)} | policy.to_values() for name, policy in PRESETS.items()}
        print(json.dumps(known))
    else:
        Console().print(presets_table())
    return 0


def import_checkpoint(config: ImportHihackConfig) -> int:
    """Turns one of the paper's checkpoints into one of ours.

    Raises:
        InputError: If it is none, or the new file exists.
        RunError: If the new file cannot be written.
    """
    if config.out.exists():
        raise InputError(f"{config.out}: exists already")
    policy = import_hihack(config.file, legacy=config.legacy)
    try:
        save_policy(config.out, policy, {"source": str(config.file), "legacy": config.legacy})
    except OSError as error:
        raise RunError(f"{config.out}: {error.strerror or error}") from None
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    encoder, core, heads = parts_of(policy.config)
    print(f"{encoder}, {core}, action heads: {heads}; {parameters:,} parameters, in {config.out}")
    return 0
