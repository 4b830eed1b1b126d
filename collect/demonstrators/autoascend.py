"""AutoAscend as installed by the package nethackers, with its strategies told step by step.

Nothing of the bot is changed or copied: it announces most of what it does through its environment's
``debug_log``, and the methods that make its strategies are wrapped on the agent from outside.
"""

from __future__ import annotations

import importlib
import importlib.resources
import importlib.util
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial, wraps
from importlib import metadata
from typing import Any

import numpy as np
from nle import nethack

from strathack.collect.environment import challenge
from strathack.collect.recorder import GameRecorder
from strathack.collect.session import Session
from strathack.collect.tracker import LabelTracker
from strathack.dataset.errors import InputError
from strathack.dataset.labels import STRATEGIES

ACTION_INDEX: Mapping[int, int] = {int(action): index for index, action in enumerate(nethack.ACTIONS)}
"""Key code → index into ``nle.nethack.ACTIONS``."""

ANNOUNCED: Mapping[str, str | None] = {
    "fight2": "fight",
    "engulfed_fight": "engulfed_fight",
    "eat_corpses_from_ground": "ground_eat",
    "emergency_strategy": "emergency",
    "eat_from_inventory": "inventory_eat",
    "cure_disease": "cure_disease",
    "follow_guard": "follow_guard",
    "offer_corpses": "offer_corpses",
    "solving sokoban": "solve_sokoban",
    "checking for monsters": None,
    "mimics": None,
    "last_resort": None,
    "identify_items_on_altar": None,
    "dip_for_excalibur": None,
    "explore1": None,
    "patrol": None,
    "untrap_traps": None,
    "inventory.arrange_items": None,
    "inventory.wand_engrave_identify": None,
    "inventory.wear_best_stuff": None,
    "inventory.check_items": None,
    "inventory.go_to_unchecked_containers": None,
    "inventory.check_containers": None,
    "inventory.go_to_item_to_pickup": None,
    "inventory.pickup_and_drop_items": None,
}
"""What the bot announces by ``debug_log`` → the strategy it is, or None for a routine inside a strategy."""

TRAVEL = "going to level"
"""A routine whose announcement goes on with the level's name."""

UNANNOUNCED: Mapping[str, str] = {
    "current_strategy": "explore",
    "wait_out_unexpected_state_strategy": "wait_out",
}
"""Strategies of the bot's global logic that it does not announce, by method → strategy."""

ROUTINES: tuple[str, ...] = (*ANNOUNCED, TRAVEL, *UNANNOUNCED)
"""Every name that ``substrategy`` may hold; a name's index is its code."""


@dataclass(frozen=True)
class PublishedRule:
    """When the published labels change to a strategy: one variable, overwritten and never restored.

    Attributes:
        owner: Attribute path from the agent to the object that has the method; empty for the agent itself.
        method: The method that makes the strategy.
        strategy: The label it sets.
        when: ``tested`` (its condition is about to be tested), ``passed`` or ``entered``.
    """

    owner: str
    method: str
    strategy: str
    when: str


PUBLISHED_RULES: tuple[PublishedRule, ...] = (
    PublishedRule("global_logic", "current_strategy", "explore", "passed"),
    PublishedRule("", "fight2", "fight", "tested"),
    PublishedRule("", "eat_corpses_from_ground", "ground_eat", "passed"),
    PublishedRule("global_logic", "wait_out_unexpected_state_strategy", "wait_out", "passed"),
    PublishedRule("", "emergency_strategy", "emergency", "passed"),
    PublishedRule("", "eat_from_inventory", "inventory_eat", "entered"),
    PublishedRule("global_logic", "offer_corpses", "offer_corpses", "passed"),
    PublishedRule("global_logic", "solve_sokoban_strategy", "solve_sokoban", "passed"),
    PublishedRule("", "engulfed_fight", "engulfed_fight", "passed"),
    PublishedRule("global_logic", "follow_guard", "follow_guard", "passed"),
    PublishedRule("", "cure_disease", "cure_disease", "passed"),
)
"""The rule that reproduces HiHack's labels step by step (checked against the published files)."""


