"""Whether a learner that takes 4,096 frames every 10 ms ever waits.

    python benchmarks/stream_learner.py DATA [--lanes 128] [--batches 2000] [--threads 2]

The learner is busy for 10 ms per batch (on an accelerator, for example) and then asks for the next batch. The share of
time that it is fed is its busy time divided by the whole time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from strathack.dataset.reading import Dataset
from strathack.dataset.schema import DEFAULT_OBSERVATIONS
from strathack.dataset.streams import unrolls

BUSY_SECONDS = 0.010


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--lanes", type=int, default=128)
    parser.add_argument("--batches", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    stream = unrolls(
        Dataset(arguments.data), lanes=arguments.lanes, steps=4096 // arguments.lanes, epochs=None, reuse=True,
        observations=DEFAULT_OBSERVATIONS, threads=arguments.threads,
    )  # fmt: skip
    next(stream)
    waited = busy = 0.0
    for _ in range(arguments.batches):
        started = time.perf_counter()
        next(stream)
        waited += time.perf_counter() - started
        started = time.perf_counter()
        time.sleep(BUSY_SECONDS)
        busy += time.perf_counter() - started
    stream.close()
    print(f"{arguments.batches} batches of 4,096 frames: busy {busy:.1f} s, waiting {waited:.2f} s")
    print(f"fed {busy / (busy + waited):.1%} of the time; the aim is 95 %")


if __name__ == "__main__":
    main()
