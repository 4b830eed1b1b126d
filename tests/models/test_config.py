"""Configurations: round trips, changes, and what they refuse."""

import json

import pytest

from strathack.dataset.errors import InputError
from strathack.dataset.labels import PUBLISHED_STRATEGIES, STRATEGIES
from strathack.models.config import (
    FlatConfig,
    HierarchicalConfig,
    PixelsConfig,
    PolicyConfig,
    SymbolsConfig,
    TransformerConfig,
)
from strathack.models.presets import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    values = json.loads(json.dumps(PRESETS[name].to_values()))
    assert PolicyConfig.from_values(values) == PRESETS[name]


def test_changes_by_name():
    config = preset("symbols-small").changed(
        ["core.hidden=64", " heads.combine = label", "encoder.crop_channels=[8, 8]"]
    )
    assert config.core.hidden == 64
    assert config.heads.combine == "label"
    assert config.encoder.crop_channels == (8, 8)
    # A part of another kind begins with its defaults; another label brings its own names.
    config = config.changed(["core.kind=lstm-transformer", "core.transformer.heads=8", "heads.label=hihack_strategy"])
    assert config.core.transformer == TransformerConfig(heads=8)
    assert config.strategies == PUBLISHED_STRATEGIES
    assert config.changed(["heads.kind=flat"]).strategies == ()
    assert preset("hier-lstm").strategies == STRATEGIES
    twice = ["heads.label=hihack_strategy", "heads.label=substrategy", 'heads.strategies=["dig"]']
    assert preset("hier-lstm").changed(twice).strategies == ("dig",)
    wide = ["core.kind=transformer", "core.width=64"]
    assert preset("symbols-small").changed(wide).core.width == 64
    for width in ("big", "0", "2.5"):
        with pytest.raises(InputError, match="core.width: |core.layers|width: 0 is below 1"):
            preset("symbols-small").changed([wide[0], f"core.width={width}"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("core.hiden=64", "'hiden' is unknown; did you mean 'hidden'?"),
        ("cores.hidden=64", "'cores' is unknown; did you mean 'core'?"),
        ("core.kind=lstn", "core.kind: 'lstn' is unknown; did you mean 'lstm'?"),
        ("core.hidden=many", "core.hidden: 'many' is no int"),
        ("core.hidden=2.5", "core.hidden: 2.5 is no int"),
        ('encoder.crop_channels=["a"]', "encoder.crop_channels: ('a',) is no tuple[int, ...]"),
        ("heads.strategies=[1, 2]", "heads.strategies: (1, 2) is no tuple[str, ...]"),
        ("core.hidden=0", "core.hidden: 0 is below 1"),
        ("encoder.crop=8", "encoder.crop: 8 is even"),
        ("encoder.crop_channels=[8,8,8,8,8]", "encoder.crop_channels: 5 convolutions for a crop of 9 cells"),
        ("encoder.screen_channels=[8,8,8,8,8]", "encoder.screen_channels: 5 layers"),
        ("heads.combine=mix", "heads.combine: 'mix' is unknown; did you mean 'mixture'?"),
        ("heads.label=strategies", "heads.label: 'strategies' is unknown; did you mean 'strategy'?"),
        ("hidden=3", "no part.field=value"),
        ("core.hidden", "no part.field=value"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(change, said):
    with pytest.raises(InputError) as error:
        preset("symbols-small").changed([change])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="policy: 'hier-lsm' is unknown; did you mean 'hier-lstm'"):
        preset("hier-lsm")
    with pytest.raises(InputError, match="previous_action: 64 is below 121 actions"):
        PolicyConfig(PixelsConfig(previous_action=64))
    with pytest.raises(InputError, match="crop: 15 is below 16"):
        PixelsConfig(crop=15)
    with pytest.raises(InputError, match="legacy: the published code has sinusoidal positions"):
        TransformerConfig(legacy=True)
    with pytest.raises(InputError, match="dropout: 1.5 is no share"):
        TransformerConfig(dropout=1.5)
    with pytest.raises(InputError, match="strategies: a name occurs twice"):
        HierarchicalConfig(strategies=("fight", "fight"))
    with pytest.raises(InputError, match="actions: no names"):
        PolicyConfig(actions=())
    with pytest.raises(InputError, match="a flat policy has none"):
        PolicyConfig(heads=FlatConfig()).with_strategies(("fight",))
    with pytest.raises(InputError, match="policy: 'encodr' is unknown; did you mean 'encoder'"):
        PolicyConfig.from_values({"encodr": {}})


def test_what_a_policy_needs():
    assert preset("lstm").observations == ("tty_chars", "tty_colors", "tty_cursor")
    assert preset("symbols-small").observations == ("tty_chars", "tty_colors", "tty_cursor", "blstats")
    assert PolicyConfig(SymbolsConfig(blstats=0)).observations == ("tty_chars", "tty_colors", "tty_cursor")
    assert preset("lstm").label is None
    assert preset("hier-lstm").label == "strategy"


def test_spaces_around_a_change_do_not_matter():
    changed = preset("symbols-small").changed([" core.kind = transformer", " core.layers=1 "])
    assert (changed.core.kind, changed.core.layers) == ("transformer", 1)
