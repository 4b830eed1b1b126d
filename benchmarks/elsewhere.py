"""Streams of a dataset that is elsewhere, relative to the same games in a folder: speed and bytes.

    python benchmarks/elsewhere.py DATA [--lanes 8] [--steps 32] [--rounds 12]

DATA is a dataset with frames; eight of its games are published into a folder, which a server on loopback serves
(the tests' hub). Printed are: the bytes fetched by a walk through every second game over the bytes that it needs (its
chunks); the frames a second from a cold cache and from a warm one, relative to the folder, alternating in the same run.
Loopback has no latency: the cold figure is an upper bound of what a network gives.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from strathack.cli import main as strathack
from strathack.dataset import Dataset
from strathack.dataset.streams import unrolls

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from hub import Hub

GAMES = 8


def rate(dataset: Dataset, lanes: int, steps: int) -> float:
    """Frames a second of one walk through all games."""
    started, frames = time.perf_counter(), 0
    for batch in unrolls(dataset, lanes=lanes, steps=steps, epochs=1, reuse=True):
        frames += int(batch["mask"].sum())
    return frames / (time.perf_counter() - started)


def bytes_over_needed(hub: Hub, address: str, chosen: Sequence[str]) -> float:
    """Fetches some games with a cold cache; returns the bytes that came over those of the games' chunks."""
    dataset = Dataset(address)
    games = dataset.without(set(dataset.names) - set(chosen))
    rate(games, 2, 32)
    needed = sum(int(array.places[:, 1].sum()) for game in games for array in game.arrays.values())
    return hub.bytes_sent(r"\.h5$") / needed


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Hub(Path(folder) / "hub", plain=Path(folder) / "games") as hub:
        os.environ["STRATHACK_CACHE"] = str(Path(folder) / "cache")
        names = Dataset(arguments.data).names[:GAMES]
        select = f"game in {tuple(names)}"
        hub.plain.rmdir()
        strathack(["dataset", "publish", str(arguments.data), str(hub.plain), "--observations", "--select", select])
        here, address = Dataset(hub.plain), f"{hub.url}/plain"
        print(f"{len(here)} games, {here.steps:,} steps, {sum(p.stat().st_size for p in here.paths):,} bytes of shards")
        print(f"every second game: bytes fetched over bytes needed {bytes_over_needed(hub, address, names[::2]):.3f}")
        os.environ["STRATHACK_CACHE"] = str(Path(folder) / "second")
        there = Dataset(address)
        cold = rate(there, arguments.lanes, arguments.steps)
        pairs = [
            [rate(one, arguments.lanes, arguments.steps) for one in (there, here)] for _ in range(arguments.rounds)
        ]
        local = statistics.median(folder for _, folder in pairs)
        print(f"cold cache: {cold:,.0f} frames a second, {cold / local:.2f} of the folder's {local:,.0f}")
        ratios = sorted(warm / folder for warm, folder in pairs)
        print(
            f"warm cache: {statistics.median(warm for warm, _ in pairs):,.0f} frames a second, "
            f"{statistics.median(ratios):.3f} of the folder's ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
