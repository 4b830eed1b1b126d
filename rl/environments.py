"""Environments to learn in: NLE's and MiniHack's by gymnasium id, others by entry point or by module and name."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, Literal, Protocol

import gymnasium
import nle.env  # noqa: F401  (registers its environments)
import numpy as np
from nle import nethack

from strathack.collect.environment import NO_STEP_LIMIT
from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import InputError, near_match
from strathack.dataset.schema import OBSERVATIONS
from strathack.rl.config import GameConfig

ENTRY_POINTS = "strathack.environments"
"""The group of entry points by which packages offer environments: callables without arguments."""

Observation = Mapping[str, np.ndarray]

End = Literal["over", "success", "cut"]
"""How a game ended: it was over, its task was done, or a limit cut it while it ran."""


class Simulator(Protocol):
    """What plays games from seeds.

    Attributes:
        actions: The names of its actions, in order of their indices.
        observation_keys: What it shows.
    """

    actions: tuple[str, ...]
    observation_keys: tuple[str, ...]

    def reset(self, seed: int) -> Observation:
        """Begins the game of a seed; the arrays may change with every step."""

    def step(self, action: int) -> tuple[Observation, float, End | None]:
        """Takes an action: what is seen then, the reward, and how the game ended if it did."""

    def close(self) -> None:
        """Lets go of what it holds."""


class NLESimulator:
    """NLE's or MiniHack's: the demonstrators' settings, the full key set, nothing skipped, no limits of its own.

    NLE's own limits end a game by pressing further keys, so that what it came to is not seen; ours are kept outside.

    Args:
        env: The environment.
        keys: The actions that may be taken, by name.
        observation_keys: What it shows.

    Attributes:
        env: As given.
    """

    def __init__(self, env: Any, keys: tuple[str, ...], observation_keys: tuple[str, ...]) -> None:
        self.actions, self.observation_keys = keys, observation_keys
        self.env = env
        there = {int(action): index for index, action in reversed(list(enumerate(env.actions)))}
        bytes_of = [int(nethack.ACTIONS[ACTION_NAMES.index(name)]) for name in keys]
        self._indices = [there[byte] for byte in bytes_of]

    def reset(self, seed: int) -> Observation:
        """See :class:`Simulator`."""
        # NetHackChallenge puts a refusal in the place of its seeding methods; the class still has them.
        type(self.env.nethack).set_initial_seeds(self.env.nethack, seed, seed, False, None)
        observation, _ = self.env.reset()
        return observation

    def step(self, action: int) -> tuple[Observation, float, End | None]:
        """See :class:`Simulator`."""
        observation, reward, ended, _, info = self.env.step(self._indices[action])
        if not ended:
            return observation, reward, None
        # Tasks number their success after death; ascending is the game's own.
        return observation, reward, "success" if int(info["end_status"]) > 1 or info["is_ascended"] else "over"

    def close(self) -> None:
        """Ends the game."""
        self.env.close()

    def key(self, action: int) -> int:
        """Index of an action among all that NLE knows, as datasets have them."""
        return self._indices[action]


class GymnasiumSimulator:
    """Any gymnasium environment whose observations are some of NLE's, its actions numbered from 0.

    Args:
        env: The environment. Names of its actions are taken from ``action_names``, where it has that.
        name: What it is called in errors.

    Raises:
        InputError: If its spaces are of another kind.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str) -> None:
        self._env = env
        space, actions = env.observation_space, env.action_space
        if not isinstance(space, gymnasium.spaces.Dict) or not isinstance(actions, gymnasium.spaces.Discrete):
            raise InputError(f"env: {name} has other spaces than a Dict of observations and a Discrete of actions")
        for key, part in space.items():
            known = OBSERVATIONS.get(key)
            if known is not None and part.shape != known.shape:
                raise InputError(f"env: {name} shows {key} of shape {part.shape}; expected {known.shape}")
        self.observation_keys = tuple(key for key in space if key in OBSERVATIONS)
        names = getattr(env.unwrapped, "action_names", None)
        self.actions = tuple(map(str, range(int(actions.n)) if names is None else names))
        self._first = int(actions.start)

    def reset(self, seed: int) -> Observation:
        """See :class:`Simulator`."""
        observation, _ = self._env.reset(seed=seed)
        return observation

    def step(self, action: int) -> tuple[Observation, float, End | None]:
        """See :class:`Simulator`."""
        observation, reward, terminated, truncated, info = self._env.step(action + self._first)
        end: End | None = "cut" if truncated else None
        if terminated:
            end = "success" if info.get("success") else "over"
        return observation, float(reward), end

    def close(self) -> None:
        """Closes it."""
        self._env.close()


