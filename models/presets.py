"""Preset policies, by name: those of the paper ("NetHack is Hard to Hack", Piterbarg et al., 2023), and our own."""

from __future__ import annotations

from collections.abc import Mapping

from strathack.dataset.errors import InputError, near_match
from strathack.models.config import (
    FlatConfig,
    HierarchicalConfig,
    LSTMConfig,
    LSTMTransformerConfig,
    PixelsConfig,
    PolicyConfig,
    SymbolsConfig,
    TransformerConfig,
)

_XXL_DECODER = FlatConfig(hidden=(1024, 1024))
_SMALL_HEADS = HierarchicalConfig(hidden=48, offered=True)
_POST_NORM = TransformerConfig(norm_first=False, activation="relu")

PRESETS: Mapping[str, PolicyConfig] = {
    "lstm": PolicyConfig(PixelsConfig(), LSTMConfig(), FlatConfig()),
    "lstm-xxl-decoder": PolicyConfig(PixelsConfig(), LSTMConfig(), _XXL_DECODER),
    "lstm-xxl": PolicyConfig(PixelsConfig(), LSTMConfig(1024), _XXL_DECODER),
    "hier-lstm": PolicyConfig(PixelsConfig(previous_action=121), LSTMConfig(), HierarchicalConfig()),
    "transformer": PolicyConfig(PixelsConfig(), _POST_NORM, _XXL_DECODER),
    "transformer-lstm": PolicyConfig(PixelsConfig(), LSTMTransformerConfig(), FlatConfig()),
    "hier-transformer-lstm": PolicyConfig(PixelsConfig(), LSTMTransformerConfig(), HierarchicalConfig()),
    "symbols-small": PolicyConfig(SymbolsConfig(), LSTMConfig(256), _SMALL_HEADS),
    "symbols-inventory": PolicyConfig(SymbolsConfig(inventory=64), LSTMConfig(256), _SMALL_HEADS),
    "symbols-corpses": PolicyConfig(SymbolsConfig(inventory=64, corpses=32), LSTMConfig(256), _SMALL_HEADS),
    "symbols-marks": PolicyConfig(SymbolsConfig(inventory=64, corpses=32, marks=True), LSTMConfig(256), _SMALL_HEADS),
    "symbols-events": PolicyConfig(
        SymbolsConfig(inventory=64, corpses=32, events=32, marks=True), LSTMConfig(256), _SMALL_HEADS
    ),
    "symbols-base": PolicyConfig(
        SymbolsConfig(
            crop=15,
            embedding=32,
            crop_channels=(64, 64, 64),
            crop_units=512,
            screen_channels=(64, 64, 64),
            screen_units=256,
            message=256,
            blstats=128,
            previous_action=64,
            size=768,
        ),
        LSTMTransformerConfig(LSTMConfig(768), TransformerConfig(width=512, heads=8, layers=3, context=64)),
        HierarchicalConfig(offered=True),
    ),
}
"""Name → configuration.

``symbols-small`` trains on a laptop, ``symbols-inventory`` is the same with what the plain screen does not tell,
``symbols-corpses`` with what no single frame tells, too, ``symbols-marks`` with what no terminal tells,
``symbols-events`` with what messages told long ago; ``symbols-base`` is for a GPU; the others are the paper's.
"""


def preset(name: str) -> PolicyConfig:
    """Returns the configuration of the preset of this name.

    Raises:
        InputError: If there is no such preset; the message suggests a near match.
    """
    if name not in PRESETS:
        raise InputError(f"policy: {name!r} is unknown{near_match(name, PRESETS)}")
    return PRESETS[name]
