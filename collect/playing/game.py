"""Playing one game from its seed to a finished shard."""

from __future__ import annotations

import importlib.util
import math
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from strathack.collect.demonstrators import Demonstrator
from strathack.collect.demonstrators.base import PlayAgainError, played_by
from strathack.collect.options import DemonstrationOptions
from strathack.collect.playing.characters import Character
from strathack.collect.playing.environment import Setup, challenge, peek_character, read_log
from strathack.collect.playing.recorder import PLACE, GameRecorder, Reached
from strathack.collect.playing.session import Session
from strathack.collect.playing.watchdog import STUCK_SECONDS, StuckError, Watchdog
from strathack.collect.playing.xlogfile import LogEntry, end_of
from strathack.collect.running.results import GameShard, SkippedSeed
from strathack.dataset.schema import DUNGEON_NAMES, DUNGEONS, TERMINATED_ENDS, BLStat, game_name, make_row
from strathack.dataset.shard import GameData, Provenance, encode_shard

_TRACEBACK_LENGTH = 8000


@dataclass(frozen=True, kw_only=True)
class PlayedGame(GameShard):
    """A game that was played.

    Attributes:
        seed: Its seed.
        role: The role that was played.
        score: Its score.
        end: How it ended.
        cause: Cause of death, or of another end.
    """

    seed: int
    role: str
    score: int
    end: str
    cause: str


@dataclass(frozen=True)
class Beginning:
    """How a game began.

    Attributes:
        setup: What determines the game, apart from the clock.
        clock: The clock that the game sees.
        start_time: The time that the clock showed at the start, in seconds since 1970.
        character: The character that is played.
        bot: How the demonstrator plays; empty if there is only one way.
    """

    setup: Setup
    clock: str
    start_time: int
    character: Character
    bot: str = ""


@dataclass(frozen=True)
class Ending:
    """How a game ended.

    Attributes:
        end: The column ``end`` of ``/games``.
        cause: The column ``cause`` of ``/games``.
        log: NetHack's xlogfile line about the game; None if the game was cut off.
        error: The exception that the demonstrator raised, if any.
    """

    end: str
    cause: str
    log: LogEntry | None = None
    error: BaseException | None = None


def play_game(
    options: DemonstrationOptions,
    demonstrator: Demonstrator,
    seed: int,
    provenance: Provenance,
    on_step: Callable[[int], None] | None = None,
) -> PlayedGame | SkippedSeed:
    """Plays the game of one seed and encodes it.

    Args:
        options: The options that determine the game.
        demonstrator: Plays the game.
        seed: Core and display seed.
        provenance: Stored in the shard.
        on_step: Called after each step with the number of steps so far.

    Raises:
        Exception: If the simulator or the recording fails; an error of the demonstrator is recorded with the game
            instead.
    """
    setup = Setup.of_seed(seed, options.character, options.clock.fixes_moon_phase)
    character = peek_character(setup)
    if not options.roles.include(character.role):
        return SkippedSeed(seed, character.role)
    # One limit for the game, also if it is played twice: a worker that takes longer counts as hung.
    deadline = None if options.max_seconds is None else time.monotonic() + options.max_seconds
    return played_by(demonstrator, partial(_played, options, seed, setup, character, provenance, on_step, deadline))


def _played(
    options: DemonstrationOptions,
    seed: int,
    setup: Setup,
    character: Character,
    provenance: Provenance,
    on_step: Callable[[int], None] | None,
    deadline: float | None,
    demonstrator: Demonstrator,
) -> PlayedGame:
    started, start_time = time.monotonic(), int(time.time())
    with challenge(setup) as (env, observation):
        recorder = GameRecorder(observation, options.observations)
        labels = demonstrator.make_labels()
        session = Session(
            env,
            observation,
            seed,
            recorder,
            labels,
            max_steps=options.max_steps,
            deadline=deadline,
            on_step=on_step,
        )
        error = let_play(demonstrator, session)
        recorder.finish()
        ending = _ending(session, error, read_log(env))
        blstats = session.observation["blstats"].copy()
    beginning = Beginning(setup, str(options.clock), start_time, character, demonstrator.bot)
    codes = labels.strategy_codes, labels.substrategy_codes
    data = finished_game(recorder, beginning, ending, blstats, *codes, seconds=time.monotonic() - started)
    return PlayedGame(
        seed=seed,
        name=game_name(seed),
        shard=encode_shard(data, provenance),
        role=character.role,
        steps=recorder.steps,
        score=int(data.row["score"]),
        end=ending.end,
        cause=ending.cause,
    )


