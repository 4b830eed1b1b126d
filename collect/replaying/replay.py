"""Plays a game again from its seeds, its clock and its keys, without the demonstrator.

The simulator alone is some twenty times as fast as the bot, and reproduces every observation byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strathack.collect.playing.clock import Clock, at_second
from strathack.collect.playing.environment import Setup, challenge, read_log
from strathack.collect.playing.recorder import FrameRecorder
from strathack.collect.playing.xlogfile import LogEntry
from strathack.collect.running.pools import OnStep
from strathack.dataset.actions import KEY_CODES
from strathack.dataset.errors import InputError
from strathack.dataset.schema import DIGESTED_OBSERVATIONS, FRAME_CHUNK_STEPS, BLStat, row_values
from strathack.dataset.shard import GameData

REPORT_STEPS = 256
"""Steps between a replay's reports of its progress."""


class DepartedError(RuntimeError):
    """A replay differs from the recorded game.

    Attributes:
        step: The first step known to differ, or the first step of a range in which a step differs.
    """

    def __init__(self, step: int, message: str) -> None:
        super().__init__(message)
        self.step = step

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.step, str(self))


@dataclass(frozen=True)
class Recording:
    """What is needed to play a game again.

    Attributes:
        setup: What determines the game before its first key.
        clock: The clock, held at an instant.
        actions: u8 [T], indices into ``nle.nethack.ACTIONS``.
    """

    setup: Setup
    clock: Clock
    actions: np.ndarray

    @classmethod
    def of_game(cls, game: GameData) -> Recording:
        """Returns the recording of a stored game.

        If the game's clock was not held, the recording's clock is held at the second in which the game began.

        Raises:
            InputError: If the game's seeds, clock or keys are not known.
        """
        row = row_values(game.row[()])
        if row["core"] < 0 or row["start_time"] < 0:
            raise InputError(f"{row['game']}: cannot be replayed, its seed or its clock is not known")
        if not row["keys_sha256"]:
            raise InputError(f"{row['game']}: cannot be replayed, it has no keys")
        held = row["clock"] not in ("seed", "system")
        clock = Clock.parse(row["clock"]) if held else at_second(row["start_time"])
        lgen = row["lgen"] if row["lgen"] >= 0 else None
        setup = Setup(row["core"], row["disp"], lgen, row["character"], row["clock"] == "seed")
        return cls(setup, clock, game.actions)


class Replay:
    """A replay under way, which shows the frame of the next step.

    Attributes:
        observation: The environment's own arrays by key.
        step: The index of the next step.
    """

    def __init__(self, env: Any, observation: Mapping[str, np.ndarray], actions: np.ndarray) -> None:
        self.observation = observation
        self.step = 0
        self._env = env
        self._game = env.nethack._pynethack  # avoids the tuple of arrays that NLE's own step makes
        self._keys: list[int] = KEY_CODES[actions].tolist()
        self._actions = actions
        self._blstats = observation["blstats"]
        self._score = int(self._blstats[BLStat.SCORE])

    def __len__(self) -> int:
        return len(self._keys)

    def advance(self) -> float:
        """Plays the next key and returns the reward that followed.

        Raises:
            DepartedError: If the game was over before its last key.
        """
        step = self.step
        self.step = step + 1
        if step == len(self._keys) - 1:
            # The last reward depends on what NLE does after a game's end; earlier keys go straight to the game.
            return float(self._env.step(int(self._actions[step]))[1])
        self._game.step(self._keys[step])
        if self._game.done():
            raise DepartedError(step + 1, f"the replay is over after {step + 1} of {len(self)} keys")
        if not self._game.in_normal_game():
            return 0.0
        score = int(self._blstats[BLStat.SCORE])
        reward, self._score = score - self._score, score
        return float(reward)

    def log(self) -> LogEntry | None:
        """Returns NetHack's xlogfile line about the game; None if the game is not over."""
        return read_log(self._env)


@contextmanager
def replaying(recording: Recording, observations: Sequence[str], *, ttyrecs: Path | None = None) -> Iterator[Replay]:
    """Opens a recorded game at its first step.

    Args:
        recording: The game.
        observations: Observation keys to show, besides those that digests cover.
        ttyrecs: Folder in which NLE saves a ttyrec of the game, None to save none.
    """
    recording.clock.hold()
    shown = tuple(dict.fromkeys([*observations, *DIGESTED_OBSERVATIONS]))
    with challenge(recording.setup, shown, ttyrecs=ttyrecs) as (env, observation):
        yield Replay(env, observation, recording.actions)


@dataclass(frozen=True)
class Replayed:
    """A game that was played again to its last key.

    Attributes:
        frames: Its frames.
        rewards: f32 [T].
        log: NetHack's xlogfile line about the game; None if the game is not over.
    """

    frames: FrameRecorder
    rewards: np.ndarray
    log: LogEntry | None


Check = Callable[[int, Mapping[str, np.ndarray]], None]
"""Called with each step and its observation; may raise :class:`DepartedError`."""


def replay(
    recording: Recording,
    observations: Sequence[str],
    on_step: OnStep,
    check: Check | None = None,
    *,
    shown: Sequence[str] = (),
) -> Replayed:
    """Plays a recorded game again and records its frames.

    Args:
        recording: The game.
        observations: Observation keys to keep.
        on_step: Called now and then with the number of steps so far.
        check: Called at every step, before its key is played.
        shown: Observation keys that ``check`` is shown besides, and that are not kept.

    Raises:
        DepartedError: If the game was over before its last key.
    """
    with replaying(recording, [*observations, *shown]) as game:
        frames = FrameRecorder(game.observation, observations, effort="quick")
        rewards = np.zeros(len(game), dtype="<f4")
        for step in range(len(game)):
            if check is not None:
                check(step, game.observation)
            frames.take()
            rewards[step] = game.advance()
            if step % REPORT_STEPS == 0:
                on_step(step)
        frames.finish()
        on_step(len(game))
        return Replayed(frames, rewards, game.log())


def check_replayed(game: GameData, replayed: Replayed) -> None:
    """Compares a replay with what is stored with the game: the digests of its frames, and its score.

    Raises:
        DepartedError: If they differ; the error names the first steps that may differ.
    """
    row = row_values(game.row[()])
    expected, found = row["frames_sha256"], replayed.frames.frames_sha256
    if expected and found != expected:
        known, ours = game.checkpoints, replayed.frames.checkpoints
        if len(known) == len(ours):
            first = int(np.argmax(known != ours)) * FRAME_CHUNK_STEPS
            last = min(first + FRAME_CHUNK_STEPS, len(game.actions)) - 1
            raise DepartedError(first, f"the replay shows other frames, first between steps {first} and {last}")
        raise DepartedError(0, f"the replay shows other frames (digest {found[:12]}…, recorded {expected[:12]}…)")
    if row["completeness"] == "complete":
        last = len(game.actions) - 1
        if replayed.log is None:
            raise DepartedError(last, f"the replay is not over after the last key, at step {last}")
        score = int(replayed.log.fields["points"])
        if score != row["score"]:
            raise DepartedError(last, f"the replay ends at step {last} with score {score}, not {row['score']}")
