"""The environment in which games are collected: NLE's seeded NetHackChallenge, and its log after the end."""

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
from nle.env.tasks import NetHackChallenge, NetHackScore

from strathack.collect.playing.characters import Character, parse_attributes
from strathack.collect.playing.limits import NO_PROGRESS_TIMEOUT
from strathack.collect.playing.xlogfile import LogEntry
from strathack.dataset.schema import OBSERVATIONS

NO_STEP_LIMIT = 2**62
"""NLE requires a step limit; ours is applied outside NLE."""

OPTIONS: tuple[str, ...] = tuple(nethack.NETHACKOPTIONS)
"""NetHack's options: NLE's defaults."""


def nle_version() -> str:
    """Returns the version of the installed NLE."""
    return metadata.version("nle")


@dataclass(frozen=True)
class Setup:
    """What determines a game before its first key, apart from the clock.

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
        """Returns the setup of a collected game, which uses one number for both seeds."""
        return cls(seed, seed, None, character, fix_moon_phase)


class Challenge(NetHackChallenge):
    """NLE's NetHackChallenge, whose steps keep of the frame before only what the reward is computed from.

    NLE's own steps copy all 17 arrays of the frame, which takes longer than what is done with them.
    """

    last_observation: tuple[np.ndarray, ...]

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Plays one action; see NLE's ``NLE.step``."""
        before = {self._blstats_index: self.last_observation[self._blstats_index].copy()}
        shown, over = self.nethack.step(self.actions[action])
        truncated = self._check_abort(shown)  # counts frames without progress, as does _get_end_status
        if shown[self._program_state_index][0] == 1:  # the game is over, but NetHack has still to be answered
            shown, over = self._perform_known_steps(shown, over)
        self._steps += 1
        self.last_observation = shown
        status = self._get_end_status(shown, over)
        reward = float(self._reward_fn(before, action, shown, status))
        if status and not over:
            self._quit_game(shown, over)
            over = True
        return self._get_observation(shown), reward, over, truncated, self._get_information(status)

    def _reward_fn(self, last_observation: Any, action: int, observation: Any, end_status: int) -> float:
        # Past NetHackScore, which adds penalties for time and for standing still: they are 0 in this task.
        return super(NetHackScore, self)._reward_fn(last_observation, action, observation, end_status)


@contextmanager
def challenge(
    setup: Setup, observations: Sequence[str] = tuple(OBSERVATIONS), *, ttyrecs: Path | None = None
) -> Iterator[tuple[Any, Mapping[str, np.ndarray]]]:
    """Opens :class:`Challenge` at the first step of a seeded game, and closes it however the context ends.

    Args:
        setup: What determines the game.
        observations: Observation keys to show.
        ttyrecs: Folder in which NLE saves a ttyrec of the game, None to save none.

    Yields:
        The environment and the first observation. The arrays are the environment's own and change with every
        step.
    """
    env = Challenge(
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
        # NetHackChallenge replaces seeding methods of env.nethack with ones that raise; the class still has them.
        type(env.nethack).set_initial_seeds(env.nethack, setup.core, setup.disp, False, setup.lgen)
        observation, _ = env.reset()
        yield env, observation


def peek_character(setup: Setup) -> Character:
    """Returns the character of a game, read from a copy of the game that is thrown away (a few milliseconds)."""
    with challenge(setup) as (env, _):
        observation, *_ = env.step(nethack.ACTIONS.index(nethack.Command.ATTRIBUTES))
        page = observation["tty_chars"].tobytes().decode("latin-1")
    return parse_attributes(page)


def read_log(env: Any) -> LogEntry | None:
    """Returns the log's line about the game that has just ended in ``env``, or None if the game is not over."""
    path = Path(env.nethack._vardir) / "xlogfile"  # NLE exposes it nowhere else
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return LogEntry(lines[-1]) if lines else None
