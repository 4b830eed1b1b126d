"""Where a prayer could save the hero, how often players pray, and how often they are killed where it could have.

    python benchmarks/prayers.py bot=data/autoascend-1k clone=evaluation/games … --games 128

In danger is who has as few hit points as AutoAscend prays at. A prayer is safe after the first 300 turns, and more than
500 turns after another one. Games are replayed if only their keys are stored.
"""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from ends import kind_of as kind_of_end

from strathack.dataset import Dataset
from strathack.dataset.schema import BLStat
from strathack.dataset.streams import unrolls
from strathack.models.events import AGES, FEW, NOTED, PRAYER, EventMemory, is_told

SEEN = ("tty_chars", "blstats")
SAFE = 500
"""Turns after a prayer until which AutoAscend does not pray for hit points."""
SOON = 12
"""Steps within which a prayer counts as an answer to danger, and danger as the cause of a death."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("players", nargs="+", help="name=dataset")
    parser.add_argument("--games", type=int, default=128, help="first games of each")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    columns = ["player", "games", "in danger, prayer safe", "prayed", "in danger, too early", "prayed",
               "killed by monsters, per million turns", "of these, prayer safe"]  # fmt: skip
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for player in arguments.players:
        name, data = player.split("=", 1)
        games = Dataset(Path(data))
        games = games.take(range(min(len(games), arguments.games)))
        print(f"| {' | '.join([name, *prayers_in(games)])} |", flush=True)


def prayers_in(games: Dataset) -> list[str]:
    """Returns a player's row of the table."""
    counts: Counter[str] = Counter()
    for place, (end, cause, turns) in enumerate(games.games[["end", "cause", "turns"]].itertuples(index=False)):
        prays, danger, safe = followed(games.take([place]))
        counts["turns"] += int(turns)
        for step in np.flatnonzero(danger & ~np.append(False, danger[:-1])):
            kind = "safe" if safe[step] else "early"
            counts[kind] += 1
            counts[f"{kind}, prayed"] += bool(prays[step : step + SOON].any())
        if kind_of_end(str(end), str(cause)) == "a monster":
            counts["killed"] += 1
            counts["killed, safe"] += bool(safe[-SOON:].all())
    row = [f"{counts['safe']:,}", _share(counts, "safe, prayed", "safe")]
    row += [f"{counts['early']:,}", _share(counts, "early, prayed", "early")]
    rate = f"{counts['killed'] * 1e6 / counts['turns']:.1f}"
    return [str(len(games)), *row, rate, _share(counts, "killed, safe", "killed")]


def _share(counts: Counter[str], part: str, whole: str) -> str:
    return f"{counts[part] / max(counts[whole], 1):.1%}"


def followed(game: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns whether a prayer begins, the hero is in danger, and a prayer is safe, at each step: bool [T]."""
    memory = EventMemory()
    state = memory.initial_state(1)
    found = []
    with closing(unrolls(game, lanes=1, steps=1024, observations=SEEN, epochs=1)) as stream:
        for batch in stream:
            inputs = {name: torch.from_numpy(batch[name]) for name in (*SEEN, "first")}
            kinds, state = memory(inputs, state)
            prays = is_told(inputs["tty_chars"], NOTED[PRAYER].begins)
            steps = torch.stack([prays, in_danger(inputs["blstats"]), is_safe(kinds[..., PRAYER])])
            found.append(steps[:, batch["mask"][:, 0], 0].numpy())
    prays, danger, safe = np.concatenate(found, 1)
    return prays, danger, safe


def in_danger(blstats: torch.Tensor) -> torch.Tensor:
    """Returns where AutoAscend would pray for hit points: i32 [..., 27] to bool [...]."""
    points, most = blstats[..., BLStat.HP], blstats[..., BLStat.HPMAX]
    share = torch.where(blstats[..., BLStat.XP] < 6, 5, 6)
    return (points * share < most) | (points < FEW)


def is_safe(kinds: torch.Tensor) -> torch.Tensor:
    """Returns where a prayer is safe, by what the memory tells: u8 [...] to bool [...]."""
    return (kinds == 1) | (kinds >= 2 + AGES.index(SAFE) + 1)


if __name__ == "__main__":
    main()
