"""How others evaluate players of NetHack: their seeds, limits and measures, so that figures can stand beside theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from strathack.collect.playing.limits import NO_PROGRESS_TIMEOUT
from strathack.collect.playing.seeds import Seeds


@dataclass(frozen=True)
class Protocol:
    """What an evaluation has to keep to.

    Attributes:
        name: Its name.
        seeds: The games.
        max_steps: Steps after which a game is cut off; None for no limit.
        no_progress: Steps without a turn after which a game ends.
        greedy: Whether the most likely action is taken.
        one_character: Whether an evaluation is of one character.
        source: Where it is described, and in what ours differs.
    """

    name: str
    seeds: Seeds
    max_steps: int | None
    no_progress: int
    greedy: bool
    one_character: bool
    source: str


PROTOCOLS: Mapping[str, Protocol] = {
    one.name: one
    for one in (
        Protocol(
            "balrog", Seeds(range(100_000, 100_005)), 100_000, 150, False, False,
            "BALROG (Paglieri et al., 2024): 5 games of any character; its seeds are not told, ours are",
        ),
        Protocol(
            "hihack", Seeds(range(100_000, 101_024)), None, NO_PROGRESS_TIMEOUT, False, False,
            "HiHack (Piterbarg et al., 2023): 1,024 games of any character; its seeds are not told, ours are",
        ),
        Protocol(
            "katakomba", Seeds(range(50, 100)), 1_000_000, NO_PROGRESS_TIMEOUT, True, True,
            "Katakomba (Kurenkov et al., 2023): 50 games of one character, the most likely action; it seeds "
            "once by 50, ours are the seeds from 50 on",
        ),
    )
}  # fmt: skip
"""The protocols by name."""
