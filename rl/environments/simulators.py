"""Environments to learn in: NLE's and MiniHack's by gymnasium id, others by entry point or by module and name."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from typing import Any, Literal, Protocol

import gymnasium
import nle.env  # noqa: F401  (registers its environments)
import numpy as np
from nle import nethack
from nle.env.base import NLE, NLE_SPACE_ITEMS

from strathack.collect.playing.environment import NO_STEP_LIMIT
from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import InputError, near_match
from strathack.dataset.schema import OBSERVATIONS
from strathack.rl.config import GameConfig

ENTRY_POINTS = "strathack.environments"
"""The group of entry points by which packages offer environments; each is a callable without arguments."""

Observation = Mapping[str, np.ndarray]

End = Literal["over", "success", "cut"]
"""How a game ended: it was over, its task was done, or a limit cut it."""


_A_SEED, _STEPS_COMPARED = 7, 16
"""The seed and the number of steps that are played twice to check whether an environment follows its seeds."""

_NLE_TYPES: Mapping[str, Any] = {key: space.dtype for key, space in NLE_SPACE_ITEMS}
_NAMES: Mapping[tuple[type, int], str] = {
    (type(action), int(action)): name for name, action in zip(ACTION_NAMES, nethack.ACTIONS, strict=True)
}
"""NLE's action → its name; some actions with different meanings have the same key."""


def _byte_of(name: str) -> int:
    return int(nethack.ACTIONS[ACTION_NAMES.index(name)])


def _seed(env: Any, seed: int) -> None:
    """Seeds an NLE environment, whose ``reset`` ignores a seed."""
    # NetHackChallenge replaces its seeding methods by one that raises; the class still has them.
    type(env.nethack).set_initial_seeds(env.nethack, seed, seed, False, None)


def _nle_under(env: Any) -> Any:
    """Returns the NLE environment under any wrappers, gymnasium's or others; None if there is none."""
    seen: set[int] = set()
    while env is not None and id(env) not in seen:
        if isinstance(env, NLE):
            return env
        seen.add(id(env))
        inner = [value for value in vars(env).values() if isinstance(value, gymnasium.Env)]
        env = inner[0] if inner else None
    return None


class Simulator(Protocol):
    """Plays games from seeds.

    Attributes:
        actions: The names of its actions, in order of their indices.
        observation_keys: The names of the observations that it shows.
    """

    actions: tuple[str, ...]
    observation_keys: tuple[str, ...]

    def reset(self, seed: int) -> Observation:
        """Begins the game of a seed; the returned arrays may change with every step."""

    def step(self, action: int) -> tuple[Observation, float, End | None]:
        """Takes an action; returns what is seen then, the reward, and how the game ended if it did."""

    def close(self) -> None:
        """Closes the environment."""


def _end_in(info: Mapping[str, Any]) -> End:
    """Returns how a game of NLE ended."""
    status = int(info["end_status"])
    # Tasks give success a number above that of death; ascending is NetHack's own success. Below 0, NLE gave up.
    if status > 1 or info.get("is_ascended"):
        return "success"
    return "over" if status >= 0 else "cut"


class NLESimulator:
    """An environment of NLE or MiniHack: the demonstrators' settings, all keys, nothing skipped, no limits of its own.

    NLE's own limits end a game by pressing further keys, so that its final frame is not seen; a :class:`Lane` of
    :mod:`strathack.rl.environments.stepping` enforces limits instead.

    Args:
        env: The environment.
        actions: Names of the actions that may be taken; the environment has to have them.
        observation_keys: The names of the observations that it shows.

    Attributes:
        env: As given.
    """

    def __init__(self, env: Any, actions: tuple[str, ...], observation_keys: tuple[str, ...]) -> None:
        self.actions, self.observation_keys = actions, observation_keys
        self.env = env
        there = {int(action): index for index, action in reversed(list(enumerate(env.actions)))}
        self._indices = [there[_byte_of(name)] for name in actions]

    def reset(self, seed: int) -> Observation:
        """See :class:`Simulator`."""
        _seed(self.env, seed)
        observation, _ = self.env.reset()
        return observation

    def step(self, action: int) -> tuple[Observation, float, End | None]:
        """See :class:`Simulator`."""
        observation, reward, ended, _, info = self.env.step(self._indices[action])
        return observation, reward, _end_in(info) if ended else None

    def close(self) -> None:
        """Ends the game."""
        self.env.close()

    def key(self, action: int) -> int:
        """Returns the index of an action among all of NLE's actions, as datasets store it."""
        return self._indices[action]


