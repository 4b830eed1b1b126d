"""Options of the analysis commands, apart from the code that draws, which is slow to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from strathack.dataset.errors import InputError


@dataclass(frozen=True)
class StrategiesConfig:
    """Draws the strategies of each game over time, and their shares by role.

    Attributes:
        data: The dataset folder.
        out: The picture, PNG or another format that matplotlib writes.
        max_games: Games shown over time; the shares are those of all.
    """

    data: Path
    out: Path = Path("strategies.png")
    max_games: int = 40

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: By name of the option.
        """
        if self.max_games < 1:
            raise InputError(f"max_games: {self.max_games} is below 1")
        check_picture(self.out)


@dataclass(frozen=True)
class CompareConfig:
    """Compares players by the games they played; the same seeds are compared one by one.

    Attributes:
        data: Folders of evaluations, or datasets; two or more.
        figure: What is compared: score, turns, steps, max_depth, experience_level or progression.
        out: A picture of the distributions, PNG or another format that matplotlib writes; by default none.
        published: Show published figures beside, marked as such.
    """

    data: list[Path]
    figure: Literal["score", "turns", "steps", "max_depth", "experience_level", "progression"] = "score"
    out: Path | None = None
    published: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: By name of the option.
        """
        if len(self.data) < 2:
            raise InputError("data: one folder is nothing to compare; expected two or more")
        for path in self.data:
            if not path.exists():
                raise InputError(f"{path}: no such folder")
        if self.out is not None:
            check_picture(self.out)


def check_picture(out: Path) -> None:
    """Checks that a picture's name tells its format.

    Raises:
        InputError: If it does not.
    """
    if not out.suffix:
        raise InputError(f"out: {out} has no ending that names a picture format; expected .png, say")
