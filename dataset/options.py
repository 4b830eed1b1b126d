"""Options of the dataset commands that need no simulator. Each class checks its own options."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from strathack.dataset.codec import Options
from strathack.dataset.errors import InputError
from strathack.dataset.files import absolute
from strathack.dataset.schema import GAMES_PER_SHARD
from strathack.dataset.splits import Fractions


def check_at_least(least: float, owner: object, *names: str) -> None:
    """Checks that fields are not below a bound; fields that are None are skipped.

    Args:
        least: The bound.
        owner: The object that has the fields.
        names: Names of the fields, whose values are numbers, tuples of numbers, or None.

    Raises:
        InputError: If a value is out of bounds; the message names the field.
    """
    for name in names:
        value = getattr(owner, name)
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None and not one >= least:  # NaN is not, either
                raise InputError(f"{name}: {one} is below {least}")


def check_above_zero(owner: object, *names: str, finite: bool = False) -> None:
    """Checks that fields are above 0 and, if asked for, finite; fields that are None are skipped.

    Raises:
        InputError: If a value is out of bounds; the message names the field.
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None and not (value > 0 and (not finite or value < math.inf)):
            raise InputError(f"{name}: {value} is not above 0{' and finite' if finite else ''}")


def given(options: Options, *names: str) -> list[str]:
    """Returns which of some options do not have their defaults, which are values of the class."""
    return [name for name in names if getattr(options, name) != getattr(type(options), name)]


@dataclass(frozen=True, kw_only=True)
class WriterOptions(Options):
    """How a dataset is written.

    Attributes:
        games_per_shard: Games in a shard after the final merge.
        quiet: Print plain lines instead of a live display.
    """

    games_per_shard: int = GAMES_PER_SHARD
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(1, self, "games_per_shard")


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(Options):
    """How many workers do the jobs, and where.

    Attributes:
        workers: Number of Ray worker processes; by default one per core. 0 does the jobs in this process.
        address: Address of a running Ray cluster (auto, or host:port); by default one is started for this run.
    """

    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        """Checks that the two options go together.

        Raises:
            InputError: If they do not, or the number of workers is negative.
        """
        super().__post_init__()
        check_at_least(0, self, "workers")
        if self.workers == 0 and self.address is not None:
            raise InputError("workers: 0 plays in this process, without Ray; it does not go with --address")


@dataclass(frozen=True)
class InfoConfig(Options):
    """Prints what a dataset holds.

    Attributes:
        data: A dataset folder or a shard.
        select: A condition on the games, such as "role == 'Val' and score > 5000".
        json: Print JSON instead of tables.
    """

    data: Path
    select: str | None = None
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class RepairConfig(WriterOptions):
    """Copies the games that pass verification into a new dataset.

    Attributes:
        data: A dataset folder or a shard.
        out: The new dataset's folder.
    """

    data: Path
    out: Path


@dataclass(frozen=True, kw_only=True)
class MergeConfig(WriterOptions):
    """Copies the games of several datasets into one.

    Attributes:
        out: The new dataset's folder.
        sources: Dataset folders or shards.
        keep_first: If different games have the same name, keep the first one instead of ending with an error.
    """

    out: Path
    sources: list[Path]
    keep_first: bool = False


