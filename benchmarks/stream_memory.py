"""Memory of a stream over ten epochs, with 256 lanes of 32 steps and the default observations.

python benchmarks/stream_memory.py DATA [--epochs 10]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from strathack.dataset.reading import Dataset
from strathack.dataset.schema import DEFAULT_OBSERVATIONS
from strathack.dataset.streams import unrolls


def resident() -> float:
    """Megabytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    dataset = Dataset(arguments.data)
    before, highest, steps, epochs = resident(), 0.0, 0, 0
    stream = unrolls(
        dataset, lanes=256, steps=32, observations=DEFAULT_OBSERVATIONS, reuse=True, epochs=arguments.epochs
    )
    for batch in stream:
        steps += int(batch["mask"].sum())
        highest = max(highest, resident())
        if steps >= (epochs + 1) * dataset.steps:
            epochs += 1
            print(f"epoch {epochs:2}: {resident():6,.0f} MB now, {highest:6,.0f} MB at most so far", flush=True)
    print(f"{steps:,} steps; {before:,.0f} MB before, {highest:,.0f} MB at most; the aim is 1,500")


if __name__ == "__main__":
    main()
