"""Makes what describes a dataset in its folder: ``games.parquet``, and the tables of its card.

    python data/describe.py data/autoascend-1k

Writes the table of games, and prints the card's tables as Markdown. A test checks that the card has them as they are.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from strathack.dataset import Dataset
from strathack.dataset.exporting import export_games
from strathack.dataset.labels import count_by_name

FREQUENT = 6
"""Strategies that have a column of their own in the table of roles."""


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table, its first column aligned to the left and the others to the right."""
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def strategy_steps(dataset: Dataset) -> np.ndarray:
    """Returns the steps of each strategy in each game, i64 [games, strategies]."""
    names = dataset.vocabularies["strategy"]
    steps = np.zeros((len(dataset), len(names)), dtype=np.int64)
    for place, game in enumerate(dataset):
        counts = count_by_name(game.strategy[:], game.strategy.codes)
        steps[place] = [counts.get(name, 0) for name in names]
    return steps


def tables(dataset: Dataset) -> Iterator[str]:
    """Yields the card's tables: games and scores by role, strategies by role, strategies, ends."""
    games, steps = dataset.games, strategy_steps(dataset)
    names = dataset.vocabularies["strategy"]
    groups = {role: (games["role"] == role).to_numpy() for role in sorted(games["role"].unique())}
    groups["all"] = np.ones(len(games), dtype=bool)
    died_at_once = (games["end"] == "death") & (games["max_depth"] == 1)
    failed = games["end"] == "demonstrator_error"
    yield markdown(
        ("role", "games", "steps", "mean score", "median score", "mean depth", "died on the first level", "bot failed"),
        [
            (
                role, f"{own.sum():,}", f"{games['steps'][own].sum():,}", f"{games['score'][own].mean():,.0f}",
                f"{games['score'][own].median():,.0f}", f"{games['max_depth'][own].mean():.1f}",
                str(died_at_once[own].sum()), str(failed[own].sum()),
            )
            for role, own in groups.items()
        ],
    )  # fmt: skip
    total = steps.sum(0)
    frequent = np.argsort(-total, kind="stable")[:FREQUENT]
    yield markdown(
        ("role", *(names[code] for code in frequent)),
        [
            (role, *(f"{steps[own][:, code].sum() / steps[own].sum():.1%}" for code in frequent))
            for role, own in groups.items()
        ],
    )
    yield markdown(
        ("strategy", "steps", "share", "games"),
        [
            (names[code], f"{total[code]:,}", f"{total[code] / total.sum():.2%}", f"{(steps[:, code] > 0).sum():,}")
            for code in np.argsort(-total, kind="stable")
        ],
    )
    ends = Counter(zip(games["end"], games["cause"].map(_kind), strict=True))
    yield markdown(
        ("end", "cause", "games"), [(end, cause, str(count)) for (end, cause), count in ends.most_common(12)]
    )


def _kind(cause: str) -> str:
    """Returns a cause of an end without the details of an error, which differ from game to game."""
    return ":".join(cause.split(":")[:2]) if cause.startswith("RuntimeError") else cause


def main() -> None:
    """Writes the table and prints the card's tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    dataset = Dataset(data)
    export_games(dataset, data)
    print("\n\n".join(tables(dataset)))


if __name__ == "__main__":
    main()