def make_simulator(
    env: str, game: GameConfig, observation_keys: tuple[str, ...], *, fix_moon_phase: bool = True
) -> Simulator:
    """The environment that an option names.

    Args:
        env: A gymnasium id, an entry point's name, or ``package.module:callable``.
        game: The games' settings.
        observation_keys: What it is to show, where that can be chosen.
        fix_moon_phase: Whether NLE derives moon, day and night from the seed.

    Raises:
        InputError: If there is none of that name, with the near match, or a setting does not fit.
    """
    if env.startswith("MiniHack"):
        _register_minihack(env)
    if env in gymnasium.registry and _is_nle(gymnasium.registry[env].entry_point):
        return _nle_simulator(env, game, observation_keys, fix_moon_phase)
    for setting in ("keys", "character", "penalty_step", "penalty_time"):
        if getattr(game, setting) not in (None, ""):
            raise InputError(f"{setting}: only environments of NLE and MiniHack can be given it, {env} is none")
    if ":" in env:
        return GymnasiumSimulator(_callable_at(env)(), env)
    offered = {entry.name: entry for entry in metadata.entry_points(group=ENTRY_POINTS)}
    if env in offered:
        return GymnasiumSimulator(offered[env].load()(), env)
    if env in gymnasium.registry:
        return GymnasiumSimulator(gymnasium.make(env, disable_env_checker=True), env)
    known = [*offered, *(name for name in gymnasium.registry if name.startswith(("NetHack", "MiniHack")))]
    raise InputError(f"env: {env!r} is unknown{near_match(env, known)}")


def _nle_simulator(env: str, game: GameConfig, observation_keys: tuple[str, ...], fix_moon_phase: bool) -> NLESimulator:
    made_by = _loaded(gymnasium.registry[env].entry_point)
    wanted: dict[str, Any] = {
        "observation_keys": observation_keys,
        "max_episode_steps": NO_STEP_LIMIT,
        "fix_moon_phase": fix_moon_phase,
        "allow_all_yn_questions": True,
        "allow_all_modes": True,
        "character": game.character,
        "penalty_step": game.penalty_step,
        "penalty_time": game.penalty_time,
    }
    known = _keywords(made_by)
    if "no_progress_timeout" in known:
        wanted["no_progress_timeout"] = NO_STEP_LIMIT
    else:
        wanted["actions"] = nethack.ACTIONS  # NetHackChallenge has no choice of them, and all
    for setting in ("penalty_step", "penalty_time"):
        if wanted[setting] is not None and setting not in known:
            raise InputError(f"{setting}: {env} has no such penalty")
    made = gymnasium.make(
        env, disable_env_checker=True, **{name: value for name, value in wanted.items() if value is not None}
    )
    return NLESimulator(made.unwrapped, game.action_names or ACTION_NAMES, observation_keys)


def _keywords(made_by: Any) -> set[str]:
    """Keywords that a class and those it comes from take."""
    return {name for owner in made_by.__mro__ if "__init__" in vars(owner)
            for name in inspect.signature(vars(owner)["__init__"]).parameters}  # fmt: skip


def _is_nle(entry_point: Any) -> bool:
    from nle.env.base import NLE

    loaded = _loaded(entry_point)
    return inspect.isclass(loaded) and issubclass(loaded, NLE)


def _loaded(entry_point: Any) -> Any:
    if not isinstance(entry_point, str):
        return entry_point
    module, _, name = entry_point.partition(":")
    return getattr(importlib.import_module(module), name)


def _register_minihack(env: str) -> None:
    if importlib.util.find_spec("minihack") is None:
        raise InputError(f"env: {env} needs MiniHack, which is not installed; pip install minihack")
    try:
        importlib.import_module("minihack")
    except ImportError as error:  # it wants old releases of setuptools, say
        raise InputError(f"env: {env} needs MiniHack, which cannot be imported ({error})") from None


def _callable_at(reference: str) -> Callable[[], gymnasium.Env[Any, Any]]:
    module, _, name = reference.partition(":")
    try:
        made_by = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"env: {reference}: {error}") from None
    if not callable(made_by):
        raise InputError(f"env: {reference} is not callable")
    return made_by
