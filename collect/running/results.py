"""The results of jobs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GameShard:
    """A game that was played, replayed or imported, and is to be kept.

    Attributes:
        name: Its name in the dataset.
        steps: Its number of steps.
        shard: The bytes of a one-game shard.
        note: What a user has to know about the game, which its attributes tell, too; empty if there is nothing.
    """

    name: str
    steps: int
    shard: bytes
    note: str = ""


@dataclass(frozen=True)
class Verified:
    """A game that was replayed only to check its digest, and equals the recorded one.

    Attributes:
        steps: Its number of steps.
    """

    steps: int


@dataclass(frozen=True)
class GameText:
    """A game that was put into words.

    Attributes:
        name: Its name in the dataset.
        steps: Its number of steps.
        rows: The bytes of a Parquet file, a row for each of its chunks.
    """

    name: str
    steps: int
    rows: bytes


@dataclass(frozen=True)
class SkippedSeed:
    """A seed that draws a role other than those requested.

    Attributes:
        seed: The seed.
        role: The role.
    """

    seed: int
    role: str


@dataclass(frozen=True)
class Refused:
    """A job that can make no game, however often it is tried; it is listed with its reason.

    Attributes:
        reason: One line.
    """

    reason: str


JobResult = GameShard | GameText | Verified | SkippedSeed | Refused
"""What a worker returns. A job that raises has no result; it may be tried again."""