def finished_game(
    recorder: GameRecorder,
    beginning: Beginning,
    ending: Ending,
    blstats: np.ndarray,
    strategy_codes: Mapping[str, int],
    substrategy_codes: Mapping[str, int],
    *,
    seconds: float,
) -> GameData:
    """Returns the data of a game that was recorded to its end, no matter who played it.

    Args:
        recorder: The finished recorder of the game's steps.
        beginning: How the game began.
        ending: How the game ended.
        blstats: The bottom line of the last frame, i32 [27].
        strategy_codes: Name → code in ``strategy``.
        substrategy_codes: Name → code in ``substrategy``.
        seconds: How many seconds the game took.
    """
    setup = beginning.setup
    row = make_row(
        {
            "game": game_name(setup.core),
            "core": setup.core,
            "disp": setup.disp,
            "lgen": -1 if setup.lgen is None else setup.lgen,
            "clock": beginning.clock,
            "start_time": beginning.start_time,
            "character": setup.character,
            **columns_of(beginning.character),
            **_how_far(recorder.reached, ending, blstats),
            "steps": recorder.steps,
            "end": ending.end,
            "cause": ending.cause,
            "completeness": "complete" if ending.end in TERMINATED_ENDS else "truncated",
            "origin": "played",
            "keys_sha256": recorder.keys_sha256,
            "frames_sha256": recorder.frames_sha256,
            "seconds": seconds,
        }
    )
    dones = np.zeros(recorder.steps, dtype=np.uint8)
    dones[-1:] = 1
    return GameData(
        row=row,
        frames=recorder.chunks,
        actions=recorder.actions,
        rewards=recorder.rewards if recorder.chunks else None,
        dones=dones,
        strategy=recorder.strategy,
        substrategy=recorder.substrategy,
        hihack_strategy=recorder.published,
        strategy_codes=strategy_codes,
        substrategy_codes=substrategy_codes,
        checkpoints=recorder.checkpoints,
        attributes=_attributes(beginning, ending),
    )


def let_play(
    demonstrator: Demonstrator, session: Session, stuck_seconds: float = STUCK_SECONDS
) -> BaseException | None:
    """Lets the demonstrator play; returns the exception that it raised, but raises failures that it did not cause.

    Args:
        demonstrator: Plays the game.
        session: The game.
        stuck_seconds: Seconds without an action after which the game is ended.
    """
    error: BaseException | None = None
    with Watchdog(session, stuck_seconds) as watchdog, _recursion_limit_from_here():
        try:
            demonstrator.play(session)
        except PlayAgainError:
            raise
        except (Exception, SystemExit) as raised:  # noqa: BLE001  (foreign code may raise anything, and exit)
            error = raised
    if isinstance(error, StuckError) and watchdog.error is not None:
        # The error was raised from outside, without a message; the watchdog's copy has a message.
        error = watchdog.error.with_traceback(error.__traceback__)
        if session.is_late():
            session.end = "time_limit"
    if isinstance(session.failure, StuckError):
        raise RuntimeError("a step took so long that it was interrupted")
    if session.failure is not None:
        raise session.failure
    return error


