"""Keys-only datasets: bytes a step, and the speed of replaying them on one core and as a stream on two cores.

    python benchmarks/replay_speed.py DATA [--rounds 3] [--select "steps < 20000"]

In the same run, the script measures replaying with every frame recorded and the digest checked (as `expand` does), the
simulator alone with the same keys, and a stream from two replaying processes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from strathack.collect.playing.clock import DEFAULT_CLOCK, restart_under
from strathack.collect.replaying.expanding import expanded
from strathack.collect.replaying.replay import Recording, check_replayed, replay, replaying
from strathack.collect.replaying.streaming import ReplayedFrames
from strathack.collect.running.workplace import Workplace
from strathack.dataset.keys import keys_only, keys_only_shard
from strathack.dataset.reading import Dataset
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, GAMES_PER_SHARD
from strathack.dataset.shard import encode_shard
from strathack.dataset.streams import unrolls
from strathack.dataset.writer import DatasetWriter


def bare(dataset: Dataset) -> float:
    """Steps a second of the simulator alone."""
    started = time.perf_counter()
    for game in dataset:
        with replaying(Recording.of_game(keys_only(game)), ()) as running:
            for _ in range(len(running)):
                running.advance()
    return dataset.steps / (time.perf_counter() - started)


def recorded(dataset: Dataset) -> float:
    """Steps a second of replaying and recording, as `expand` does for each game."""
    started = time.perf_counter()
    for game in dataset:
        keys = keys_only(game)
        replayed = replay(Recording.of_game(keys), DEFAULT_OBSERVATIONS, lambda steps: None)
        check_replayed(keys, replayed)
        encode_shard(expanded(keys, replayed), game.provenance)
    return dataset.steps / (time.perf_counter() - started)


def streamed(dataset: Dataset) -> float:
    """Steps a second of a stream with two replaying processes."""
    with ReplayedFrames(2) as frames:
        lanes = min(32, len(dataset))
        stream = unrolls(dataset, lanes=lanes, steps=32, observations=DEFAULT_OBSERVATIONS, frames=frames, reuse=True,
                         epochs=None)  # fmt: skip
        next(stream)
        started, steps = time.perf_counter(), 0
        while steps < 200_000:
            steps += int(next(stream)["mask"].sum())
        rate = steps / (time.perf_counter() - started)
        stream.close()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--select", default="steps < 20000")
    arguments = parser.parse_args()
    clock = DEFAULT_CLOCK
    if not clock.is_running():
        restart_under(clock)
    workplace = Workplace()
    with tempfile.TemporaryDirectory() as folder:
        steps = 0
        with DatasetWriter(Path(folder) / "keys", {}) as writer:
            writer.begin()
            for game in Dataset(arguments.data):
                writer.add(game.name, keys_only_shard(game))
                steps += len(game)
            writer.merge(GAMES_PER_SHARD)
        out = writer.folder
        size = sum(path.stat().st_size for path in out.shards())
        print(f"keys-only: {size:,} bytes, {steps:,} steps, {size / steps:.3f} bytes a step; the aim is 0.5")
        dataset = Dataset(out.path).select(arguments.select)
        print(f"replaying {len(dataset)} games, {dataset.steps:,} steps")
        ratios, rates, streams = [], [], []
        for number in range(arguments.rounds):
            alone, full, stream = bare(dataset), recorded(dataset), streamed(Dataset(out.path))
            ratios.append(full / alone)
            rates.append(full)
            streams.append(stream)
            print(
                f"round {number + 1}: simulator alone {alone:7,.0f} steps/s   recorded {full:7,.0f}   "
                f"ratio {ratios[-1]:.2f}   streamed from two processes {stream:7,.0f}",
                flush=True,
            )
    workplace.close()
    print(f"recorded / simulator alone, median: {statistics.median(ratios):.2f}")
    print(f"recorded on one core: {statistics.median(rates):,.0f} steps/s; the aim is 15,000")
    print(f"streamed on two cores: {statistics.median(streams):,.0f} steps/s")


if __name__ == "__main__":
    main()
