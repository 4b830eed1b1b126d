"""Runs of this package's commands, and tables of players' games, for benchmarks that need them."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from strathack.analysis.scores import SCORES, summary_of
from strathack.dataset import Dataset


def strathack(*words: object) -> None:
    """Runs a command to its end."""
    subprocess.run([sys.executable, "-m", "strathack", *map(str, words), "--quiet"], check=True)


def trained(command: str, run: Path, words: Sequence[object], end: Sequence[object]) -> None:
    """Trains by a command, or goes on with a run that was cut; one that has ended is left as it is.

    Files beside the run tell what was asked for, so that a run of other options is not taken for this one.

    Args:
        command: The command.
        run: The run's folder.
        words: What a new run is given.
        end: The options that say when it ends.
    """
    asked, done = (run.with_name(f"{run.name}.{what}") for what in ("asked", "done"))
    wanted = " ".join(map(str, [command, *words, *end]))
    if asked.exists() and asked.read_text() != wanted:
        sys.exit(f"{run}: made by {asked.read_text()!r}, not by {wanted!r}; take another folder")
    if done.exists():
        return
    run.parent.mkdir(parents=True, exist_ok=True)
    asked.write_text(wanted)
    if (run / "options.json").exists():
        strathack(command, "--resume", run, *end)
    else:
        strathack(command, *words, "--out", run, *end)
    done.touch()


def score(evaluation: Path) -> dict[str, float]:
    """Returns what the games of an evaluation came to."""
    summary = summary_of(pd.read_parquet(evaluation / SCORES))
    figure = summary.figures["score"]
    middle = figure.interquartile_mean
    return {
        "score": figure.mean.value, "error": figure.standard_error, "median": figure.median.value,
        "iqm": middle.value, "iqm_low": middle.low, "iqm_high": middle.high,
        "depth": summary.figures["max_depth"].mean.value, "turns": summary.figures["turns"].mean.value,
        "limited": summary.limited,
    }  # fmt: skip


def tabulate(description: str, columns: Sequence[str], row_of: Callable[[Dataset], list[str]]) -> None:
    """Prints a table with a row a player, by the command line: name=dataset …, and how many games of each.

    Args:
        description: What the command does.
        columns: Titles of the columns after the players' names.
        row_of: Makes a player's row of its games.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("players", nargs="+", help="name=dataset")
    parser.add_argument("--games", type=int, default=128, help="first games of each")
    arguments = parser.parse_args()
    print(f"| {' | '.join(['player', *columns])} |\n{'|---' * (1 + len(columns))}|")
    for player in arguments.players:
        name, data = player.split("=", 1)
        games = Dataset(Path(data))
        games = games.take(range(min(len(games), arguments.games)))
        print(f"| {' | '.join([name, *row_of(games)])} |", flush=True)
