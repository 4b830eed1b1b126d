"""Where a prayer could save the hero, how often players pray, and how often they are killed where it could have.

    python benchmarks/prayers.py bot=data/autoascend-1k clone=evaluation/games … --games 128

In danger is a living hero with as few hit points as AutoAscend prays at. A prayer is safe, as AutoAscend has it, after
the first 300 turns, and more than 500 turns after another one. Guards are counted where one asks for gold to be
dropped. Games are replayed if only their keys are stored.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing

import numpy as np
import torch
from ends import kind_of as kind_of_end
from runs import tabulate

from strathack.dataset import Dataset
from strathack.dataset.schema import BLStat
from strathack.dataset.streams import unrolls
from strathack.models.events import AGES, FEW, GUARD, NOTED, PRAYER, EventMemory
from strathack.models.lines import has_words, windows_of

SEEN = ("tty_chars", "blstats")
SAFE = 500
"""Turns after a prayer until which AutoAscend does not pray for hit points."""
SOON = 12
"""Steps after the beginning of danger within which a prayer answers it, and before a death to which danger belongs."""

COLUMNS = (
    "games", "in danger, prayer safe", "prayed", "in danger, too early", "prayed",
    "killed by monsters, a million turns", "of these, in danger with a safe prayer", "games with guards",
    "killed by guards",
)  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    tabulate(__doc__, COLUMNS, prayers_in)


def prayers_in(games: Dataset) -> list[str]:
    """Returns a player's row of the table."""
    counts: Counter[str] = Counter()
    for place, (end, cause, turns) in enumerate(games.games[["end", "cause", "turns"]].itertuples(index=False)):
        prays, danger, safe, guard = followed(games.take([place]))
        counts["turns"] += int(turns)
        for step in np.flatnonzero(danger & ~np.append(False, danger[:-1])):
            kind = "safe" if safe[step] else "early"
            counts[kind] += 1
            counts[f"{kind}, prayed"] += bool(prays[step : step + SOON].any())
        how = kind_of_end(str(end), str(cause))
        counts[how] += 1
        if how == "a monster":
            counts["killed, safe"] += bool((danger & safe)[-SOON:].any())
        counts["guards"] += bool(guard.any())
    row = [f"{counts['safe']:,}", _share(counts, "safe, prayed", "safe")]
    row += [f"{counts['early']:,}", _share(counts, "early, prayed", "early")]
    row += [f"{counts['a monster'] * 1e6 / counts['turns']:.1f}", _share(counts, "killed, safe", "a monster")]
    return [str(len(games)), *row, str(counts["guards"]), str(counts["vault guard"])]


def _share(counts: Counter[str], part: str, whole: str) -> str:
    return f"{counts[part] / max(counts[whole], 1):.1%}"


def followed(game: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Follows a game.

    Returns:
        Whether a prayer begins, the hero is in danger, a prayer is safe, and a guard asks, at each step: bool [T].
    """
    memory = EventMemory()
    state = memory.initial_state(1)
    found = []
    with closing(unrolls(game, lanes=1, steps=1024, observations=SEEN, epochs=1)) as stream:
        for batch in stream:
            inputs = {name: torch.from_numpy(batch[name]) for name in (*SEEN, "first")}
            kinds, state = memory(inputs, state)
            windows = windows_of(inputs["tty_chars"][:, :, 0])
            prays, asks = (has_words(NOTED[event].begins, windows) for event in (PRAYER, GUARD))
            steps = torch.stack([prays, in_danger(inputs["blstats"]), is_safe(kinds[..., PRAYER]), asks])
            found.append(steps[:, batch["mask"][:, 0], 0].numpy())
    prays, danger, safe, guard = np.concatenate(found, 1)
    return prays, danger, safe, guard


def in_danger(blstats: torch.Tensor) -> torch.Tensor:
    """Returns where AutoAscend would pray for hit points: i32 [..., 27] to bool [...]."""
    points, most = blstats[..., BLStat.HP], blstats[..., BLStat.HPMAX]
    share = torch.where(blstats[..., BLStat.XP] < 6, 5, 6)
    return (points > 0) & ((points * share < most) | (points < FEW))


def is_safe(kinds: torch.Tensor) -> torch.Tensor:
    """Returns where a prayer is safe, by what the memory tells: u8 [...] to bool [...]."""
    return (kinds == 1) | (kinds >= 2 + AGES.index(SAFE) + 1)


if __name__ == "__main__":
    main()
