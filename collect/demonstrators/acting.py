"""Demonstrators that map an observation to an action: bots of the nethackers contract, and plain callables."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from strathack.collect.playing.session import InvalidActionError, Session
from strathack.collect.playing.tracker import LabelTracker
from strathack.dataset.errors import InputError, first_line

Policy = Callable[[Mapping[str, np.ndarray]], int]
"""Maps an observation (read-only arrays that change with the next step) to an index into
``nle.nethack.ACTIONS``."""


class CallableDemonstrator:
    """A plain Python callable as a demonstrator.

    If the callable has an attribute ``strategy`` (a name, or None), it labels the action that was just returned.

    Args:
        policy: The callable; it is called once a step.
        name: Its name, stored with the dataset.
        version: Its version, stored with the dataset.
    """

    def __init__(self, policy: Policy, name: str, version: str = "") -> None:
        self.name = name
        self.version = version
        self.bot = ""
        self.notice: str | None = None
        self._policy = policy

    def make_labels(self) -> LabelTracker:
        """Returns a tracker that labels no step until a strategy is reported."""
        return LabelTracker()

    def play(self, session: Session) -> None:
        """Plays a game to its end."""
        _seed_global_generators(session.seed)
        _act_to_the_end(session, self._policy, self._policy)

    def warm_up(self) -> None:
        """Does nothing: a callable needs no warming up."""


class BotDemonstrator:
    """A bot of the nethackers contract: a folder with ``bot.py``, which defines ``make_agent()``.

    The agent has ``reset(observation)`` and ``act(observation)``, optionally ``close()`` and an attribute
    ``strategy``. As in that contract, one agent is made for each game, the working directory is the bot's folder,
    and Python's and NumPy's global random generators are seeded; here with the game's seed.

    Args:
        folder: The bot's folder.

    Raises:
        InputError: If there is no such bot.
    """

    def __init__(self, folder: Path) -> None:
        check_bot(folder)
        self.name = f"bot:{folder.resolve().name}"
        self.version = _digest_of(folder)
        self.bot = ""
        self.notice: str | None = None
        self._folder = folder.resolve()

    def make_labels(self) -> LabelTracker:
        """Returns a tracker that labels no step until a strategy is reported."""
        return LabelTracker()

    def play(self, session: Session) -> None:
        """Plays a game to its end with a new agent."""
        with _inside(self._folder):
            _seed_global_generators(session.seed)
            agent = _imported(self._folder).make_agent()
            try:
                agent.reset(session.observation)
                _act_to_the_end(session, agent.act, agent)
            finally:
                close = getattr(agent, "close", None)
                if callable(close):
                    close()

    def warm_up(self) -> None:
        """Imports the bot, so that what it compiles on import is cached."""
        with _inside(self._folder):
            _imported(self._folder)


def _imported(folder: Path) -> Any:
    """Imports a bot's module, from within its folder; modules of another bot of this process are forgotten."""
    there = getattr(sys.modules.get("bot"), "__file__", None)
    if there is not None and (other := Path(there).resolve().parent) != folder:
        for name, module in list(sys.modules.items()):
            if other in Path(getattr(module, "__file__", None) or "/").resolve().parents:
                del sys.modules[name]
    return importlib.import_module("bot")


def _seed_global_generators(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _act_to_the_end(session: Session, policy: Policy, reporter: Any) -> None:
    """Plays the actions that ``policy`` returns, each labelled with the ``strategy`` that ``reporter`` then has."""
    while not session.done:
        action = policy(session.observation)
        session.labels.report(getattr(reporter, "strategy", None))
        session.step(_index(action))


def _index(action: Any) -> int:
    """Returns an action as a plain integer; raises for booleans, floats and text."""
    if isinstance(action, (int, np.integer)) and not isinstance(action, bool):
        return int(action)
    raise InvalidActionError(f"action {action!r} of type {type(action).__name__}; expected an integer")


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Makes a bot's folder the working directory and the first entry of the import path, within the context."""
    before = os.getcwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        os.chdir(before)


def _digest_of(folder: Path) -> str:
    """Returns a digest of a bot's code, which tells it from others of its folder's name and from what it was before."""
    digest = hashlib.sha256()
    environments = [path.parent for path in folder.rglob("pyvenv.cfg")]
    for path in sorted(folder.rglob("*.py")):
        if path.is_file() and not any(path.is_relative_to(one) for one in environments):
            digest.update(repr((str(path.relative_to(folder)), path.read_bytes())).encode())
    return digest.hexdigest()[:12]


def check_bot(folder: Path) -> None:
    """Checks that a folder holds a bot, without running it.

    Raises:
        InputError: If ``bot.py`` or its ``make_agent`` is missing, or the file is not Python.
    """
    path = folder / "bot.py"
    if not path.is_file():
        raise InputError(f"demonstrator: {folder} has no bot.py; expected a folder with bot.py and make_agent()")
    try:
        tree = ast.parse(path.read_text())
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InputError(f"demonstrator: {path} is not readable as Python ({error})") from error
    if "make_agent" not in set(_top_level_names(tree.body)):
        raise InputError(f"demonstrator: {path} does not define make_agent()")


def _top_level_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yields the names that statements may give a value to, also those under conditions and in attempts."""
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif not isinstance(node, (ast.AsyncFunctionDef, ast.Lambda)):
            yield from _top_level_names(ast.iter_child_nodes(node))


def load_callable(reference: str) -> CallableDemonstrator:
    """Imports ``package.module:name``.

    Raises:
        InputError: If there is no such module or name, or it cannot be called.
    """
    module_name, _, name = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(
            f"demonstrator: cannot import {module_name!r} of {reference!r} ({first_line(error)})"
        ) from error
    policy = getattr(module, name, None)
    if not callable(policy):
        found = "is not there" if policy is None else f"is a {type(policy).__name__}, which cannot be called"
        raise InputError(f"demonstrator: {name!r} of {reference!r} {found}")
    return CallableDemonstrator(policy, reference, str(getattr(module, "__version__", "")))
