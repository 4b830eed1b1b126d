"""Makes the small data that the notebooks are run on, from datasets, runs and evaluations made with this package.

The notebooks only read what this writes, so that anybody can run them at once. benchmarks/RESULTS.md says with which
commands the runs and evaluations were made; ``python notebooks/prepare.py --help`` what is wanted of them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from strathack.dataset import Dataset
from strathack.models.predicting import predictions
from strathack.models.saving import load_policy

HERE = Path(__file__).parent
BELIEVED = 1500
"""Steps of a game whose beliefs are kept."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("notebooks/data"))
    parser.add_argument("--games", type=Path, required=True, help="a dataset with screens; a few short games are kept")
    parser.add_argument("--select", default="steps < 11000 and core != 7")
    parser.add_argument("--keys", type=Path, required=True, help="a dataset of more games; their bottom lines are kept")
    parser.add_argument("--select-keys", default="core < 16")
    parser.add_argument(
        "--held-out", type=Path, required=True, help="a dataset on whose validation games runs are held"
    )
    parser.add_argument("--clone", action="append", default=[], metavar="NAME=RUN")
    parser.add_argument("--finetuned", action="append", default=[], metavar="NAME=RUN")
    parser.add_argument("--evaluation", action="append", default=[], metavar="NAME=FOLDER")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    strathack("dataset", "expand", options.games, options.out / "games", "--select", options.select)
    strathack(
        "dataset",
        "expand",
        options.keys,
        options.out / "many",
        "--select",
        options.select_keys,
        "--observations",
        "blstats",
    )
    runs = {**named(options.clone), **named(options.finetuned)}
    for name, run in runs.items():
        copy(run, options.out / "runs" / name, ("metrics.csv", "validation.json"))
    for name, folder in named(options.evaluation).items():
        copy(folder, options.out / "evaluations" / name, ("scores.parquet",))
    held_out = Dataset(options.held_out).select(split="validation")
    accuracy = []
    for name, run in named(options.clone).items():
        steps = predictions(load_policy(run), held_out)
        steps["right"] = steps["action"] == steps["likely"]
        by_strategy = steps.groupby("strategy").agg(
            steps=("step", "size"), accuracy=("right", "mean"), nll=("nll", "mean")
        )
        accuracy.append(by_strategy.assign(run=name).reset_index())
        if any(column.startswith("belief_") for column in steps):
            game = min(held_out, key=lambda game: abs(len(game) - 8000)).name
            shown = steps[steps["game"] == game].iloc[:BELIEVED]
            shown.astype({column: "float32" for column in shown if column.startswith("belief_")}).round(4).to_parquet(
                options.out / "beliefs.parquet", compression="zstd", index=False
            )
    pd.concat(accuracy).to_csv(options.out / "accuracy.csv", index=False, float_format="%.5f")


def named(pairs: list[str]) -> dict[str, Path]:
    return {name: Path(path) for name, _, path in (pair.partition("=") for pair in pairs)}


def copy(source: Path, target: Path, names: tuple[str, ...]) -> None:
    target.mkdir(parents=True)
    for name in names:
        if (source / name).exists():
            shutil.copy(source / name, target / name)


def strathack(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "strathack", *map(str, words), "--quiet"], check=True)


if __name__ == "__main__":
    main()
