"""The peer of the benchmarks: AutoAscend as its authors run it, in NLE and nothing else.

    python benchmarks/bare.py SEED... [--max-steps N]

This command plays the games one after another. It prints `ready` when the bot is warm, starts when it reads a line of
input, and prints `seed steps seconds` after each game.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from contextlib import nullcontext
from typing import Any

import numpy as np
from nle import nethack
from nle.env.tasks import NetHackChallenge

from strathack.collect.demonstrators.package import load_bot
from strathack.collect.playing.clock import DEFAULT_CLOCK, restart_under
from strathack.dataset.actions import ACTION_INDEX


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


def play_bare(seed: int, max_steps: int | None = None) -> int:
    """Plays one game; returns its steps."""
    environment = BareEnvironment(seed, max_steps)
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("ignore")
        load_bot().Agent(environment, panic_on_errors=True).main()
    environment.env.close()
    return environment.steps


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--max-steps", type=int)
    options = parser.parse_args()
    clock = DEFAULT_CLOCK
    if not clock.is_running():
        restart_under(clock)
    play_bare(0, 300)
    print("ready", len(nethack.ACTIONS), flush=True)
    sys.stdin.readline()
    for seed in options.seeds:
        started = time.monotonic()
        steps = play_bare(seed, options.max_steps)
        print(seed, steps, time.monotonic() - started, flush=True)


if __name__ == "__main__":
    main()
