"""What recording costs: steps a second with recording and all labels, relative to the bare fast bot on the same games.

    python benchmarks/collect_overhead.py [--seeds 4,22,28] [--rounds 5]

Both sides play in one process, one after the other, in an order that changes between rounds. A ratio is computed for
each pair, and the median of the ratios is reported.
"""

from __future__ import annotations

import argparse
import statistics

from bare import play_bare, recording_worker, timed

from strathack.collect.options import DemonstrationOptions
from strathack.collect.playing.clock import DEFAULT_CLOCK, restart_under
from strathack.collect.playing.game import PlayedGame
from strathack.collect.playing.seeds import Seeds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="4,22,28")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    options = DemonstrationOptions()
    if not options.clock.is_running():
        restart_under(DEFAULT_CLOCK)
    player = recording_worker(options)()
    player.warm_up()

    def record(seed: int) -> int:
        game = player.work(seed, lambda steps: None)
        assert isinstance(game, PlayedGame)
        return game.steps

    wall_ratios, cpu_ratios = [], []
    for round_number in range(arguments.rounds):
        for seed in Seeds.parse(arguments.seeds):
            pair = [
                ("bare", lambda seed=seed: play_bare(seed, fast=True)),
                ("recorded", lambda seed=seed: record(seed)),
            ]
            if round_number % 2:
                pair.reverse()
            results = {name: timed(play) for name, play in pair}
            bare, recorded = results["bare"], results["recorded"]
            assert bare[0] == recorded[0], "the same game"
            wall_ratios.append(bare[1] / recorded[1])
            cpu_ratios.append(bare[2] / recorded[2])
            print(
                f"seed {seed:3d} {bare[0]:6d} steps   bare {bare[0] / bare[1]:6.0f} steps/s   "
                f"recorded {recorded[0] / recorded[1]:6.0f} steps/s   ratio {wall_ratios[-1]:.3f} "
                f"(processor time {cpu_ratios[-1]:.3f})",
                flush=True,
            )
    player.close()
    print(
        f"recorded / bare, median of {len(wall_ratios)} pairs: {statistics.median(wall_ratios):.3f} "
        f"(of processor time {statistics.median(cpu_ratios):.3f}); the aim is 0.92"
    )


if __name__ == "__main__":
    main()
