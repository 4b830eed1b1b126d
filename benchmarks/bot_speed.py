"""Speed of the fast bot, recorded with all labels as `collect` does, over the bot as installed in NLE and nothing else.

    python benchmarks/bot_speed.py [--seeds 2,22,28,30,3,0,2001] [--rounds 2] [--parts] [--max-steps N]

Both sides play the same games in one process, one after the other, in an order that changes between rounds; the games
must have the same number of steps. The total is steps over seconds of all games. With `--parts`, the bare fast bot is
timed with each of its parts left out, too, which tells what the part gains.
"""

from __future__ import annotations

import argparse
import gc
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import numpy as np
from bare import play_bare, recording_worker, timed

from strathack.collect.demonstrators.fast.bot import PARTS
from strathack.collect.options import DemonstrationOptions
from strathack.collect.playing.clock import DEFAULT_CLOCK, restart_under
from strathack.collect.playing.game import PlayedGame
from strathack.collect.playing.seeds import Seeds

Times = dict[str, np.ndarray]
"""Steps, seconds and seconds of processor time by side."""


INSTALLED = "as installed"


def settle(warm: bool) -> None:
    """Leaves the interpreter as our workers have it after warming up, or as it starts."""
    gc.unfreeze()
    gc.collect()
    if warm:
        gc.freeze()


def in_turns(sides: dict[str, Callable[[int], int]], seeds: Seeds, rounds: int) -> dict[int, Times]:
    """Times each side on each game, and prints each pair's ratios to the first side; returns the times by seed."""
    names = list(sides)
    times: dict[int, Times] = {seed: defaultdict(lambda: np.zeros(3)) for seed in seeds}
    for number in range(rounds):
        for seed in seeds:
            taken = {}
            for name in names if number % 2 == 0 else names[::-1]:
                settle(name != INSTALLED)
                taken[name] = np.array(timed(partial(sides[name], seed)))
                times[seed][name] += taken[name]
            assert len({taken[name][0] for name in names}) == 1, "the same game"
            base = taken[names[0]]
            rates = "   ".join(
                f"{name} {taken[name][0] / taken[name][2]:6.0f} steps/CPU-s, {base[2] / taken[name][2]:.2f} "
                f"(wall time {base[1] / taken[name][1]:.2f})"
                for name in names
            )
            print(f"seed {seed:4d} {base[0]:6.0f} steps   {rates}", flush=True)
    return times


def total(times: dict[int, Times], name: str) -> np.ndarray:
    """The times of a side over all seeds."""
    return sum((of_seed[name] for of_seed in times.values()), np.zeros(3))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=Seeds.parse, default=Seeds([2, 22, 28, 30, 3, 0, 2001]))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--parts", action="store_true")
    arguments = parser.parse_args()
    options = DemonstrationOptions(max_steps=arguments.max_steps)
    if not options.clock.is_running():
        restart_under(DEFAULT_CLOCK)
    player = recording_worker(options)()
    player.warm_up()
    bare = partial(play_bare, max_steps=arguments.max_steps)
    bare(0, max_steps=300)

    def collected(seed: int) -> int:
        game = player.work(seed, lambda steps: None)
        assert isinstance(game, PlayedGame)
        return game.steps

    if arguments.parts:
        sides = {"all": partial(bare, fast=True)}
        sides |= {f"without {part}": partial(bare, fast=True, without=(part,)) for part in PARTS}
        times = in_turns(sides, arguments.seeds, arguments.rounds)
        everything = total(times, "all")
        for name in sides:
            print(f"{name:20s} {total(times, name)[2] / everything[2]:.3f} times the processor time")
    else:
        sides = {INSTALLED: bare, "fast": collected}
        times = in_turns(sides, arguments.seeds, arguments.rounds)
        installed, fast = total(times, INSTALLED), total(times, "fast")
        by_seed = [of_seed[INSTALLED][2] / of_seed["fast"][2] for of_seed in times.values()]
        print(
            f"fast / as installed: {installed[2] / fast[2]:.2f} in processor time ({min(by_seed):.2f} to "
            f"{max(by_seed):.2f} by game), {installed[1] / fast[1]:.2f} in wall time; the aim is 2.7"
        )
    player.close()


if __name__ == "__main__":
    main()
