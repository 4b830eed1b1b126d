"""Recipes: named sets of settings, each from a paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from strathack.dataset.errors import InputError, near_match
from strathack.rl.config import FrozenParts
from strathack.rl.schedules import Schedule


@dataclass(frozen=True)
class Recipe:
    """The values of options that are not given.

    Attributes:
        source: The paper that the settings come from.
        entropy: Weight of the entropy.
        freeze: Parts of the policy that are not trained.
        critic_warmup: Number of first updates, which train the critic alone.
        demos_weight: Weight of the cloning loss.
        kickstart_weight: Weight of the divergence from the teacher.
    """

    source: str
    entropy: float = 0.001
    freeze: FrozenParts = FrozenParts()
    critic_warmup: int = 0
    demos_weight: Schedule = Schedule()
    kickstart_weight: Schedule = Schedule()


RECIPES: Mapping[str, Recipe] = {
    "scratch": Recipe("APPO alone: Petrenko et al., 'Sample Factory', 2020, with the settings of HiHack"),
    "hihack": Recipe(
        "Piterbarg et al., 'NetHack is Hard to Hack', 2023: APPO and cloning, equally weighted",
        demos_weight=Schedule(weight=1.0),
    ),
    "kickstart": Recipe(
        "Wołczyk et al., 'Fine-tuning Reinforcement Learning Models is Secretly a Forgetting Mitigation Problem', 2024",
        entropy=0.0,
        freeze=FrozenParts(["encoder"]),
        # In the paper, the length of the warm-up depends on the critic; this number is our own.
        critic_warmup=200,
        kickstart_weight=Schedule.parse("exponential:0.5:0.99998"),
    ),
}
"""Name → recipe."""


def recipe_named(name: str) -> Recipe:
    """Returns the recipe of that name.

    Raises:
        InputError: If there is none; the message suggests a similar name.
    """
    if name not in RECIPES:
        raise InputError(f"recipe: {name!r} is unknown{near_match(name, RECIPES)}")
    return RECIPES[name]
