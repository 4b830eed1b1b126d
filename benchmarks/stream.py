"""Speed of our streams, relative to NLE's own loader and to plain h5py reads, on the same games in the same run.

    python benchmarks/stream.py DATA [--lanes 32] [--steps 32] [--threads 2] [--rounds 5] [--seconds 4]

DATA is a collected dataset of at least eight games and 200,000 steps. NLE replays its games and writes ttyrec3 files of
them. NLE's `TtyrecDataset` reads those files, and our unroll stream reads the dataset. Both read the screens, their
colours, the cursor and the keys, with the same lanes, steps and threads. The script also measures random windows,
relative to h5py reads of one window after another, and the rate of one thread that only decompresses the same chunks.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the filter)
import numpy as np
from nle.dataset import TtyrecDataset, add_nledata_directory, db

from strathack.dataset.reading import Dataset
from strathack.dataset.streams import unrolls, windows

KEYS = ("tty_chars", "tty_colors", "tty_cursor")


def rate(frames: Iterator[int], seconds: float) -> float:
    """Frames a second, without the first batch."""
    next(frames)
    started, total = time.perf_counter(), 0
    for count in frames:
        total += count
        if time.perf_counter() - started > seconds:
            break
    return total / (time.perf_counter() - started)


def nle_frames(database: Path, arguments: argparse.Namespace) -> Iterator[int]:
    with ThreadPoolExecutor(arguments.threads) as threads:
        loader = TtyrecDataset(
            "games", batch_size=arguments.lanes, seq_length=arguments.steps, dbfilename=str(database),
            threadpool=threads, loop_forever=True,
        )  # fmt: skip
        for batch in loader:
            yield int(np.count_nonzero(batch["gameids"]))


def our_frames(make: Callable[..., Any], dataset: Dataset, arguments: argparse.Namespace) -> Iterator[int]:
    stream = make(
        dataset, lanes=arguments.lanes, steps=arguments.steps, observations=KEYS, columns=("actions", "dones"),
        epochs=None, threads=arguments.threads, reuse=True,
    )  # fmt: skip
    try:
        for batch in stream:
            yield int(batch["mask"].sum())
    finally:
        stream.close()


def plain_windows(dataset: Dataset, arguments: argparse.Namespace) -> Iterator[int]:
    rng = np.random.default_rng(0)
    files = {path: h5py.File(path, "r") for path in dataset.paths}
    games = [files[game.path][f"data/{game.name}"] for game in dataset if len(game) > arguments.steps]
    lengths = np.array([len(game["actions"]) for game in games])
    while True:
        for _ in range(arguments.lanes):
            game = games[rng.choice(len(games), p=lengths / lengths.sum())]
            start = int(rng.integers(len(game["actions"]) - arguments.steps))
            for key in ("actions", "dones", *(f"obs/{key}" for key in KEYS)):
                game[key][start : start + arguments.steps]
        yield arguments.lanes * arguments.steps


def raw_frames(dataset: Dataset) -> Iterator[int]:
    while True:
        for game in dataset:
            arrays = [game.obs[key] for key in KEYS]
            buffers = [np.empty((array.chunk_steps, *array.shape[1:]), array.dtype) for array in arrays]
            for index in range(len(arrays[0].places)):
                for array, buffer in zip(arrays, buffers, strict=True):
                    array.read_chunk(index, buffer)
                yield min(arrays[0].chunk_steps, len(game) - index * arrays[0].chunk_steps)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--lanes", type=int, default=32)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--ttyrecs", type=Path, help="where the ttyrecs are kept for other runs; made if not there")
    arguments = parser.parse_args()
    # NLE's loader reads only games that are over, and needs at least one game per lane.
    dataset = Dataset(arguments.data).select(completeness="complete")
    arguments.lanes = min(arguments.lanes, len(dataset))
    print(f"{len(dataset)} games, {dataset.steps:,} steps, {arguments.lanes} lanes of {arguments.steps} steps")
    with tempfile.TemporaryDirectory() as folder:
        ttyrecs, database = arguments.ttyrecs or Path(folder) / "ttyrecs", Path(folder) / "ttyrecs.db"
        if not ttyrecs.exists():
            script = Path(__file__).with_name("ttyrecs.py")
            select = ("--select", "completeness == 'complete'")
            subprocess.run([sys.executable, str(script), str(arguments.data), str(ttyrecs), *select], check=True)
        size = sum(path.stat().st_size for path in ttyrecs.rglob("*.bz2"))
        db.create(str(database))
        add_nledata_directory(str(ttyrecs), "games", str(database))
        print(f"bytes a step: ttyrec3.bz2 {size / dataset.steps:.1f}")
        unrolled, windowed, shares = [], [], []
        for number in range(arguments.rounds):
            theirs = rate(nle_frames(database, arguments), arguments.seconds)
            ours = rate(our_frames(unrolls, dataset, arguments), arguments.seconds)
            plain = rate(plain_windows(dataset, arguments), arguments.seconds)
            random = rate(our_frames(windows, dataset, arguments), arguments.seconds)
            raw = rate(raw_frames(dataset), arguments.seconds)
            unrolled.append(ours / theirs)
            windowed.append(random / plain)
            shares.append(ours / raw)
            print(
                f"round {number + 1}: NLE {theirs:9,.0f}  unrolls {ours:9,.0f}  ratio {unrolled[-1]:5.1f}   "
                f"h5py windows {plain:7,.0f}  windows {random:7,.0f}  ratio {windowed[-1]:4.1f}   "
                f"raw, one thread {raw:9,.0f}  share {shares[-1]:.2f}",
                flush=True,
            )
    print(
        f"unrolls / NLE's TtyrecDataset, median of {arguments.rounds}: {statistics.median(unrolled):.1f}; the aim is 20"
    )
    print(f"random windows / plain h5py reads, median: {statistics.median(windowed):.1f}; the aim is 2")
    print(f"unrolls / raw decompression in one thread, median: {statistics.median(shares):.2f}")


if __name__ == "__main__":
    main()
