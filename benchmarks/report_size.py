"""Size of a report of 1,000 games, four of them playable, relative to the limit of 15 MB.

The games of a dataset are repeated under other names and seeds until there are 1,000.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from strathack.analysis.opening import games_at
from strathack.analysis.report.page import ReportData, page_of
from strathack.analysis.report.reading import card_of, pack_films, read_games, spread_by_score
from strathack.dataset.frames import StoredFrames

GAMES = 1000
PLAYABLE = 4
LIMIT = 15_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a dataset with screens")
    data = parser.parse_args().data
    dataset = games_at(data)
    games, _ = read_games(dataset, None, lambda steps: None)
    names = spread_by_score(games, PLAYABLE)
    films, _ = pack_films(dataset, names, StoredFrames(), lambda steps: None)
    many = [
        replace(game, info={**game.info, "game": f"game_{number}", "core": number})
        for number, game in ((number, games[number % len(games)]) for number in range(GAMES))
    ]
    report = ReportData("report", f"{GAMES:,} games", card_of(data, dataset, games), many, films)
    size = len(page_of(report).encode())
    packed = sum(len(film.packed) for film in films)
    steps = sum(len(dataset[name]) for name in names)
    print(f"{GAMES:,} games, {len(films)} playable of {steps:,} steps ({packed:,} bytes): {size:,} bytes")
    print(f"size over limit: {size / LIMIT:.2f}")


if __name__ == "__main__":
    main()
