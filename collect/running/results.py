"""What comes of a job."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GameShard:
    """A game that was played, replayed or imported, and is to be kept.

    Attributes:
        name: Its name in the dataset.
        steps: Its steps.
        shard: A one-game shard's bytes.
        note: What a user has to know about it, empty for nothing.
    """

    name: str
    steps: int
    shard: bytes
    note: str = ""


@dataclass(frozen=True)
class Verified:
    """A game that was replayed for its digest alone, and is the recorded one.

    Attributes:
        steps: Its steps.
    """

    steps: int


@dataclass(frozen=True)
class SkippedSeed:
    """A seed that draws a role which was not asked for.

    Attributes:
        seed: The seed.
        role: The role.
    """

    seed: int
    role: str


@dataclass(frozen=True)
class Refused:
    """There is no game to keep, whoever tries it: it is listed with its reason.

    Attributes:
        reason: One line.
    """

    reason: str


JobResult = GameShard | Verified | SkippedSeed | Refused
"""What a worker returns. A job that raises has no result; it may be tried again."""
