"""Speed of two Ray workers on two cores, relative to two bare processes of the fast bot, on the same games.

    python benchmarks/collect_scaling.py [--seeds 0,3,30,2000:2005] [--max-steps 15000] [--rounds 8]

Both sides are warm before the timing starts. The timing ends when the last game is done; our games are on disk by then.
Games are cut at a number of steps, so that neither side waits for one long game, and the seeds are divided in the same
two halves among the two processes of each side. The machine's speed drifts by more than the measured difference, so
many short pairs are better than few long ones. The order of the sides changes from pair to pair.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from bare import recording_worker

from strathack.collect.options import DemonstrationOptions
from strathack.collect.playing.seeds import Seeds
from strathack.collect.running.pools import Finished, RayPool
from strathack.dataset.folder import DatasetFolder


def bare_rate(seeds: tuple[int, ...], max_steps: int) -> float:
    """Steps a second of two bare processes together."""
    command = [sys.executable, str(Path(__file__).with_name("bare.py")), "--fast", "--max-steps", str(max_steps)]
    processes = [
        subprocess.Popen([*command, *map(str, half)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for half in (seeds[::2], seeds[1::2])
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready")
    started = time.monotonic()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    steps = 0
    for process in processes:
        steps += sum(int(line.split()[1]) for line in process.communicate()[0].splitlines())
    return steps / (time.monotonic() - started)


def ray_rate(pool: RayPool, seeds: tuple[int, ...], folder: DatasetFolder) -> float:
    """Steps a second of the pool's two workers together, with every game written to disk."""
    while not pool.has_room or len(pool._idle) < 2:
        pool.poll()
    started = time.monotonic()
    waiting, steps = list(seeds), 0
    while waiting or pool.running:
        while waiting and pool.has_room:
            seed = waiting.pop(0)
            pool.submit(seed, seed)
        for outcome in pool.poll():
            assert isinstance(outcome, Finished), outcome
            game = outcome.result
            folder.add_game(game.name, game.shard)
            steps += game.steps
        pool.steps()
    return steps / (time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0,3,30,2000:2005")
    parser.add_argument("--max-steps", type=int, default=15_000)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    seeds = Seeds.parse(arguments.seeds)
    options = DemonstrationOptions(max_steps=arguments.max_steps)
    ratios = []
    for number in range(arguments.rounds):
        bare = bare_rate(seeds, arguments.max_steps) if number % 2 == 0 else None
        pool = closing(RayPool(2, None, recording_worker(options), options.clock.environment()))
        with tempfile.TemporaryDirectory() as out, pool as workers:
            ours = ray_rate(workers, seeds, DatasetFolder(Path(out)))
        bare = bare or bare_rate(seeds, arguments.max_steps)
        ratios.append(ours / bare)
        print(f"two bare {bare:6.0f} steps/s   two workers {ours:6.0f} steps/s   ratio {ratios[-1]:.3f}", flush=True)
    print(f"workers / bare, median of {len(ratios)} pairs: {statistics.median(ratios):.3f}; the aim is 0.93")


if __name__ == "__main__":
    main()