@dataclass(frozen=True)
class SplitConfig(Options):
    """Splits a dataset into train, validation and test by a hash of the seed.

    Attributes:
        data: The dataset folder.
        train: Share of the seeds that go into the train split.
        validation: Share of the seeds that go into the validation split.
        test: Share of the seeds that go into the test split.
        quiet: Show no progress line.
    """

    data: Path
    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1
    fractions: Fractions = field(init=False, repr=False)
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks that the shares are between 0 and 1 and sum to 1."""
        super().__post_init__()
        object.__setattr__(self, "fractions", Fractions(self.train, self.validation, self.test))


@dataclass(frozen=True)
class ExportConfig(Options):
    """Exports games in a format of another tool.

    Attributes:
        data: A dataset folder or a shard.
        out: The new folder; for minari it must be named <name>-v<number>.
        to: The format, minari or parquet.
        select: A condition on the games.
        namespace: For minari, the first part of the dataset's id, namespace/name-v0; the new folder is in a folder of
            this name.
        author: For minari, who made the dataset.
        author_email: For minari, where that person is reached.
        code_permalink: For minari, the address of the code that made it.
        quiet: Show no progress line.
    """

    data: Path
    out: Path
    to: str = "parquet"
    select: str | None = None
    namespace: str = ""
    author: str = ""
    author_email: str = ""
    code_permalink: str = ""
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        if self.to not in ("minari", "parquet"):
            raise InputError(f"to: {self.to!r} is unknown; expected minari or parquet")
        if self.out.exists():
            raise InputError(f"{self.out}: is there already; an export goes into a new folder")
        if self.to == "minari" and not re.fullmatch(r"\w[\w-]*-v\d+", absolute(self.out).name, flags=re.ASCII):
            raise InputError(
                f"{self.out}: for minari the folder is named <name>-v<number>, of letters, digits, - and _"
            )
        for option in ("namespace", "author", "author_email", "code_permalink"):
            if getattr(self, option) and self.to != "minari":
                raise InputError(f"{option}: is for minari, and the format is {self.to}")
        if self.namespace and absolute(self.out).parent.name != self.namespace:
            raise InputError(f"namespace: {self.out} is in no folder {self.namespace}, where minari would look for it")


@dataclass(frozen=True, kw_only=True)
class CompactConfig(WriterOptions):
    """Copies only seeds, clocks, options, keys, labels and digests, from which the games can be replayed.

    Attributes:
        data: A dataset folder or a shard.
        out: The new dataset's folder.
        select: A condition on the games.
    """

    data: Path
    out: Path
    select: str | None = None


@dataclass(frozen=True, kw_only=True)
class PublishDataConfig(WriterOptions):
    """Makes a folder that can be uploaded as it is: shards, Parquet tables, a card, Croissant, checksums.

    Attributes:
        data: A dataset folder or a shard.
        out: The new folder; the same command goes on with one that was begun.
        select: A condition on the games.
        observations: Publish the stored observations, too, instead of keys and labels alone.
        screens: Give the table of steps the screen as 24 lines; games of which only keys are stored are replayed.
        name: The dataset's name; by default the folder's.
        license: An identifier of the Hugging Face hub's list of licences.
        author: Who publishes it.
        notes: A Markdown file whose text the card ends with.
        push: The repository of the Hugging Face hub to upload the folder to, user/name.
        private: Make the repository a private one, if it is new.
    """

    data: Path
    out: Path
    select: str | None = None
    observations: bool = False
    screens: bool = False
    name: str = ""
    license: str = "mit"
    author: str = "The strathack authors"
    notes: Path | None = None
    push: str | None = None
    private: bool = False

    def __post_init__(self) -> None:
        """Checks every option.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_push(self.push, private=self.private)


def check_push(push: str | None, *, private: bool) -> None:
    """Checks where a folder is to be uploaded, if it is.

    Raises:
        InputError: If that is no repository, or a private one is asked for and nothing is uploaded.
    """
    if push is not None:
        check_repository("push", push)
    elif private:
        raise InputError("private: nothing is uploaded; push names a repository")


def check_repository(option: str, name: str) -> None:
    """Checks that a name is that of a repository of the Hugging Face hub.

    Raises:
        InputError: If it is not; the message names the option.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, flags=re.ASCII):
        raise InputError(f"{option}: {name!r}; expected user/name, of letters, digits, -, _ and .")


@dataclass(frozen=True)
class PullConfig(Options):
    """Fetches a published dataset, file by file, and checks it; the same command goes on with what is there.

    Attributes:
        source: Where the dataset is: hf://datasets/user/name@revision, https://…, s3://… or a folder.
        out: The new folder.
        parallel: Files that are fetched at the same time.
        quiet: Show no progress line.
    """

    source: Path
    out: Path
    parallel: int = 4
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(1, self, "parallel")
