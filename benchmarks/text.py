"""Observations in words over those of the compiled wrapper, and what a step costs in bytes.

    python benchmarks/text.py DATA --oracle oracle/bin/python [--games 8] [--steps 1000] [--rounds 3]

The oracle is the Python of an environment with balrog-nle, whose compiled nle-language-wrapper is the peer:

    python -m venv oracle && oracle/bin/pip install balrog-nle==0.9.0

Both describe the same consecutive steps of real games, in processes of one thread that take turns; every text of the
dialect ``wrapper`` is compared with the peer's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from strathack.dataset import Dataset
from strathack.dataset.streams import unrolls
from strathack.text import describe
from strathack.text.history import difference

KEYS = ["glyphs", "blstats", "tty_chars", "tty_colors", "tty_cursor", "inv_strs", "inv_letters"]
ORACLE = Path(__file__).parents[1] / "tests" / "helpers" / "language_oracle.py"


def observed(dataset: Dataset, steps: int) -> dict[str, np.ndarray]:
    """Returns the first steps of each game, game after game: key → [games · steps, …]."""
    stream = unrolls(dataset, lanes=len(dataset), steps=steps, observations=KEYS, epochs=1)
    batch = next(iter(stream))
    arrays = {key: np.ascontiguousarray(batch[key].swapaxes(0, 1)) for key in KEYS}
    stream.close()
    return {key: array.reshape(-1, *array.shape[2:]) for key, array in arrays.items()}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--oracle", type=Path, required=True, help="Python of an environment with balrog-nle")
    parser.add_argument("--games", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    long = Dataset(arguments.data).select(f"steps > {arguments.steps}").take(range(arguments.games))
    arrays = observed(long, arguments.steps)
    steps = [{key: array[step] for key, array in arrays.items()} for step in range(len(arrays["glyphs"]))]
    ratios: dict[str, list[float]] = {"wrapper": [], "fair": []}
    with tempfile.TemporaryDirectory() as folder:
        observations, texts = Path(folder) / "observations.npz", Path(folder) / "texts.json"
        np.savez(observations, **{key: arrays[key] for key in KEYS if key != "tty_colors"})
        for number in range(arguments.rounds):
            command = [arguments.oracle, ORACLE, observations, texts]
            peer = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            told = f"round {number}: compiled wrapper {peer:7,.0f} observations/s"
            for dialect, found in ratios.items():
                describe(steps[0], dialect)
                begin = time.perf_counter()
                described = [describe(step, dialect) for step in steps]
                speed = len(steps) / (time.perf_counter() - begin)
                found.append(speed / peer)
                told += f"   {dialect} {speed:7,.0f}, ratio {found[-1]:.2f}"
                if dialect == "wrapper":
                    expected = json.loads(texts.read_text())
                    assert [list(text) for text in described] == expected, "not the wrapper's texts"
            print(told)
    whole = [text.text for text in described]
    pairs = [pair for at, pair in enumerate(pairwise(whole), 1) if at % arguments.steps]
    begin = time.perf_counter()
    diffs = [difference(one, other) for one, other in pairs]
    print(f"diffs: {len(pairs) / (time.perf_counter() - begin):,.0f} a second")
    full, changed = (statistics.mean(len(text.encode()) for text in texts) for texts in (whole, diffs))
    print(f"bytes a step: {full:,.0f} whole, {changed:,.0f} as diffs, {full / changed:.1f} times fewer")
    print(json.dumps({dialect: round(statistics.median(found), 2) for dialect, found in ratios.items()}))


if __name__ == "__main__":
    main()
