"""The options of the commands that need the simulator: they check themselves."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from strathack.collect.playing.characters import ANY_CHARACTER, CharacterWish, Roles
from strathack.collect.playing.clock import DEFAULT_CLOCK, Clock
from strathack.collect.playing.seeds import Seeds
from strathack.collect.running.pools import WorkerOptions
from strathack.dataset.codec import Options
from strathack.dataset.errors import InputError
from strathack.dataset.options import WriterOptions, check_above_zero, check_at_least
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, ObservationKeys


@dataclass(frozen=True, kw_only=True)
class GameOptions(Options):
    """Which game a seed stands for, and when it is cut.

    Attributes:
        clock: The games' wall clock: an instant in UTC, held by libfaketime; seed (moon and night from the
            seed); or system.
        character: Who is played, as NLE writes it: @ (drawn from the seed) or role-race-alignment-gender.
        roles: Roles to play, by three letters: val,sam. Seeds that draw another are skipped.
        max_steps: Steps after which a game is cut; by default none.
    """

    clock: Clock = DEFAULT_CLOCK
    character: CharacterWish = ANY_CHARACTER
    roles: Roles = Roles()
    max_steps: int | None = None

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: By name of the option.
        """
        super().__post_init__()
        check_above_zero(self, "max_steps")


@dataclass(frozen=True, kw_only=True)
class DemonstrationOptions(GameOptions):
    """Who plays the games, and what is kept of them; the same for every game of a dataset.

    Attributes:
        demonstrator: autoascend, the folder of a bot (bot.py with make_agent), or package.module:callable.
        max_seconds: Seconds after which a game is cut, and a hung worker replaced; by default none.
        observations: Observation keys to keep; all; or none, for the keys pressed alone, from which games are replayed.
    """

    demonstrator: str = "autoascend"
    max_seconds: float | None = None
    observations: ObservationKeys = DEFAULT_OBSERVATIONS

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: By name of the option.
        """
        super().__post_init__()
        check_above_zero(self, "max_seconds")

    def settings(self) -> dict[str, Any]:
        """What decides the games, as plain values, as kept with a dataset."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(DemonstrationOptions)},
            "clock": str(self.clock),
            "character": str(self.character),
            "roles": list(self.roles),
            "observations": list(self.observations),
        }


@dataclass(frozen=True, kw_only=True)
class MakingOptions(WorkerOptions, WriterOptions):
    """How games are made, and the dataset that they go into is written.

    Attributes:
        retries: How often a game is tried again whose worker died.
    """

    retries: int = 2

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: By name of the option.
        """
        super().__post_init__()
        check_at_least(0, self, "retries")


@dataclass(frozen=True, kw_only=True)
class CollectConfig(DemonstrationOptions, MakingOptions):
    """Collects games into a dataset folder.

    Attributes:
        out: The dataset folder; it is made where it does not exist.
        seeds: Seeds to play, numbers and half-open ranges: 2,4,10:20.
        extend: Add seeds to a dataset that was collected without them.
    """

    out: Path
    seeds: Seeds = Seeds(range(8))
    extend: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: By name of the option.
        """
        super().__post_init__()
        if not self.seeds:
            raise InputError("seeds: none given")


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(WorkerOptions):
    """Checks that a dataset is as it was written.

    Attributes:
        data: A dataset folder or a shard.
        replay: Replay every game from its keys as well, and check the digest of its frames.
        select: A condition on the games to be replayed.
        quiet: Plain lines instead of a live display.
    """

    data: Path
    replay: bool = False
    select: str | None = None
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class ReplayOptions(MakingOptions):
    """What replaying games into a new dataset takes.

    Attributes:
        observations: Observation keys to keep, or all.
    """

    observations: ObservationKeys = DEFAULT_OBSERVATIONS

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: By name of the option.
        """
        super().__post_init__()
        if not self.observations:
            raise InputError("observations: none given; a replay brings at least one key, or all of them")


@dataclass(frozen=True, kw_only=True)
class ExpandConfig(ReplayOptions):
    """Replays games from their keys into a full dataset.

    Attributes:
        data: A dataset folder or a shard; its games' observations, if there are any, are not used.
        out: The new dataset's folder.
        select: A condition on the games.
    """

    data: Path
    out: Path
    select: str | None = None


@dataclass(frozen=True, kw_only=True)
class RelabelConfig(ReplayOptions):
    """Plays imported AutoAscend games again, for their true strategies beside the published labels.

    Attributes:
        data: A dataset folder or a shard; its games' observations, if there are any, are not used.
        out: The new dataset's folder.
        select: A condition on the games.
    """

    data: Path
    out: Path
    select: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImportConfig(ReplayOptions):
    """Imports ttyrecs in NLE's layout: <folder>/<game>/nle.<pid>.<episode>.ttyrec<version>.bz2.

    Attributes:
        data: The folder, or a single ttyrec.
        out: The new dataset's folder.
        replay: Replay each game from its keys at its recorded clock, and keep the observations asked for.
        observations: With --replay, the observation keys to keep, or all.
        seeds: Where seeds come from: folder (a game's folder is named by its seed), none, or auto: folder for
            HiHack's files (ttyrec4), else none.
        strict: Make any file that cannot be imported whole an error.
    """

    data: Path
    out: Path
    replay: bool = False
    seeds: str = "auto"
    strict: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: By name of the option.
        """
        super().__post_init__()
        if self.seeds not in ("auto", "folder", "none"):
            raise InputError(f"seeds: {self.seeds!r} is unknown; expected auto, folder or none")
        if self.seeds == "none" and self.replay:
            raise InputError("replay: needs seeds; --seeds none leaves them out")
