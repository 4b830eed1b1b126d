"""Options of the analysis commands, apart from the code that draws, which is slow to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
        if not self.out.suffix:
            raise InputError(f"out: {self.out} has no ending that names a picture format; expected .png, say")
