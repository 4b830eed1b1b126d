"""NLE as games are collected in it: the seeded NetHackChallenge, and what its log says at the end."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from nle import nethack
from nle.env.tasks import NetHackChallenge

from strathack.collect.playing.characters import Character, parse_attributes
from strathack.collect.playing.xlogfile import LogEntry
from strathack.dataset.schema import OBSERVATIONS

NO_PROGRESS_TIMEOUT = 1000
"""NLE's limit on steps without progress, as the published HiHack games were played."""

NO_STEP_LIMIT = 2**62
"""NLE wants a step limit; ours is kept outside of it."""

OPTIONS: tuple[str, ...] = tuple(nethack.NETHACKOPTIONS)
"""NetHack's options: NLE's default ones."""


def nle_version() -> str:
    """Version of the installed NLE."""
    return metadata.version("nle")


@dataclass(frozen=True)
class Setup:
    """What decides a game before its first key, the clock apart.

    Attributes:
        core: NLE's core seed.
        disp: Its display seed.
        lgen: Its level generation seed, None for none.
        character: NLE's character string.
        fix_moon_phase: Whether NLE derives moon, day and night from the seed.
    """

    core: int
    disp: int
    lgen: int | None
    character: str
    fix_moon_phase: bool

    @classmethod
    def of_seed(cls, seed: int, character: str, fix_moon_phase: bool) -> Setup:
        """As collected games are set up: one number for both seeds."""
        return cls(seed, seed, None, character, fix_moon_phase)


@contextmanager
def challenge(
    setup: Setup, observations: Sequence[str] = tuple(OBSERVATIONS), *, ttyrecs: Path | None = None
) -> Iterator[tuple[Any, Mapping[str, np.ndarray]]]:
    """Opens NetHackChallenge at the first step of a seeded game, and closes it whatever happens.

    Args:
        setup: What decides the game.
        observations: Observation keys.
        ttyrecs: Folder in which NLE is to save a ttyrec of the game, None for not.

    Yields:
        The environment and the first observation. The arrays are the environment's own and change with every
        step.
    """
    env = NetHackChallenge(
        character=setup.character,
        no_progress_timeout=NO_PROGRESS_TIMEOUT,
        max_episode_steps=NO_STEP_LIMIT,
        observation_keys=tuple(observations),
        fix_moon_phase=setup.fix_moon_phase,
        save_ttyrec_every=0 if ttyrecs is None else 1,
        savedir=None if ttyrecs is None else str(ttyrecs),
    )
    with closing(env), warnings.catch_warnings():
        # AutoAscend computes cursor row − 1 in uint8, where row 0 is meant to wrap around.
        warnings.filterwarnings("ignore", "overflow encountered in scalar subtract", RuntimeWarning)
        # NetHackChallenge puts a refusal in the place of its seeding methods; the class still has them.
        type(env.nethack).set_initial_seeds(env.nethack, setup.core, setup.disp, False, setup.lgen)
        observation, _ = env.reset()
        yield env, observation


def peek_character(setup: Setup) -> Character:
    """Who a seed plays, asked of the game itself in a game that is thrown away (a few milliseconds)."""
    with challenge(setup) as (env, _):
        observation, *_ = env.step(nethack.ACTIONS.index(nethack.Command.ATTRIBUTES))
        page = observation["tty_chars"].tobytes().decode("latin-1")
    return parse_attributes(page)


def read_log(env: Any) -> LogEntry | None:
    """The log's line about the game that ``env`` has just ended, or None where it has not."""
    path = Path(env.nethack._vardir) / "xlogfile"  # NLE tells nobody else where it is
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return LogEntry(lines[-1]) if lines else None