class AutoAscend:
    """The demonstrator.

    Raises:
        InputError: If the package nethackers is not installed.
    """

    name = "autoascend"

    def __init__(self) -> None:
        _find_package()
        self.version = f"nethackers {metadata.version('nethackers')}"

    def new_labels(self) -> LabelTracker:
        """A tracker that starts with ``init`` and falls back to ``recover``."""
        labels = LabelTracker(STRATEGIES, ROUTINES, before="init", outside="recover")
        labels.published = STRATEGIES.index("init")
        return labels

    def play(self, session: Session) -> None:
        """Plays a game to its end."""
        agent = _agent_module().Agent(_Environment(session), panic_on_errors=True)
        _instrument(agent, session.labels)
        with np.errstate(over="ignore"):
            agent.main()

    def warm_up(self) -> None:
        """Plays a few hundred steps, so that numba's kernels are compiled and in its cache."""
        with challenge(0, "@", fix_moon_phase=True) as (env, observation):
            recorder = GameRecorder(observation, ())
            self.play(Session(env, observation, 0, recorder, self.new_labels(), max_steps=300))


def _find_package() -> str:
    """The folder that makes ``autoascend`` importable; the bot is data of the package nethackers."""
    if importlib.util.find_spec("nethackers") is None:
        raise InputError(
            "demonstrator: autoascend needs the package nethackers, which needs Python 3.11 or later: "
            'pip install "nethackers[autoascend]"'
        )
    return str(importlib.resources.files("nethackers") / "roots" / "autoascend")


def _agent_module() -> Any:
    folder = _find_package()
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("autoascend.agent")


class _Environment:
    """What AutoAscend takes for its environment."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = session.labels
        self._nothing = nullcontext()

    def step(self, action: int) -> tuple[Mapping[str, np.ndarray], float, bool, Mapping[str, Any]]:
        observation, reward, done = self._session.step(ACTION_INDEX[int(action)])
        return observation, reward, done, {}

    def debug_log(self, txt: str, color: Any = None) -> AbstractContextManager[None]:
        if txt in ANNOUNCED:
            return self._labels.scope(txt, ANNOUNCED[txt])
        if txt.startswith(TRAVEL):
            return self._labels.scope(TRAVEL)
        return self._nothing  # the fight's list of weighed actions, which is no name

    def debug_tiles(self, *args: Any, **kwargs: Any) -> AbstractContextManager[None]:
        return self._nothing


Run = Callable[[], Generator[Any, None, Any]]
"""How the bot writes a strategy: a generator that yields once, whether its condition holds, then runs its body."""


def _instrument(agent: Any, labels: LabelTracker) -> None:
    """Wraps the agent's strategy-making methods on this agent."""
    for rule in PUBLISHED_RULES:
        owner = getattr(agent, rule.owner) if rule.owner else agent
        setattr(owner, rule.method, _traced(getattr(owner, rule.method), rule, labels))


def _traced(make: Callable[..., Any], rule: PublishedRule, labels: LabelTracker) -> Callable[..., Any]:
    @wraps(make)
    def make_traced(*args: Any, **kwargs: Any) -> Any:
        strategy = make(*args, **kwargs)
        strategy.strategy = partial(_trace, strategy.strategy, rule, labels)
        return strategy

    return make_traced


def _trace(run: Run, rule: PublishedRule, labels: LabelTracker) -> Generator[Any, None, Any]:
    """Runs a strategy as it is, setting the published label and, where it is not announced, its scope."""
    ordinal = STRATEGIES.index(rule.strategy)
    if rule.when == "tested":
        labels.published = ordinal
    generator = run()
    passed = next(generator)
    if passed and rule.when == "passed":
        labels.published = ordinal
    yield passed
    if rule.when == "entered":
        labels.published = ordinal
    announced = rule.method not in UNANNOUNCED
    with nullcontext() if announced else labels.scope(rule.method, UNANNOUNCED[rule.method]):
        return (yield from generator)
