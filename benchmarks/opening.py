"""Seconds and memory to open a dataset of 100,000 games in 400 shards, compared with reading the files as plain bytes.

python benchmarks/opening.py
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from strathack.dataset import Dataset

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from made_up_games import write_tables_alone


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_tables_alone(Path(folder), shards=400, games=250)
        started = time.perf_counter()
        size = sum(len(path.read_bytes()) for path in Path(folder).glob("*.h5"))
        plain = time.perf_counter() - started
        started = time.perf_counter()
        dataset = Dataset(folder)
        opened = time.perf_counter() - started
        started = time.perf_counter()
        rows = len(dataset.games)
        table = time.perf_counter() - started
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"{rows:,} games in 400 shards, {size / 1e6:.0f} MB: read as plain bytes in {plain:.2f} s")
        print(f"opened in {opened:.2f} s (the aim is 5), as a DataFrame in {table:.2f} s more, {memory:.0f} MB (500)")


if __name__ == "__main__":
    main()
