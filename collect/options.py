"""The options of the dataset commands that need the simulator: they check themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from strathack.collect.config import split_list
from strathack.collect.running.pools import Placement
from strathack.dataset.errors import InputError
from strathack.dataset.options import check_games_per_shard
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, parse_observations

DEFAULTS = ",".join(DEFAULT_OBSERVATIONS)


@dataclass(frozen=True)
class VerifyConfig:
    """Checks that a dataset is as it was written.

    Attributes:
        data: A dataset folder or a shard.
        replay: Replay every game from its keys as well, and check the digest of its frames.
        workers: Processes that replay, by Ray; by default one a core. 0 replays in this process.
        address: Address of a running Ray cluster (auto, or host:port); by default one is started for this run.
        select: A condition on the games to be replayed.
        quiet: Plain lines instead of a live display.
    """

    data: Path
    replay: bool = False
    workers: int | None = None
    address: str | None = None
    select: str | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option."""
        _ = self.placement

    @property
    def placement(self) -> Placement:
        """Where games are replayed."""
        return Placement(self.workers, self.address)


@dataclass(frozen=True)
class AgainConfig:
    """What playing stored games again takes.

    Attributes:
        data: A dataset folder or a shard; its games' observations, if there are any, are not used.
        out: The new dataset's folder.
        observations: Observation keys to keep, or all.
        select: A condition on the games.
        workers: Processes that play, by Ray; by default one a core. 0 plays in this process.
        address: Address of a running Ray cluster (auto, or host:port); by default one is started for this run.
        games_per_shard: Games in a shard after the final merge.
        retries: How often a game is tried again whose worker died.
        quiet: Plain lines instead of a live display.
    """

    data: Path
    out: Path
    observations: str = DEFAULTS
    select: str | None = None
    workers: int | None = None
    address: str | None = None
    games_per_shard: int = 64
    retries: int = 2
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option."""
        check_games_per_shard(self.games_per_shard)
        _ = self.placement, self.keys

    @property
    def placement(self) -> Placement:
        """Where games are played."""
        return Placement(self.workers, self.address)

    @property
    def keys(self) -> tuple[str, ...]:
        """Observation keys to keep."""
        return parse_observations(split_list(self.observations))


@dataclass(frozen=True)
class ExpandConfig(AgainConfig):
    """Replays games from their keys into a full dataset."""


@dataclass(frozen=True)
class RelabelConfig(AgainConfig):
    """Plays imported AutoAscend games again, for their true strategies beside the published labels."""


@dataclass(frozen=True)
class ImportConfig:
    """Imports ttyrecs in NLE's layout: <folder>/<game>/nle.<pid>.<episode>.ttyrec<version>.bz2.

    Attributes:
        data: The folder, or a single ttyrec.
        out: The new dataset's folder.
        replay: Replay each game from its keys at its recorded clock, and keep the observations asked for.
        observations: With --replay, the observation keys to keep, or all.
        seeds: Where seeds come from: folder (a game's folder is named by its seed), none, or auto: folder for
            HiHack's files (ttyrec4), else none.
        strict: Make any file that cannot be imported whole an error.
        workers: Processes that import, by Ray; by default one a core. 0 imports in this process.
        address: Address of a running Ray cluster (auto, or host:port); by default one is started for this run.
        games_per_shard: Games in a shard after the final merge.
        retries: How often a game is tried again whose worker died.
        quiet: Plain lines instead of a live display.
    """

    data: Path
    out: Path
    replay: bool = False
    observations: str = DEFAULTS
    seeds: str = "auto"
    strict: bool = False
    workers: int | None = None
    address: str | None = None
    games_per_shard: int = 64
    retries: int = 2
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option.

        Raises:
            InputError: By name of the option.
        """
        if self.seeds not in ("auto", "folder", "none"):
            raise InputError(f"seeds: {self.seeds!r} is unknown; expected auto, folder or none")
        if self.seeds == "none" and self.replay:
            raise InputError("replay: needs seeds; --seeds none leaves them out")
        check_games_per_shard(self.games_per_shard)
        _ = self.placement, self.keys

    @property
    def placement(self) -> Placement:
        """Where games are imported."""
        return Placement(self.workers, self.address)

    @property
    def keys(self) -> tuple[str, ...]:
        """Observation keys to keep with ``replay``."""
        return parse_observations(split_list(self.observations))
