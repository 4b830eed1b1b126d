"""Reads the paper's checkpoints, without running code in them, and converts them into policies of this package.

Such a checkpoint is ``{"learner_state": {"model": state dict, …}, "flags": …}``, written by ``torch.save``.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strathack.dataset.errors import InputError, first_line
from strathack.dataset.labels import PUBLISHED_STRATEGIES
from strathack.models.config import (
    CoreConfig,
    FlatConfig,
    HeadsConfig,
    HierarchicalConfig,
    LSTMConfig,
    LSTMTransformerConfig,
    PixelsConfig,
    PolicyConfig,
    TransformerConfig,
)
from strathack.models.policy import Policy

Weights = Mapping[str, Tensor]

_SCREEN, _MESSAGE, _BOTTOM = "screen_encoder.conv_head", "topline_encoder.msg_fwd", "bottomline_encoder"


def imported_policy(path: Path, *, legacy: bool = True) -> Policy:
    """Returns a policy with the weights of one of the paper's checkpoints.

    Args:
        path: The checkpoint.
        legacy: Whether a transformer attends as in the published code, in unrolls and in steps; otherwise it attends
            as in this package. No effect on an LSTM.

    Raises:
        InputError: If the file is no such checkpoint, or its policy has another architecture.
    """
    weights, flags = read_hihack(path)
    try:
        config = config_of(weights, flags, legacy=legacy)
        policy = Policy(config)
        policy.load_state_dict(renamed(weights, config))
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{path}: parameters or flags are not what the paper's are: {error}") from None
    except KeyError as error:
        raise InputError(f"{path}: the parameter {error} is missing; expected one of the paper's policies") from None
    except RuntimeError as error:
        what = " ".join(str(error).split())
        raise InputError(f"{path}: the parameters do not fit the architecture that they look like: {what}") from None
    return policy


def read_hihack(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Returns the weights and flags of a checkpoint, without running code in the file.

    Raises:
        InputError: If the file is no such checkpoint, or holds more than plain values and tensors.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, IndexError) as error:
        what = first_line(error)
        raise InputError(f"{path}: not a checkpoint of tensors and plain values: {what}") from None
    try:
        weights, flags = dict(checkpoint["learner_state"]["model"]), dict(checkpoint.get("flags") or {})
        return {name.removeprefix("module."): value for name, value in weights.items()}, flags
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise InputError(f"{path}: no learner_state.model in it; expected a checkpoint of the paper") from None


def config_of(weights: Weights, flags: Mapping[str, Any], *, legacy: bool) -> PolicyConfig:
    """Returns the configuration of the policy to which weights of these names and shapes belong.

    Raises:
        KeyError: If a parameter is missing; the key is its name.
    """
    screen = weights["screen_encoder.fc_head.0.weight"].shape[0]
    message, bottom = weights[f"{_MESSAGE}.0.weight"].shape[0], weights[f"{_BOTTOM}.fwd_net.2.weight"].shape[0]
    channels = tuple(weights[f"{_SCREEN}.{layer}.weight"].shape[0] for layer in (0, 2, 4, 6))
    lstm = LSTMConfig(weights["core.weight_hh_l0"].shape[1]) if "core.weight_hh_l0" in weights else None
    inputs = weights["core.weight_ih_l0" if lstm else "core.layers.0.self_attn.in_proj_weight"].shape[1]
    encoder = PixelsConfig(
        crop=int(flags.get("crop_dim", 18)),
        message=message,
        bottom_lines=bottom,
        screen=screen,
        channels=channels,
        previous_action=inputs - message - bottom - screen,
    )
    if lstm is None:
        # The flat transformer has PyTorch's default layers; a transformer after an LSTM has not.
        core: CoreConfig = replace(_transformer_of(weights, "core", flags, legacy), norm_first=False, activation="relu")
    elif "core_trnsfrmr.layers.0.linear1.weight" in weights:
        core = LSTMTransformerConfig(lstm, _transformer_of(weights, "core_trnsfrmr", flags, legacy))
    else:
        core = lstm
    return PolicyConfig(encoder, core, _heads_of(weights))


def _transformer_of(weights: Weights, part: str, flags: Mapping[str, Any], legacy: bool) -> TransformerConfig:
    return TransformerConfig(
        layers=_count(weights, rf"{part}\.layers\.(\d+)\."),
        heads=int(flags.get("num_attention_heads", 16)),
        feedforward=weights[f"{part}.layers.0.linear1.weight"].shape[0],
        context=int(flags.get("unroll_length", 32)),
        positions="sinusoidal",
        legacy=legacy,
    )


def _heads_of(weights: Weights) -> HeadsConfig:
    if "strategy_encoder.weight" in weights:
        # Index i is the strategy of ordinal i − 1; the transformer has seven more heads than there are ordinals.
        names = ["none", *PUBLISHED_STRATEGIES]
        names += [f"unused {number}" for number in range(len(names), weights["strategy_encoder.weight"].shape[0])]
        hidden = weights["policies.0.0.weight"].shape[0]
        return HierarchicalConfig("hihack_strategy", tuple(names), hidden, combine="sampled")
    layers = range(0, 2 * _count(weights, r"policy\.(\d+)\.weight") - 2, 2)
    return FlatConfig(tuple(weights[f"policy.{layer}.weight"].shape[0] for layer in layers))


def _count(weights: Weights, pattern: str) -> int:
    return len({match[1] for name in weights if (match := re.match(pattern, name))})


def renamed(weights: Weights, config: PolicyConfig) -> dict[str, Tensor]:
    """Returns the weights with the names and shapes that :class:`Policy` has.

    Raises:
        KeyError: If a parameter is missing; the key is its name.
    """
    new: dict[str, Tensor] = {}
    two = isinstance(config.core, LSTMTransformerConfig)
    for number, suffix in enumerate(["", "2"] if two else [""]):
        for old, name in _ENCODER.items():
            part, _, rest = old.partition(".")
            for kind in ("weight", "bias"):
                new[f"encoders.{number}.{name}.{kind}"] = weights[f"{part}{suffix}.{rest}.{kind}"]
        message, part = f"encoders.{number}.message", f"topline_encoder{suffix}.msg_fwd.0"
        new[f"{message}.weight"] = weights[f"{part}.weight"].t().contiguous()
        new[f"{message}.bias"] = weights[f"{part}.bias"]
    if isinstance(config.core, TransformerConfig):
        new |= _transformer(weights, "core", "core", config.core)
    else:
        lstm = "core.lstm.lstm" if two else "core.lstm"
        new |= {f"{lstm}.{name.removeprefix('core.')}": value for name, value in weights.items() if _is_lstm(name)}
    if isinstance(config.core, LSTMTransformerConfig):
        new |= _transformer(weights, "core_trnsfrmr", "core.transformer", config.core.transformer)
    for kind in ("weight", "bias"):
        new[f"heads.value.{kind}"] = weights[f"baseline.{kind}"]
    return new | _action_heads(weights, config.heads)


_ENCODER: Mapping[str, str] = {
    "topline_encoder.msg_fwd.2": "message.out",
    "bottomline_encoder.conv_net.0": "bottom_lines.convolutions.0",
    "bottomline_encoder.conv_net.2": "bottom_lines.convolutions.2",
    "bottomline_encoder.fwd_net.0": "bottom_lines.layers.0",
    "bottomline_encoder.fwd_net.2": "bottom_lines.layers.2",
    "screen_encoder.conv_head.0": "screen.first",
    "screen_encoder.conv_head.2": "screen.rest.0",
    "screen_encoder.conv_head.4": "screen.rest.2",
    "screen_encoder.conv_head.6": "screen.rest.4",
    "screen_encoder.fc_head.0": "screen.out",
}
"""Modules of an encoder: the paper's name → ours."""

