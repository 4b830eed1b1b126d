"""AutoAscend as installed by the package nethackers, with its strategy recorded at every step.

The bot's code is neither changed nor copied: the bot announces most of what it does through its environment's
``debug_log``, and the methods that make its strategies are wrapped from outside, on the agent object. Where the bot is
slow, functions of ours stand in for its own while it plays (:mod:`strathack.collect.demonstrators.fast`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import numpy as np

from strathack.collect.demonstrators import gate
from strathack.collect.demonstrators.base import PlayAgainError
from strathack.collect.demonstrators.package import bot_version, find_bot, load_bot
from strathack.collect.options import AUTOASCEND, Bot
from strathack.collect.playing.environment import Setup, challenge
from strathack.collect.playing.recorder import GameRecorder
from strathack.collect.playing.session import Session
from strathack.collect.playing.tracker import LabelTracker
from strathack.dataset.actions import ACTION_INDEX
from strathack.dataset.labels import STRATEGIES


@dataclass(frozen=True)
class StrategyMethod:
    """A method of the bot that makes one of its strategies.

    Attributes:
        owner: The agent's attribute that has the method; empty for the agent itself.
        method: Its name.
        strategy: Our name of the strategy, which is also the published name.
        published: When the published label changes to this strategy: when its condition is about to be ``tested``,
            when the condition has ``passed``, or when its body is ``entered``. The published label is one variable,
            which is never restored.
        announced: What the bot announces while the strategy runs. The bot leaves two strategies unannounced; we
            announce them by the method's name.
    """

    owner: str
    method: str
    strategy: str
    published: str
    announced: str


STRATEGY_METHODS: tuple[StrategyMethod, ...] = (
    StrategyMethod("global_logic", "current_strategy", "explore", "passed", "current_strategy"),
    StrategyMethod("", "fight2", "fight", "tested", "fight2"),
    StrategyMethod("", "eat_corpses_from_ground", "ground_eat", "passed", "eat_corpses_from_ground"),
    StrategyMethod(
        "global_logic",
        "wait_out_unexpected_state_strategy",
        "wait_out",
        "passed",
        "wait_out_unexpected_state_strategy",
    ),
    StrategyMethod("", "emergency_strategy", "emergency", "passed", "emergency_strategy"),
    StrategyMethod("", "eat_from_inventory", "inventory_eat", "entered", "eat_from_inventory"),
    StrategyMethod("global_logic", "offer_corpses", "offer_corpses", "passed", "offer_corpses"),
    StrategyMethod("global_logic", "solve_sokoban_strategy", "solve_sokoban", "passed", "solving sokoban"),
    StrategyMethod("", "engulfed_fight", "engulfed_fight", "passed", "engulfed_fight"),
    StrategyMethod("global_logic", "follow_guard", "follow_guard", "passed", "follow_guard"),
    StrategyMethod("", "cure_disease", "cure_disease", "passed", "cure_disease"),
)
"""Every strategy of the bot. The rule in ``published`` reproduces HiHack's labels step by step, as checked against the
published files."""

TRAVEL = "going to level"
"""A routine whose announcement continues with the level's name."""

ROUTINES: tuple[str, ...] = (
    *(strategy.announced for strategy in STRATEGY_METHODS),
    "checking for monsters",
    "mimics",
    "last_resort",
    "identify_items_on_altar",
    "dip_for_excalibur",
    "explore1",
    "patrol",
    "untrap_traps",
    TRAVEL,
    "inventory.arrange_items",
    "inventory.wand_engrave_identify",
    "inventory.wear_best_stuff",
    "inventory.check_items",
    "inventory.go_to_unchecked_containers",
    "inventory.check_containers",
    "inventory.go_to_item_to_pickup",
    "inventory.pickup_and_drop_items",
)
"""Every name that ``substrategy`` may hold; a name's index is its code."""

_ROUTINES = frozenset(ROUTINES)


