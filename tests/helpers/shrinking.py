"""Small policies of the same make as the presets, and made-up frames for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from strathack.dataset.schema import BLStat
from strathack.models.config import (
    CoreConfig,
    EncoderConfig,
    HeadsConfig,
    HierarchicalConfig,
    LSTMConfig,
    LSTMTransformerConfig,
    PixelsConfig,
    PolicyConfig,
)
from strathack.models.policy import Policy
from strathack.models.presets import PRESETS


def _encoder(config: EncoderConfig) -> EncoderConfig:
    if isinstance(config, PixelsConfig):
        return replace(config, message=16, bottom_lines=16, screen=36, channels=(8, 8, 8, 8), previous_action=124)
    return replace(
        config, embedding=4, crop_channels=(8,) * len(config.crop_channels), crop_units=16,
        screen_channels=(8,) * len(config.screen_channels), screen_units=16, message=16, blstats=8,
        previous_action=8, inventory=min(config.inventory, 8), corpses=min(config.corpses, 8),
        events=min(config.events, 8), size=32,
    )  # fmt: skip


def _core(config: CoreConfig) -> CoreConfig:
    if isinstance(config, LSTMConfig):
        return replace(config, hidden=32)
    small = {"heads": 2, "feedforward": 32, "layers": 2, "context": 5, "width": 32, "dropout": 0.0}
    if isinstance(config, LSTMTransformerConfig):
        return replace(config, lstm=LSTMConfig(32), transformer=replace(config.transformer, **small))
    return replace(config, **small)


def _heads(config: HeadsConfig) -> HeadsConfig:
    hierarchical = isinstance(config, HierarchicalConfig)
    return replace(config, hidden=16) if hierarchical else replace(config, hidden=(16,) * len(config.hidden))


SHRUNK = {
    name: PolicyConfig(_encoder(config.encoder), _core(config.core), _heads(config.heads), config.actions)
    for name, config in PRESETS.items()
}


def made_up_inputs(rng: np.random.Generator, steps: int, lanes: int, first: np.ndarray) -> dict[str, torch.Tensor]:
    """Random frames [T, B, …] of every observation that a policy may need; some tell of kills or events."""
    shape = steps, lanes
    arrays = {
        "tty_chars": rng.integers(32, 127, (*shape, 24, 80), dtype=np.uint8),
        "tty_colors": rng.integers(0, 16, (*shape, 24, 80), dtype=np.uint8),
        "blstats": rng.integers(0, 100, (*shape, 27)).astype(np.int32),
        "previous_action": np.where(first, 255, rng.integers(0, 121, shape)).astype(np.uint8),
        "first": first,
    } | made_up_inventories(rng, shape)
    arrays["blstats"][..., BLStat.X] = x = rng.integers(0, 80, shape)
    arrays["blstats"][..., BLStat.Y] = y = rng.integers(0, 21, shape)
    arrays["blstats"][..., [BLStat.DNUM, BLStat.DLEVEL]] = 1
    elsewhere = rng.integers(0, 24, (*shape, 2))
    at_hero = rng.random((*shape, 1)) < 0.7
    arrays["tty_cursor"] = np.where(at_hero, np.stack([y + 1, x], -1), elsewhere).astype(np.uint8)
    chances = rng.random(shape)
    for words, some in ((b"You kill it!", chances < 0.3), (b"You begin praying to Ra.", chances > 0.9)):
        arrays["tty_chars"][some, 0, : len(words)] = list(words)
    arrays["specials"] = rng.choice(SPECIALS, (*shape, 21, 79))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def changed_by(weights: torch.Tensor, policy: Policy, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Adds one to some of a policy's weights, and returns the frames at which its logits change: bool [T, B]."""
    state = policy.initial_state(inputs["first"].shape[1])
    before = policy.unroll(inputs, state)[0].action_logits
    with torch.no_grad():
        weights += 1
    return (policy.unroll(inputs, state)[0].action_logits != before).any(-1)


SPECIALS = np.array([0] * 8 + [1, 2, 4, 8, 32, 64, 65, 96, 128], np.uint8)
ITEMS = (b"a +1 long sword (weapon in hand)", b"3 daggers", b"an uncursed food ration", b"2 magenta potions")


def made_up_inventories(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Up to three items each, under letters that grow."""
    strings, letters = np.zeros((*shape, 55, 80), np.uint8), np.zeros((*shape, 55), np.uint8)
    for place in np.ndindex(shape):
        for slot in range(rng.integers(0, 4)):
            item = ITEMS[rng.integers(len(ITEMS))]
            strings[place][slot, : len(item)] = np.frombuffer(item, np.uint8)
            letters[place][slot] = ord("a") + slot
    return {"inv_strs": strings, "inv_letters": letters}
