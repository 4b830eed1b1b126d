"""The options of the commands that need the simulator, as dataclasses that check their own values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from strathack.collect.playing.characters import ANY_CHARACTER, CharacterWish, Roles
from strathack.collect.playing.clock import DEFAULT_CLOCK, Clock
from strathack.collect.playing.seeds import Seeds
from strathack.dataset.codec import Options
from strathack.dataset.errors import InputError
from strathack.dataset.options import WorkerOptions, WriterOptions, check_above_zero, check_at_least, given
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, ObservationKeys

AUTOASCEND = "autoascend"
"""AutoAscend's name as a demonstrator."""

Bot = Literal["fast", "installed", "checked"]
"""How AutoAscend plays: with functions of ours where the package's are slow; as the package has it; or with ours, each
compared with the package's. The games are the same."""


Layout = Literal["auto", "nle", "altorg", "nao_top10"]
"""How a folder of recordings is laid out."""


@dataclass(frozen=True, kw_only=True)
class GameOptions(Options):
    """Which game a seed leads to, and when a game is cut off.

    Attributes:
        clock: The time of day that games see: an instant in UTC (held by libfaketime), seed (moon and night
            derived from the seed), or system (the real clock).
        character: The character to play, in NLE's notation: @ (drawn from the seed) or role-race-alignment-gender.
        roles: Roles to play, by their three-letter codes: val,sam. Seeds that draw another role are skipped.
        max_steps: Number of steps after which a game is cut off; no limit by default.
    """

    clock: Clock = DEFAULT_CLOCK
    character: CharacterWish = ANY_CHARACTER
    roles: Roles = Roles()
    max_steps: int | None = None

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_above_zero(self, "max_steps")


@dataclass(frozen=True, kw_only=True)
class DemonstrationOptions(GameOptions):
    """Which demonstrator plays the games, and what is kept of them; one choice for all games of a dataset.

    Attributes:
        demonstrator: Who plays: autoascend, the folder of a bot (bot.py with make_agent), or package.module:callable.
        max_seconds: Seconds after which a game is cut off, and a hung worker replaced; no limit by default.
        observations: Observation keys to keep; all; or none, to keep only the keys pressed, from which games can be
            replayed.
    """

    demonstrator: str = AUTOASCEND
    max_seconds: float | None = None
    observations: ObservationKeys = DEFAULT_OBSERVATIONS

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_above_zero(self, "max_seconds")

    def settings(self) -> dict[str, Any]:
        """Returns the options that determine the games, as the plain values that are stored with a dataset."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(DemonstrationOptions)},
            "clock": str(self.clock),
            "character": str(self.character),
            "roles": list(self.roles),
            "observations": list(self.observations),
        }


@dataclass(frozen=True, kw_only=True)
class MakingOptions(WorkerOptions, WriterOptions):
    """How games are made, and how their dataset is written.

    Attributes:
        retries: How often a game is tried again after its worker died.
    """

    retries: int = 2

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(0, self, "retries")


@dataclass(frozen=True, kw_only=True)
class CollectConfig(DemonstrationOptions, MakingOptions):
    """Collects games into a dataset folder.

    Attributes:
        out: The dataset folder; it is created if it does not exist.
        seeds: Seeds to play, as numbers and half-open ranges: 2,4,10:20.
        extend: Add seeds to a dataset that was collected without them.
        slow_bot: Let AutoAscend run as its package has it, at a third of the speed; the games are the same.
        check_bot: Compare what strathack runs in place of AutoAscend's own functions with these, at every call; a game
            ends at the first difference.
    """

    out: Path
    seeds: Seeds = Seeds(range(8))
    extend: bool = False
    slow_bot: bool = False
    check_bot: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        if not self.seeds:
            raise InputError("seeds: none given")
        if self.slow_bot and self.check_bot:
            raise InputError("check_bot: compares the fast bot, which --slow-bot does not run")
        for name in ("slow_bot", "check_bot"):
            if getattr(self, name) and self.demonstrator != AUTOASCEND:
                raise InputError(f"{name}: is for autoascend, the demonstrator is {self.demonstrator}")

    @property
    def bot(self) -> Bot:
        """How AutoAscend plays."""
        return "installed" if self.slow_bot else "checked" if self.check_bot else "fast"


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(WorkerOptions):
    """Checks that a dataset is as it was written.

    Attributes:
        data: A dataset folder or a shard.
        replay: Also replay every game from its keys, and check the digest of its frames.
        select: A condition that selects the games to replay.
        quiet: Print plain lines instead of a live display.
    """

    data: Path
    replay: bool = False
    select: str | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        for name in () if self.replay else given(self, "select", "workers", "address"):
            raise InputError(f"{name}: is for replaying; without --replay every shard is read whole, here")


@dataclass(frozen=True, kw_only=True)
class ReplayOptions(MakingOptions):
    """Options for replaying games into a new dataset.

    Attributes:
        observations: Observation keys to keep, or all.
    """

    observations: ObservationKeys = DEFAULT_OBSERVATIONS

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        if not self.observations:
            raise InputError("observations: none given; a replay brings at least one key, or all of them")


@dataclass(frozen=True, kw_only=True)
class StoredGamesOptions(ReplayOptions):
    """Options for replaying the games of a dataset.

    Attributes:
        data: A dataset folder or a shard; any observations stored in it are not used.
        out: The new dataset's folder.
        select: A condition that selects the games.
    """

    data: Path
    out: Path
    select: str | None = None


@dataclass(frozen=True, kw_only=True)
class ExpandConfig(StoredGamesOptions):
    """Replays games from their keys into a full dataset."""


@dataclass(frozen=True, kw_only=True)
class RelabelConfig(StoredGamesOptions):
    """Plays imported AutoAscend games again, to record their true strategies beside the published labels."""


@dataclass(frozen=True, kw_only=True)
class ImportConfig(ReplayOptions):
    """Imports games that others have recorded: ttyrecs, or the screens of the dataset nao_top10.

    Attributes:
        data: The folder of the recordings, or a single ttyrec.
        out: The new dataset's folder.
        layout: How the folder is laid out. nle: <game>/nle.<pid>.<episode>.ttyrec<version>.bz2; altorg, as
            nethack.alt.org's players: <player>/<date>.<time>.ttyrec.bz2 and xlogfile.<number>; nao_top10:
            <player>/<session>.npz; auto looks which it is.
        real_names: Keep the names of players of altorg, in lower case, and of nao_top10; by default they become
            Player0, Player1 ….
        replay: Replay each game from its keys at its recorded clock, and keep the observations that are asked for.
        observations: With --replay, the observation keys to keep, or all.
        seeds: Where seeds come from: folder (the name of a game's folder is its seed), none, or auto (folder for
            HiHack's files, ttyrec4, and none for other files).
        strict: Treat any file that cannot be imported completely as an error.
    """

    data: Path
    out: Path
    layout: Layout = "auto"
    real_names: bool = False
    replay: bool = False
    seeds: str = "auto"
    strict: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        if self.seeds not in ("auto", "folder", "none"):
            raise InputError(f"seeds: {self.seeds!r} is unknown; expected auto, folder or none")
        if self.seeds == "none" and self.replay:
            raise InputError("replay: needs seeds; --seeds none leaves them out")
        if not self.replay and self.observations != DEFAULT_OBSERVATIONS:
            raise InputError(f"observations: {self.observations}; needs --replay, since recordings hold screens alone")