_LAYER: Mapping[str, str] = {
    "self_attn.in_proj_": "attention_in.",
    "self_attn.out_proj.": "attention_out.",
    "linear1.": "feedforward_in.",
    "linear2.": "feedforward_out.",
    "norm1.": "attention_norm.",
    "norm2.": "feedforward_norm.",
}
"""Prefixes of the names of a transformer layer's parameters: PyTorch's → ours."""


def _is_lstm(name: str) -> bool:
    return re.fullmatch(r"core\.(weight|bias)_[ih]h_l\d+", name) is not None


def _transformer(weights: Weights, old: str, new: str, config: TransformerConfig) -> dict[str, Tensor]:
    return {
        f"{new}.layers.{layer}.{ours}{kind}": weights[f"{old}.layers.{layer}.{theirs}{kind}"]
        for layer in range(config.layers)
        for theirs, ours in _LAYER.items()
        for kind in ("weight", "bias")
    }


def _action_heads(weights: Weights, config: HeadsConfig) -> dict[str, Tensor]:
    if isinstance(config, FlatConfig):
        old = [f"policy.{layer}" for layer in range(0, 2 * len(config.hidden) + 1, 2)] if config.hidden else ["policy"]
        return {
            f"heads.actions.{2 * number}.{kind}": weights[f"{name}.{kind}"]
            for number, name in enumerate(old)
            for kind in ("weight", "bias")
        }

    def all_heads(join: Callable[[list[Tensor]], Tensor], rest: str) -> Tensor:
        return join([weights[f"policies.{head}.{rest}"] for head in range(len(config.strategies))])

    return {
        "heads.strategy.weight": weights["strategy_encoder.weight"],
        "heads.strategy.bias": weights["strategy_encoder.bias"],
        "heads.hidden.weight": all_heads(torch.cat, "0.weight"),
        "heads.hidden.bias": all_heads(torch.cat, "0.bias"),
        "heads.weight": all_heads(torch.stack, "2.weight").transpose(1, 2).contiguous(),
        "heads.bias": all_heads(torch.stack, "2.bias")[:, None],
    }
