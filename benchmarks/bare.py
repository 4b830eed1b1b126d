"""The peer of the benchmarks: AutoAscend in NLE and nothing else, as its authors run it or as the fast bot.

    python benchmarks/bare.py SEED... [--max-steps N] [--fast]

This command plays the games one after another. It prints `ready` when the bot is warm, starts when it reads a line of
input, and prints `seed steps seconds` after each game.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from nle import nethack
from nle.env.tasks import NetHackChallenge

from strathack.collect.demonstrators import make_demonstrator
from strathack.collect.demonstrators.fast.bot import fast_bot
from strathack.collect.demonstrators.package import load_bot
from strathack.collect.options import DemonstrationOptions
from strathack.collect.playing.clock import DEFAULT_CLOCK, restart_under
from strathack.collect.playing.environment import nle_version
from strathack.collect.playing.worker import PlayingWorker
from strathack.dataset.actions import ACTION_INDEX
from strathack.dataset.shard import Provenance


class BareEnvironment:
    """Only those parts of an environment that the bot needs."""

    def __init__(self, seed: int, max_steps: int | None) -> None:
        self.env = NetHackChallenge(no_progress_timeout=1000)
        type(self.env.nethack).set_initial_seeds(self.env.nethack, seed, seed, False, None)
        self.env.reset()
        self.steps = 0
        self.max_steps = max_steps

    def step(self, action: int) -> tuple[Any, float, bool, Any]:
        observation, reward, terminated, truncated, info = self.env.step(ACTION_INDEX[int(action)])
        self.steps += 1
        return observation, reward, terminated or truncated or self.steps == self.max_steps, info

    def debug_log(self, *_: Any, **__: Any) -> nullcontext[None]:
        return nullcontext()

    debug_tiles = debug_log


def play_bare(seed: int, max_steps: int | None = None, *, fast: bool = False, without: tuple[str, ...] = ()) -> int:
    """Plays one game, as installed or as the fast bot without some of its parts; returns its steps."""
    environment = BareEnvironment(seed, max_steps)
    module = load_bot()
    with warnings.catch_warnings(), np.errstate(over="ignore"), playing(fast, without) as prepare:
        warnings.simplefilter("ignore")
        agent = module.Agent(environment, panic_on_errors=True)
        prepare(agent)
        with suppress(RuntimeError):  # some games end so
            agent.main()
    environment.env.close()
    return environment.steps


def playing(fast: bool, without: tuple[str, ...]) -> AbstractContextManager[Callable[[Any], None]]:
    """The context in which the bot plays, which gives what prepares an agent."""
    return fast_bot(without) if fast else nullcontext(lambda agent: None)


def recording_worker(options: DemonstrationOptions) -> Callable[[], PlayingWorker]:
    """What makes a worker that plays and records as `collect` has it do."""
    version = metadata.version("nethackers")
    provenance = Provenance(options.observations, "autoascend", version, nle_version(), "{}", "", "", "")
    return partial(PlayingWorker, options, partial(make_demonstrator, "autoascend"), provenance)


def timed(play: Callable[[], int]) -> tuple[int, float, float]:
    """Plays, and returns steps, seconds, and seconds of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    steps = play()
    return steps, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--fast", action="store_true")
    options = parser.parse_args()
    clock = DEFAULT_CLOCK
    if not clock.is_running():
        restart_under(clock)
    play_bare(0, 300, fast=options.fast)
    print("ready", len(nethack.ACTIONS), flush=True)
    sys.stdin.readline()
    for seed in options.seeds:
        started = time.monotonic()
        steps = play_bare(seed, options.max_steps, fast=options.fast)
        print(seed, steps, time.monotonic() - started, flush=True)


if __name__ == "__main__":
    main()
