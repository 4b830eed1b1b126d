"""The options of the dataset commands that need no simulator: they check themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from strathack.dataset.errors import InputError
from strathack.dataset.files import absolute
from strathack.dataset.splits import Fractions


def check_games_per_shard(value: int) -> None:
    """Checks the option.

    Raises:
        InputError: If it is below 1.
    """
    if value < 1:
        raise InputError(f"games_per_shard: {value} is below 1")


@dataclass(frozen=True)
class InfoConfig:
    """Tells what a dataset holds.

    Attributes:
        data: A dataset folder or a shard.
        select: A condition on the games: "role == 'Val' and score > 5000".
        json: Write JSON instead of tables.
    """

    data: Path
    select: str | None = None
    json: bool = False


@dataclass(frozen=True)
class RepairConfig:
    """Copies what verifies into a new dataset.

    Attributes:
        data: A dataset folder or a shard.
        out: The new dataset's folder.
        games_per_shard: Games in a shard.
        quiet: No progress line.
    """

    data: Path
    out: Path
    games_per_shard: int = 64
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option."""
        check_games_per_shard(self.games_per_shard)


@dataclass(frozen=True)
class MergeConfig:
    """Copies the games of several datasets into one.

    Attributes:
        out: The new dataset's folder.
        sources: Dataset folders or shards.
        keep_first: Of different games with the same name keep the one that comes first, instead of refusing.
        games_per_shard: Games in a shard.
        quiet: No progress line.
    """

    out: Path
    sources: list[Path]
    keep_first: bool = False
    games_per_shard: int = 64
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option."""
        check_games_per_shard(self.games_per_shard)


@dataclass(frozen=True)
class SplitConfig:
    """Splits a dataset into train, validation and test by a hash of the seed.

    Attributes:
        data: The dataset folder.
        train: Share of train.
        validation: Share of validation.
        test: Share of test.
        quiet: No progress line.
    """

    data: Path
    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option."""
        _ = self.fractions

    @property
    def fractions(self) -> Fractions:
        """The shares."""
        return Fractions(self.train, self.validation, self.test)


@dataclass(frozen=True)
class ExportConfig:
    """Writes games for other tools.

    Attributes:
        data: A dataset folder or a shard.
        out: Where to: for minari a folder named <name>-v<number>, for parquet a folder.
        to: minari or parquet.
        select: A condition on the games.
        quiet: No progress line.
    """

    data: Path
    out: Path
    to: str = "parquet"
    select: str | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option.

        Raises:
            InputError: By name of the option.
        """
        if self.to not in ("minari", "parquet"):
            raise InputError(f"to: {self.to!r} is unknown; expected minari or parquet")
        if self.out.exists():
            raise InputError(f"{self.out}: is there already; an export goes into a new folder")
        if self.to == "minari" and not re.fullmatch(r"\w[\w-]*-v\d+", absolute(self.out).name, flags=re.ASCII):
            raise InputError(
                f"{self.out}: for minari the folder is named <name>-v<number>, of letters, digits, - and _"
            )


@dataclass(frozen=True)
class CompactConfig:
    """Keeps seeds, clocks, options, keys, labels and digests, from which the games can be replayed.

    Attributes:
        data: A dataset folder or a shard.
        out: The new dataset's folder.
        select: A condition on the games.
        games_per_shard: Games in a shard.
        quiet: No progress line.
    """

    data: Path
    out: Path
    select: str | None = None
    games_per_shard: int = 64
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option."""
        check_games_per_shard(self.games_per_shard)