class GymnasiumSimulator:
    """Any gymnasium environment whose observations are some of NLE's; its actions are numbered from 0.

    Args:
        env: The environment. The names of its actions are taken from ``action_names``, if it has this attribute.
        name: The environment's name in error messages.

    Raises:
        InputError: If its spaces are of another kind.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str) -> None:
        self._env, self._name = env, name
        space, actions = env.observation_space, env.action_space
        if not isinstance(space, gymnasium.spaces.Dict) or not isinstance(actions, gymnasium.spaces.Discrete):
            raise InputError(f"env: {name} has other spaces than a Dict of observations and a Discrete of actions")
        self.observation_keys = tuple(key for key in space if key in OBSERVATIONS)
        for key in self.observation_keys:
            self._check_fits(key, space[key].shape, space[key].dtype)
        self._nle = _nle_under(env)
        self.actions = self._names(int(actions.n))
        self._first = int(actions.start)
        self._checked = False

    def _check_fits(self, key: str, shape: Any, dtype: Any) -> None:
        known = OBSERVATIONS[key]
        if tuple(shape) != known.shape:
            raise InputError(f"env: {self._name} shows {key} of shape {tuple(shape)}; expected {known.shape}")
        # NLE's own types are wider than the stored types, but NLE's values fit the stored types.
        if not np.can_cast(dtype, known.dtype) and np.dtype(dtype) != _NLE_TYPES[key]:
            raise InputError(f"env: {self._name} shows {key} as {np.dtype(dtype)}; expected {known.dtype}")

    def _names(self, count: int) -> tuple[str, ...]:
        """Returns the actions' names: from the outermost wrapper that has names, or NLE's own, or numbers.

        Raises:
            InputError: If names and actions are not one to one.
        """
        names = self._env.get_wrapper_attr("action_names") if self._env.has_wrapper_attr("action_names") else None
        if names is None and self._nle is not None and len(self._nle.actions) == count:
            names = [_NAMES.get((type(action), int(action)), int(action)) for action in self._nle.actions]
        names = tuple(map(str, range(count) if names is None else names))
        if len(names) != count or len(set(names)) != count:
            raise InputError(
                f"env: {self._name} has {count} actions and {len(set(names))} names for them (action_names); "
                "expected as many, each once"
            )
        return names

    def reset(self, seed: int) -> Observation:
        """See :class:`Simulator`. An NLE environment under wrappers is seeded directly, as its ``reset`` ignores seeds.

        Raises:
            InputError: If the environment shows other arrays than its space declares.
        """
        if self._nle is not None:
            _seed(self._nle, seed)
        observation, _ = self._env.reset(seed=seed)
        if not self._checked:
            for key in self.observation_keys:
                shown = np.asarray(observation[key])
                self._check_fits(key, shown.shape, shown.dtype)
            self._checked = True
        return observation

    def keeps_to_seeds(self) -> bool:
        """Returns whether the same seed gives the same game, judging by the first steps."""
        games = []
        for _ in range(2):
            frames = [self._copied(self.reset(_A_SEED))]
            for step in range(_STEPS_COMPARED):
                observation, _, end = self.step(step % len(self.actions))
                frames.append(self._copied(observation))
                if end is not None:
                    break
            games.append(frames)
        one, other = games
        return len(one) == len(other) and all(
            np.array_equal(mine[key], its[key]) for mine, its in zip(one, other, strict=True) for key in mine
        )

    def _copied(self, observation: Observation) -> dict[str, np.ndarray]:
        return {key: np.array(observation[key]) for key in self.observation_keys}

    def step(self, action: int) -> tuple[Observation, float, End | None]:
        """See :class:`Simulator`."""
        observation, reward, terminated, truncated, info = self._env.step(action + self._first)
        end: End | None = "cut" if truncated else None
        if terminated and info.get("success"):
            end = "success"
        elif terminated:
            end = _end_in(info) if self._nle is not None and "end_status" in info else "over"
        return observation, float(reward), end

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()


def make_simulator(
    env: str, game: GameConfig, observation_keys: tuple[str, ...], *, fix_moon_phase: bool = True
) -> Simulator:
    """Makes the environment that an option names.

    Args:
        env: A gymnasium id, an entry point's name, or ``package.module:callable``.
        game: The games' settings.
        observation_keys: The names of the observations that it is to show, if they can be chosen.
        fix_moon_phase: Whether NLE derives moon, day and night from the seed.

    Raises:
        InputError: If no environment has that name (the message suggests a similar one), or a setting does not fit.
    """
    if env.startswith("MiniHack"):
        _register_minihack(env)
    spec = gymnasium.registry.get(env)
    if spec is not None and _is_nle(spec.entry_point) and not spec.additional_wrappers:
        # By its class, since gymnasium.make keeps max_episode_steps for itself, and NLE's own limit would stay.
        kind = _loaded(spec.entry_point)
        make = partial(kind, **spec.kwargs)
        return _nle_simulator(env, make, kind, game, observation_keys, fix_moon_phase)
    offered = {entry.name: entry for entry in metadata.entry_points(group=ENTRY_POINTS)}
    if env in offered and _is_nle(found := offered[env].load()):
        return _nle_simulator(env, found, found, game, observation_keys, fix_moon_phase)
    for setting in ("actions", "character", "penalty_step", "penalty_time"):
        if getattr(game, setting) not in (None, ()):
            raise InputError(f"{setting}: only plain environments of NLE and MiniHack can be given it, {env} is none")
    if ":" in env:
        made_by: Callable[[], Any] = _callable_at(env)
    elif env in offered:
        made_by = offered[env].load()
    elif spec is not None:
        made_by = partial(gymnasium.make, env, disable_env_checker=True)
    else:
        known = [*offered, *(name for name in gymnasium.registry if name.startswith(("NetHack", "MiniHack")))]
        raise InputError(f"env: {env!r} is unknown{near_match(env, known)}")
    return GymnasiumSimulator(_made(env, made_by), env)


def _made(name: str, made_by: Callable[[], Any]) -> Any:
    """Makes an environment by foreign code, which may lack packages or files, or fail in any other way.

    Raises:
        InputError: If it cannot be made.
    """
    try:
        return made_by()
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(f"env: {name} cannot be made ({type(error).__name__}: {said})") from error


def _nle_simulator(
    env: str,
    make: Callable[..., Any],
    kind: Any,
    game: GameConfig,
    observation_keys: tuple[str, ...],
    fix_moon_phase: bool,
) -> NLESimulator:
    """Makes an environment of NLE's kind by a function that takes the keyword arguments of its class."""
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
    known = _keywords(kind)
    if "no_progress_timeout" in known:
        wanted["no_progress_timeout"] = NO_STEP_LIMIT
    else:
        wanted["actions"] = nethack.ACTIONS  # NetHackChallenge takes no such argument and has all actions
    for setting in ("penalty_step", "penalty_time"):
        if wanted[setting] is not None and setting not in known:
            raise InputError(f"{setting}: {env} has no such penalty")
    given = {name: value for name, value in wanted.items() if value is not None}
    made = _made(env, partial(make, **given)).unwrapped
    keys = set(map(int, made.actions))
    there = tuple(name for name in ACTION_NAMES if _byte_of(name) in keys)  # some environments have a few keys only
    missing = [name for name in game.actions or () if name not in there]
    if missing:
        made.close()
        raise InputError(f"actions: {env} has no {', '.join(missing)}; it has {', '.join(there)}")
    return NLESimulator(made, game.actions or there, observation_keys)


def _keywords(made_by: Any) -> set[str]:
    """Returns the keyword arguments that a class and its base classes take."""
    return {name for owner in made_by.__mro__ if "__init__" in vars(owner)
            for name in inspect.signature(vars(owner)["__init__"]).parameters}  # fmt: skip


def _is_nle(entry_point: Any) -> bool:
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
    except ImportError as error:  # for example, it needs old releases of setuptools
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
