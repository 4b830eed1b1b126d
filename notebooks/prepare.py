"""Makes the small data that the notebooks are run on, from datasets, runs and evaluations made with this package.

    python notebooks/prepare.py --games GAMES --keys KEYS
    python notebooks/prepare.py --study STUDY --clone flat=flat-0 --clone "published labels=published-labels-0"
    python notebooks/prepare.py --beliefs STUDY/mixture-1/run --held-out data/full
    python notebooks/prepare.py --recipes RECIPES --finetuned nothing=RUN --evaluation autoascend=FOLDER

The notebooks only read what this writes, so that anybody can run them at once. What is named is made anew, the rest of
the data stays as it is. benchmarks/RESULTS.md says with which commands the runs and evaluations were made.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from strathack.dataset import Dataset
from strathack.models.predicting import predictions
from strathack.models.saving import load_policy

CURVES = ("frames", "return/mean", "loss/entropy")
"""What is kept of how a recipe's run went."""

BELIEVED = 1500
"""Steps of a game whose beliefs are kept."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data")
    parser.add_argument("--games", type=Path, help="a dataset with screens; a few short games are kept")
    parser.add_argument("--select", default="steps < 11000 and core != 7")
    parser.add_argument("--keys", type=Path, help="a dataset of more games; their bottom lines are kept")
    parser.add_argument("--select-keys", default="core < 16")
    parser.add_argument("--study", type=Path, help="a folder of benchmarks/study.py; its tables are kept")
    parser.add_argument("--clone", action="append", default=[], metavar="NAME=VARIANT-SEED", help="a run of the study")
    parser.add_argument("--beliefs", type=Path, metavar="RUN", help="a hierarchical run whose beliefs are kept")
    parser.add_argument("--held-out", type=Path, help="a dataset, one of whose validation games it is held against")
    parser.add_argument("--recipes", type=Path, help="a folder of benchmarks/recipes.py; its tables are kept")
    parser.add_argument("--finetuned", action="append", default=[], metavar="NAME=RUN")
    parser.add_argument("--evaluation", action="append", default=[], metavar="NAME=FOLDER")
    options = parser.parse_args()
    if bool(options.beliefs) != bool(options.held_out):
        parser.error("--beliefs and --held-out go together")
    if options.clone and not options.study:
        parser.error("--clone names a run of --study, which is missing")
    if options.games:
        expand(options.games, options.out / "games", options.select)
    if options.keys:
        expand(options.keys, options.out / "many", options.select_keys, "--observations", "blstats")
    if options.study:
        keep(options.study, options.out / "study", ("variants.csv", "by_strategy.csv"))
    for name, clone in named(options.clone).items():
        keep(options.study / clone / "run", options.out / "runs" / name, ("metrics.csv", "validation.json"))
    if options.beliefs:
        believe(options.beliefs, options.held_out, options.out / "beliefs.parquet")
    if options.recipes:
        keep_recipes(options.recipes, options.out / "recipes")
    for name, run in named(options.finetuned).items():
        keep(Path(run), options.out / "runs" / name, ("metrics.csv",))
    for name, folder in named(options.evaluation).items():
        keep(Path(folder), options.out / "evaluations" / name, ("scores.parquet",))


def expand(source: Path, target: Path, select: str, *more: str) -> None:
    with replaced(target) as new:
        words = ("dataset", "expand", source, new, "--select", select, *more, "--quiet")
        subprocess.run([sys.executable, "-m", "strathack", *map(str, words)], check=True)


def keep(source: Path, target: Path, names: tuple[str, ...]) -> None:
    with replaced(target) as new:
        new.mkdir()
        for name in names:
            shutil.copy(source / name, new / name)


def keep_recipes(source: Path, target: Path) -> None:
    """Keeps the table of all recipes, and of each the games' scores and the run's curves, if it is no clone."""
    with replaced(target) as new:
        new.mkdir()
        shutil.copy(source / "recipes.csv", new)
        for scores in source.glob("*/games/scores.parquet"):
            name = scores.parent.parent.name
            (new / name).mkdir()
            shutil.copy(scores, new / name)
            if (metrics := source / name / "run" / "metrics.csv").exists():
                pd.read_csv(metrics)[list(CURVES)].to_csv(new / name / "metrics.csv", index=False)


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Gives a place for a new folder, which takes the old one's place once it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as there:
        new = Path(there) / folder.name
        yield new
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)


def believe(run: Path, held_out: Path, out: Path) -> None:
    """Writes what a policy expects in the first steps of that validation game whose length is nearest to 8,000."""
    games = Dataset(held_out).select(split="validation")
    middling = min(range(len(games)), key=lambda place: abs(len(games[place]) - 8000))
    shown = predictions(load_policy(run), games.take([middling]), steps=BELIEVED)
    beliefs = {column: "float32" for column in shown if column.startswith("belief_")}
    shown.astype(beliefs).round(4).to_parquet(out, compression="zstd", index=False)


def named(pairs: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


if __name__ == "__main__":
    main()
