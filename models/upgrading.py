"""Checkpoints of earlier releases, made those of this one as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from strathack.dataset.schema import SCREEN_COLUMNS
from strathack.models.config import CHARACTERS, PRINTABLE

_MESSAGE, _CHARACTERS = "message.weight", "characters.weight"
"""Weights of encoders; only those of symbols have the latter."""
_ROWS = SCREEN_COLUMNS * CHARACTERS


def with_printable_messages(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a checkpoint of version 2 from those of one of version 1.

    In version 1 the message encoders of :class:`strathack.models.config.SymbolsConfig` had weights for all 256 bytes in
    each column. Those for what is no printable character of ASCII, which messages are made of, are left out: of the
    weights, of their averages and of moments. Those of :class:`strathack.models.config.PixelsConfig` have them all.

    Args:
        values: Nested dictionaries, lists and tuples.
    """
    units = {found[name].shape[1] for found in _mappings(values) for name in _messages(found, of_symbols=True)}
    changed: dict[str, Any] = _printable(values, units)
    return changed


def _mappings(values: Any) -> Iterator[Mapping[Any, Any]]:
    """Yields all dictionaries among nested dictionaries, lists and tuples."""
    if isinstance(values, Mapping):
        yield values
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        for value in values:
            yield from _mappings(value)


def _messages(weights: Mapping[Any, Any], *, of_symbols: bool) -> list[str]:
    """Returns the names of the weights of message encoders, of encoders of symbols or of all others."""
    names = [name for name in weights if isinstance(name, str) and name.endswith(_MESSAGE)]
    return [name for name in names if (name.removesuffix(_MESSAGE) + _CHARACTERS in weights) == of_symbols]


def _printable(values: Any, units: set[int]) -> Any:
    """Returns the values with what message encoders of symbols have for printable characters, and zeros for others.

    Args:
        values: Nested dictionaries, lists and tuples.
        units: Units that such encoders have: moments, which have no names, are known by them.
    """
    if isinstance(values, Mapping):
        kept = _messages(values, of_symbols=False)
        return {name: value if name in kept else _printable(value, units) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return type(values)(_printable(value, units) for value in values)
    if not isinstance(values, Tensor) or values.ndim != 2 or values.shape[1] not in units or len(values) != _ROWS:
        return values
    by_column = values.view(SCREEN_COLUMNS, CHARACTERS, -1)[:, PRINTABLE.start : PRINTABLE.stop]
    return torch.cat([by_column, torch.zeros_like(by_column[:, :1])], 1).flatten(0, 1)
