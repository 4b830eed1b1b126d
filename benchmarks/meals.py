"""What players eat from the ground, by what a policy's memory tells of it: fresh, old, destroyed, or unknown.

    python benchmarks/meals.py bot=data/autoascend-1k clone=evaluation/games … --games 128

Counts the corpses that a player said yes to, and of the games that ended by bad food, the last of them: what
``encoder.corpses`` could have told. Games are replayed if only their keys are stored.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import torch
from ends import KINDS

from strathack.dataset import Dataset
from strathack.dataset.actions import ACTION_INDEX, ACTION_NAMES
from strathack.dataset.streams import unrolls
from strathack.models.corpses import AGES, SIDE, CorpseMemory

YES = ACTION_NAMES[ACTION_INDEX[ord("y")]]
SEEN = ("tty_chars", "tty_cursor", "blstats")
TOO_OLD = 50
"""Turns from which AutoAscend eats no corpse."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("players", nargs="+", help="name=dataset")
    parser.add_argument("--games", type=int, default=128, help="first games of each")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kinds = ["fresh", "old", "destroyed", "unknown"]
    print(
        "| player | games | corpses eaten | "
        + " | ".join(kinds)
        + " | ended by bad food: last "
        + ", ".join(kinds)
        + " |"
    )
    print("|" + "---|" * (len(kinds) + 4))
    for player in arguments.players:
        name, data = player.split("=", 1)
        games = Dataset(Path(data))
        games = games.take(range(min(len(games), arguments.games)))
        bad = games.games["cause"].str.contains(KINDS["bad food"][1]).to_numpy()
        eaten: Counter[str] = Counter()
        last: Counter[str] = Counter()
        for place in range(len(games)):
            meals = list(meals_of(games.take([place])))
            eaten.update(meals)
            if bad[place]:
                last.update(meals[-1:] or ["unknown"])
        shares = " | ".join(f"{eaten[kind] / max(eaten.total(), 1):.1%}" for kind in kinds)
        print(
            f"| {name} | {len(games)} | {eaten.total():,} | {shares} | "
            + ", ".join(f"{last[kind]}" for kind in kinds)
            + " |"
        )


def meals_of(game: Dataset) -> Iterator[str]:
    """Yields what is told of each corpse that the player of a game agreed to eat from the ground."""
    memory = CorpseMemory()
    state = memory.initial_state(1)
    with closing(unrolls(game, lanes=1, steps=256, observations=SEEN, epochs=1)) as stream:
        for batch in stream:
            codes, state = memory({name: torch.from_numpy(batch[name]) for name in (*SEEN, "first")}, state)
            for step in (batch["actions"][:, 0] == ACTION_NAMES.index(YES)).nonzero()[0]:
                if b"corpse here; eat it?" in batch["tty_chars"][step, 0, 0].tobytes():
                    yield kind_of(int(codes[step, 0, SIDE**2 // 2]))


def kind_of(code: int) -> str:
    """Returns what a code tells."""
    if not code:
        return "unknown"
    older, destroyed = divmod(code - 1, 2)
    if destroyed:
        return "destroyed"
    return "old" if older > AGES.index(TOO_OLD) else "fresh"


if __name__ == "__main__":
    main()