class AutoAscend:
    """The demonstrator AutoAscend.

    Args:
        bot: How it plays; where the installed package is not the one that our functions were written against, it plays
            as installed.

    Attributes:
        bot: How it plays indeed.
        notice: Why it plays as installed though it was asked not to; None if it does what it was asked.

    Raises:
        InputError: If the package nethackers is not installed.
    """

    name = AUTOASCEND

    def __init__(self, bot: Bot = "fast") -> None:
        find_bot()
        self.version = f"nethackers {bot_version()}"
        difference = None if bot == "installed" else gate.difference()
        self.bot: str = bot if difference is None else "installed"
        self.notice = difference and f"autoascend plays as installed, which is slower: {difference}"

    def make_labels(self) -> LabelTracker:
        """Returns a tracker that starts with ``init`` and falls back to ``recover``."""
        labels = LabelTracker(STRATEGIES, ROUTINES, before="init", outside="recover")
        labels.published = STRATEGIES.index("init")
        return labels

    def play(self, session: Session) -> None:
        """Plays a game to its end.

        Raises:
            PlayAgainError: If the bot as installed has to play the game: it got as deep as the interpreter lets it, and
                functions of ours are not exactly as deep.
        """
        module = load_bot()
        with self._ready(session.seed) as prepare, np.errstate(over="ignore"):
            agent = module.Agent(_Environment(session), panic_on_errors=True)
            prepare(agent)
            _instrument(agent, session.labels)
            try:
                agent.main()
            except RuntimeError:
                if not self._is_outgrown_by(agent):
                    raise
            if self._is_outgrown_by(agent):
                raise PlayAgainError(AutoAscend("installed"))

    def _is_outgrown_by(self, agent: Any) -> bool:
        return self.bot != "installed" and any(isinstance(panic, RecursionError) for panic in agent.all_panics)

    def _ready(self, seed: int) -> AbstractContextManager[Callable[[Any], None]]:
        if self.bot == "installed":
            return nullcontext(lambda agent: None)
        # Imported here: these modules import those of the installed package, which may be another one.
        from strathack.collect.demonstrators.fast.bot import checked_bot, fast_bot

        return fast_bot() if self.bot == "fast" else checked_bot(seed)

    def warm_up(self) -> None:
        """Plays a few hundred steps, so that numba's kernels are compiled and in its cache; freezes what is there."""
        with challenge(Setup.of_seed(0, "@", fix_moon_phase=True)) as (env, observation):
            recorder = GameRecorder(observation, ())
            self.play(Session(env, observation, 0, recorder, self.make_labels(), max_steps=300))
        # The libraries' 400,000 objects stay: garbage is not to be looked for among them in every game.
        gc.collect()
        gc.freeze()


class _Environment:
    """The environment that is given to AutoAscend."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels = session.labels
        self._nothing = nullcontext()

    def step(self, action: int) -> tuple[Mapping[str, np.ndarray], float, bool, Mapping[str, Any]]:
        observation, reward, done = self._session.step(ACTION_INDEX[int(action)])
        return observation, reward, done, {}

    def debug_log(self, txt: str, color: Any = None) -> AbstractContextManager[None]:
        if txt in _ROUTINES:
            return self._labels.scope(txt)
        if txt.startswith(TRAVEL):
            return self._labels.scope(TRAVEL)
        return self._nothing  # the fight's list of weighed actions, not a name

    def debug_tiles(self, *args: Any, **kwargs: Any) -> AbstractContextManager[None]:
        return self._nothing


Run = Callable[[], Generator[Any, None, Any]]
"""The form of the bot's strategies: a generator that yields once whether its condition holds, then runs its body."""


def _instrument(agent: Any, labels: LabelTracker) -> None:
    """Wraps the methods of this agent that make its strategies."""
    for strategy in STRATEGY_METHODS:
        owner = getattr(agent, strategy.owner) if strategy.owner else agent
        setattr(owner, strategy.method, _traced(getattr(owner, strategy.method), strategy, labels))


def _traced(make: Callable[..., Any], method: StrategyMethod, labels: LabelTracker) -> Callable[..., Any]:
    ordinal = STRATEGIES.index(method.strategy)

    @wraps(make)
    def make_traced(*args: Any, **kwargs: Any) -> Any:
        strategy = make(*args, **kwargs)
        strategy.strategy = partial(_trace, strategy.strategy, method, ordinal, labels)
        return strategy

    return make_traced


def _trace(run: Run, method: StrategyMethod, ordinal: int, labels: LabelTracker) -> Generator[Any, None, Any]:
    """Runs a strategy unchanged in its scope, and sets the published label by the strategy's rule."""
    if method.published == "tested":
        labels.published = ordinal
    generator = run()
    passed = next(generator)
    if passed and method.published == "passed":
        labels.published = ordinal
    yield passed
    if method.published == "entered":
        labels.published = ordinal
    with labels.scope(method.announced, method.strategy):
        return (yield from generator)
