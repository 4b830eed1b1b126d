"""What the model commands print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from rich.table import Table

from strathack.models.cleaved import AnyConfig, config_from_values, make_policy
from strathack.models.config import HierarchicalConfig, LSTMConfig, LSTMTransformerConfig, PolicyConfig
from strathack.models.metrics import Result
from strathack.models.presets import PRESETS


def parameter_count(config: AnyConfig) -> int:
    """Returns how many parameters the policy of a configuration has."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make_policy(config).parameters())


def parts_of(config: PolicyConfig) -> tuple[str, str, str]:
    """Describes encoder, core and heads in a word or two each."""
    core, heads = config.core, config.heads
    if isinstance(core, LSTMTransformerConfig):
        said = f"lstm {core.lstm.hidden} + {core.transformer.layers} layers"
    else:
        said = f"lstm {core.hidden}" if isinstance(core, LSTMConfig) else f"transformer, {core.layers} layers"
    if isinstance(heads, HierarchicalConfig):
        return config.encoder.kind, said, f"{len(heads.strategies)}, {heads.combine}"
    return config.encoder.kind, said, "1, large" if heads.hidden else "1"


def presets_table() -> Table:
    """Makes the table of the preset policies."""
    table = Table()
    table.add_column("policy", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    for name in ("encoder", "core", "action heads"):
        table.add_column(name)
    for name, config in PRESETS.items():
        table.add_row(name, f"{parameter_count(config):,}", *parts_of(config))
    return table


def published_table(rows: Iterable[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> Table:
    """Makes the table of the policies that come with the package.

    Args:
        rows: Name, configuration and what is known of each; see :mod:`strathack.models.publishing`.
    """
    table = Table()
    table.add_column("trained policy", no_wrap=True)
    for name in ("size", "frames", "held-out NLL", "mean score", "median"):
        table.add_column(name, justify="right")
    for name, policy, about in rows:
        score = about.get("evaluation", {}).get("figures", {}).get("score")
        table.add_row(
            name,
            f"{parameter_count(config_from_values(policy)) / 1e6:.1f} M",
            _frames_told(about),
            f"{about['validation']['action_nll']:.3f}" if "validation" in about else "",
            f"{score['mean']['value']:,.0f}{with_error(score, ' ± {:,.0f}')}" if score else "",
            f"{score['median']['value']:,.0f}" if score else "",
        )
    return table


def with_error(values: Mapping[str, Any], text: str) -> str:
    """Returns a figure's standard error in some text; nothing for a single game, which has none."""
    return "" if values["standard_error"] is None else text.format(values["standard_error"])


def _frames_told(about: Mapping[str, Any]) -> str:
    """Returns the frames that a policy was cloned on, and those that it was fine-tuned on."""
    counts = [about.get("frames"), about.get("finetuning", {}).get("frames")]
    return " + ".join(f"{count / 1e6:,.1f} M" for count in counts if count)


def validation_table(result: Result) -> Table:
    """Makes the table of a validation's result: for actions, for strategies, and for both by strategy."""
    table = Table(title=f"validation, {result.steps:,} steps")
    for name, justify in (("", "left"), ("steps", "right"), ("recall", "right"), ("action accuracy", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in result.by_strategy:
        table.add_row(row.name, f"{row.steps:,}", f"{row.recall:.1%}", f"{row.accuracy:.1%}")
    if result.by_strategy:
        table.add_section()
        assert result.strategy_accuracy is not None
        table.add_row("strategy accuracy", "", f"{result.strategy_accuracy:.1%}", "")
        table.add_row("  of the majority", "", f"{result.majority:.1%}", "")
        table.add_row("  macro recall", "", f"{result.macro_recall:.1%}", "")
        table.add_row("  NLL, nats", "", f"{result.strategy_nll:.3f}", "")
        table.add_section()
    table.add_row("action accuracy", "", "", f"{result.accuracy:.1%}")
    table.add_row("  among five", "", "", f"{result.top5:.1%}")
    table.add_row("  NLL, nats", "", "", f"{result.action_nll:.3f}")
    return table
