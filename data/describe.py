"""Makes what describes a dataset in its folder: ``games.parquet``, and the tables of its card.

    python data/describe.py data/autoascend-1k

Writes the table of games, and prints the card's tables as Markdown. A test checks that the card has them as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from strathack.dataset import Dataset
from strathack.dataset.exporting import export_games
from strathack.dataset.publishing.statistics import Statistics


def main() -> None:
    """Writes the table and prints the card's tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    dataset = Dataset(data)
    export_games(dataset, data)
    print("\n\n".join(Statistics(dataset).tables()))


if __name__ == "__main__":
    main()
