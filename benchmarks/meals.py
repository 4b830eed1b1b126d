"""What players eat from the ground, by what a policy's memory tells of it.

Fresh, of another name than what fell there, old, destroyed, or unknown.

    python benchmarks/meals.py bot=data/autoascend-1k clone=evaluation/games … --games 128

Counts the corpses that a player said yes to, and of the games that ended by bad food, the last of them: what
``encoder.corpses`` could have told. Games are replayed if only their keys are stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import torch
from ends import kind_of as kind_of_end
from runs import tabulate

from strathack.dataset import Dataset
from strathack.dataset.actions import ACTION_INDEX, ACTION_NAMES
from strathack.dataset.streams import unrolls
from strathack.models.corpses import AGES, FALLS, OTHER, SIDE, CorpseMemory

KINDS = ("fresh", "another", "old", "destroyed", "unknown")
YES = ACTION_NAMES[ACTION_INDEX[ord("y")]]
SEEN = ("tty_chars", "tty_cursor", "blstats")
TOO_OLD = 50
"""Turns from which AutoAscend eats no corpse."""


def main() -> None:
    torch.set_num_threads(1)
    tabulate(__doc__, ["games", "corpses eaten", *KINDS, f"ended by bad food: last {', '.join(KINDS)}"], eaten_in)


def eaten_in(games: Dataset) -> list[str]:
    """Returns a player's row of the table: games, corpses eaten, shares of each kind, last meals of each kind."""
    eaten: Counter[str] = Counter()
    last: Counter[str] = Counter()
    for place, (end, cause) in enumerate(games.games[["end", "cause"]].itertuples(index=False)):
        meals = list(meals_of(games.take([place])))
        eaten.update(meals)
        if kind_of_end(str(end), str(cause)) == "bad food":
            last.update(meals[-1:] or ["unknown"])
    shares = [f"{eaten[kind] / max(eaten.total(), 1):.1%}" for kind in KINDS]
    return [str(len(games)), f"{eaten.total():,}", *shares, ", ".join(str(last[kind]) for kind in KINDS)]


def meals_of(game: Dataset) -> Iterator[str]:
    """Yields what is told of each corpse that the player of a game agreed to eat from the ground."""
    memory = CorpseMemory()
    state = memory.initial_state(1)
    with closing(unrolls(game, lanes=1, steps=256, observations=SEEN, epochs=1)) as stream:
        for batch in stream:
            codes, state = memory({name: torch.from_numpy(batch[name]) for name in (*SEEN, "first")}, state)
            for step in (batch["actions"][:, 0] == ACTION_NAMES.index(YES)).nonzero()[0]:
                if b"corpse here; eat it?" in batch["tty_chars"][step, 0, 0].tobytes():
                    yield kind_of(int(codes[step, 0, SIDE**2 // 2]), int(codes[step, 0, SIDE**2]))


def kind_of(code: int, compared: int) -> str:
    """Returns what the code of the hero's cell and that of the corpse's name tell."""
    if not code:
        return "unknown"
    older, kind = divmod(code - 1, FALLS)
    if kind % 2:
        return "destroyed"
    if older > AGES.index(TOO_OLD):
        return "old"
    return "another" if compared == OTHER else "fresh"


if __name__ == "__main__":
    main()