@contextmanager
def _recursion_limit_from_here() -> Iterator[None]:
    """Counts the recursion limit from here on, so that a demonstrator meets it at the same depth in every worker."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + _recursion_depth())
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _recursion_depth() -> int:
    """Returns the depth as the interpreter counts it, calls of C functions included, which frames do not show."""
    try:
        sys.setrecursionlimit(1)
    except RecursionError as error:  # "cannot set the recursion limit to 1 at the recursion depth 37: …"
        depth = re.search(r"depth (\d+)", str(error))
        return int(depth[1]) if depth else 0
    return 0


def _ending(session: Session, error: BaseException | None, log: LogEntry | None) -> Ending:
    if session.end == "game":
        return Ending(*natural_end(session.info, log), log, error)
    if session.end is not None:
        return Ending(session.end, "", None, error)
    if error is not None:
        return Ending("demonstrator_error", _one_line(error), None, error)
    return Ending("demonstrator_stopped", "")


def natural_end(info: Mapping[str, Any], log: LogEntry | None) -> tuple[str, str]:
    """Returns the end and its cause, for a game that NLE reports as over."""
    if int(info["end_status"]) < 0:  # StepStatus.ABORTED: NLE quit the game itself
        return "abort", "no progress"
    return logged_end(log)


def logged_end(log: LogEntry | None) -> tuple[str, str]:
    """Returns the end and its cause from NetHack's log, for a game that is over."""
    end, cause = end_of(log) if log is not None else ("unknown", "")
    return ("death" if end == "unknown" else end), cause


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _attributes(beginning: Beginning, ending: Ending) -> dict[str, str]:
    attributes = {}
    if beginning.bot:
        attributes["bot"] = beginning.bot
    if ending.log is not None:
        attributes["xlogfile"] = ending.log.line
    if ending.error is not None:
        attributes["error"] = _one_line(ending.error)
        attributes["traceback"] = "".join(traceback.format_exception(ending.error))[-_TRACEBACK_LENGTH:]
    return attributes


def columns_of(character: Character) -> dict[str, str]:
    """Returns the character as columns of ``/games``."""
    return {
        "role": character.role,
        "race": character.race,
        "gender": character.gender,
        "alignment": character.alignment,
    }


def _how_far(reached: Reached, ending: Ending, blstats: np.ndarray) -> dict[str, Any]:
    """Returns score, turns and progress: NetHack's own figures if its log has the game, else the last frame's."""
    if ending.log is not None:
        fields = ending.log.fields
        score, turns, depth = int(fields["points"]), int(fields["turns"]), int(fields["maxlvl"])
        dungeon = int(fields["deathdnum"])
    else:
        score, turns = int(blstats[BLStat.SCORE]), int(blstats[BLStat.TIME])
        depth, dungeon = 0, DUNGEONS["unknown"]
    # A depth that was reached with the last key is in the log only.
    deeper = depth > reached.max_depth
    return {
        "turns": turns,
        "score": score,
        "max_depth": depth if deeper else reached.max_depth,
        "deepest_dungeon": DUNGEON_NAMES.get(dungeon if deeper else reached.deepest_dungeon, "unknown"),
        "experience_level": reached.experience_level,
        "progression": progression(reached.places, ascended=ending.end == "ascended"),
    }


def progression(places: Iterable[tuple[int, int, int, int]], *, ascended: bool) -> float:
    """Returns the BALROG progression: the best chance of ascending that a human has who got this far.

    Args:
        places: (depth, experience level, dungeon, level in it) of every frame, without duplicates.
        ascended: Whether the game was won.

    Returns:
        0 to 1, or NaN where the package nethackers, which has the curve, is not installed (Python 3.10).
    """
    if importlib.util.find_spec("nethackers") is None:
        return math.nan
    from nethackers.arena.progress import NetHackProgress

    progress = NetHackProgress()
    for depth, experience_level, dungeon, level in places:
        blstats = np.zeros(27, dtype=np.int64)
        blstats[PLACE] = depth, experience_level, dungeon, level
        progress.update({"blstats": blstats}, {"is_ascended": ascended})
    return float(progress.progression)
