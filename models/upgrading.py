"""Checkpoints of earlier releases, made those of this one as they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from strathack.dataset.schema import SCREEN_COLUMNS
from strathack.models.config import CHARACTERS, PRINTABLE, SymbolsConfig


def with_printable_messages(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a checkpoint of version 2 from those of one of version 1.

    In version 1 the message encoders of :class:`strathack.models.config.SymbolsConfig` had weights for all 256 bytes in
    each column, of which messages have 95. The others had never learned, and are left out: of the weights, of their
    averages and of an optimizer's moments. Those of :class:`strathack.models.config.PixelsConfig` have them all still.

    Args:
        values: Nested dictionaries, lists and tuples.
    """
    changed: dict[str, Any] = _printable(values) if _has_symbols(values) else dict(values)
    return changed


def _has_symbols(values: Any) -> bool:
    """Returns whether there is a configuration of an encoder of symbols among the values."""
    if isinstance(values, Mapping):
        return values.get("kind") == SymbolsConfig.kind or any(map(_has_symbols, values.values()))
    return isinstance(values, (list, tuple)) and any(map(_has_symbols, values))


def _printable(values: Any) -> Any:
    """Returns the values with the weights of message encoders, and what else has their shape, by printable bytes."""
    if isinstance(values, Tensor) and values.ndim == 2 and len(values) == SCREEN_COLUMNS * CHARACTERS:
        by_column = values.view(SCREEN_COLUMNS, CHARACTERS, -1)[:, PRINTABLE.start : PRINTABLE.stop]
        others = torch.zeros_like(by_column[:, :1])
        return torch.cat([by_column, others], 1).flatten(0, 1)
    if isinstance(values, Mapping):
        return {name: _printable(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return type(values)(map(_printable, values))
    return values
