"""``strathack analysis strategies``: one picture of what a dataset's player pursued."""

from __future__ import annotations

from strathack.analysis.film import games_at
from strathack.analysis.options import StrategiesConfig
from strathack.analysis.plots import draw_strategies, save
from strathack.analysis.steps import check_labelled, counts_by_game, read_steps


def main(config: StrategiesConfig) -> int:
    """The command.

    Raises:
        InputError: If there is no game, or no label in any.
        FormatError: If a game is not as it was written.
    """
    dataset = games_at(config.data)
    games = sorted(read_steps(dataset), key=lambda game: int(game.info["core"]))
    check_labelled(games, config.data)
    save(draw_strategies(games, counts_by_game(games, "role"), config.max_games), config.out)
    print(f"{len(games)} games drawn in {config.out}")
    return 0
