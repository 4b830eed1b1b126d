"""Options of the analysis commands, kept apart from the drawing code, which is slow to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from strathack.dataset.codec import Options
from strathack.dataset.errors import InputError
from strathack.dataset.options import check_at_least
from strathack.dataset.remote.addresses import address_of

StrategyLabel = Literal["strategy", "strategy_inferred"]
"""A column that tells the strategy at each step."""


@dataclass(frozen=True)
class StrategiesConfig(Options):
    """Draws the strategies of each game over time, and their shares by role.

    Attributes:
        data: A dataset folder, a shard, or an evaluation's folder.
        label: The label to show: strategy, or what a labeller has inferred, strategy_inferred.
        out: The picture, PNG or another format that matplotlib writes.
        max_games: The most games to draw over time; the shares are of all games.
    """

    data: Path
    out: Path = Path("strategies.png")
    max_games: int = 40
    label: StrategyLabel = "strategy"

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(1, self, "max_games")
        check_picture(self.out)


@dataclass(frozen=True)
class CompareConfig(Options):
    """Compares players by the games they played, seed by seed if they played the same seeds.

    Attributes:
        data: Folders of evaluations, or datasets; two or more.
        figure: What is compared: score, turns, steps, max_depth, experience_level or progression.
        common: Take only the seeds that all have played, so that games are compared seed by seed.
        out: A picture of the distributions, PNG or another format that matplotlib writes; by default none.
        published: Also show published figures, marked as such.
    """

    data: list[Path]
    figure: Literal["score", "turns", "steps", "max_depth", "experience_level", "progression"] = "score"
    common: bool = False
    out: Path | None = None
    published: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        if len(self.data) < 2:
            raise InputError("data: one folder is nothing to compare; expected two or more")
        for path in self.data:
            if address_of(path) is None and not path.exists():
                raise InputError(f"{path}: no such folder")
        if self.out is not None:
            check_picture(self.out)


@dataclass(frozen=True)
class WatchConfig(Options):
    """Shows a game in the terminal.

    Attributes:
        data: A dataset folder, a shard, or an evaluation's folder; games stored without frames are replayed from keys.
            Or a policy, which plays the game first: a run's folder, a checkpoint, or a trained policy's name.
        label: The label to show: strategy, or what a labeller has inferred, strategy_inferred.
        game: The game's name or seed; by default the first. A policy plays the game of a seed, by default 100000.
        step: The step to begin at.
        speed: Steps per second.
    """

    data: Path
    game: str = ""
    step: int = 0
    speed: int = 10
    label: StrategyLabel = "strategy"

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(0, self, "step")
        check_at_least(1, self, "speed")


@dataclass(frozen=True)
class ExportCastConfig(Options):
    """Writes a game as a recording that asciinema plays.

    Attributes:
        data: A dataset folder, a shard, or an evaluation's folder; games stored without frames are replayed from keys.
            Or a policy, which plays the game first: a run's folder, a checkpoint, or a trained policy's name.
        out: The recording, asciinema version 2.
        label: The label to show: strategy, or what a labeller has inferred, strategy_inferred.
        game: The game's name or seed; by default the first. A policy plays the game of a seed, by default 100000.
        start: First step.
        stop: Step after the last; by default the game's end.
        speed: Steps per second.
        caption: Show the strategy, the substrategy and the action in two lines below the screen.
    """

    data: Path
    out: Path = Path("game.cast")
    game: str = ""
    start: int = 0
    stop: int | None = None
    speed: float = 10.0
    caption: bool = True
    label: StrategyLabel = "strategy"

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_stretch(self.start, self.stop)
        if not 0 < self.speed <= 1000:
            raise InputError(f"speed: {self.speed:g} is not above 0 and at most 1,000")


@dataclass(frozen=True)
class ReportConfig(Options):
    """Writes one page about a dataset or an evaluation; the page needs no network.

    Attributes:
        data: A dataset folder, a shard, or an evaluation's folder.
        label: The label to report on: strategy, or what a labeller has inferred, strategy_inferred.
        out: The HTML page; -o for short.
        select: A condition on the games, such as "role == 'Val' and score > 5000".
        playable: How many games can be watched in the page, spread evenly from the best score to the worst.
        watch: Names or seeds of the games that can be watched instead, such as 4,game_7.
        replay: Replay games without frames also for the shares by depth, experience level and hit points; games to be
            watched are always replayed.
        title: The page's title; by default the folder's name.
        quiet: Show no progress line.
    """

    data: Path
    out: Path = Path("report.html")
    select: str | None = None
    playable: int = 4
    watch: str = ""
    replay: bool = False
    title: str = ""
    quiet: bool = False
    label: StrategyLabel = "strategy"

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(0, self, "playable")

    @property
    def wanted(self) -> list[str]:
        """Names or seeds of the games to be watched."""
        return [name.strip() for name in self.watch.split(",") if name.strip()]


VIDEOS = (".mp4", ".gif")


@dataclass(frozen=True)
class ExportVideoConfig(Options):
    """Writes a game as a video, with the strategy as caption.

    Attributes:
        data: A dataset folder, a shard, or an evaluation's folder; games stored without frames are replayed from keys.
            Or a policy, which plays the game first: a run's folder, a checkpoint, or a trained policy's name.
        out: The video; the file's ending, .mp4 or .gif, sets the format.
        label: The label to show: strategy, or what a labeller has inferred, strategy_inferred.
        game: The game's name or seed; by default the first. A policy plays the game of a seed, by default 100000.
        start: First step.
        stop: Step after the last; by default the game's end.
        speed: Steps per second, each shown as one picture.
        size: Height of a row of the screen in pixels.
        caption: Show the strategy, the substrategy and the action below the screen.
        quiet: Show no progress line.
    """

    data: Path
    out: Path = Path("game.mp4")
    game: str = ""
    start: int = 0
    stop: int | None = None
    speed: int = 10
    size: int = 20
    caption: bool = True
    quiet: bool = False
    label: StrategyLabel = "strategy"

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_stretch(self.start, self.stop)
        if self.out.suffix not in VIDEOS:
            raise InputError(f"out: {self.out} ends in neither .mp4 nor .gif")
        if not 1 <= self.speed <= 50:
            raise InputError(f"speed: {self.speed} is not between 1 and 50")
        if not 8 <= self.size <= 64:
            raise InputError(f"size: {self.size} is not between 8 and 64")


def check_stretch(start: int, stop: int | None) -> None:
    """Checks a stretch of a game, given by its first step and the step after its last.

    Raises:
        InputError: If the stretch has no step or begins before step 0.
    """
    if start < 0:
        raise InputError(f"start: {start} is below 0")
    if stop is not None and stop <= start:
        raise InputError(f"stop: {stop} is not above start, {start}")


def check_picture(out: Path) -> None:
    """Checks that a picture's name has an ending, which sets the format.

    Raises:
        InputError: If the name has no ending.
    """
    if not out.suffix:
        raise InputError(f"out: {out} has no ending that names a picture format; expected .png, say")
