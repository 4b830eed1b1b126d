"""The analysis commands that need only datasets; each returns its exit status."""

from __future__ import annotations

from itertools import combinations

from rich.console import Console

from strathack.analysis.comparing import (
    check_protocols,
    column_of,
    common,
    compared,
    named,
    pairs_table,
    players_table,
    scores_at,
)
from strathack.analysis.opening import games_at
from strathack.analysis.options import CompareConfig, StrategiesConfig
from strathack.analysis.plots import draw_distributions, draw_strategies, save
from strathack.analysis.steps import check_labelled, counts_by_game, read_steps


def compare(config: CompareConfig) -> int:
    """``strathack compare``.

    Raises:
        InputError: If there is nothing to compare, or games lack the figure that is compared.
    """
    paths = named(config.data)
    protocol = check_protocols(paths)
    tables = {name: scores_at(path) for name, path in paths.items()}
    values = {name: column_of(table, config.figure, name) for name, table in tables.items()}
    if config.common:
        values = common(values)
    console = Console()
    if protocol is not None:
        console.out(f"protocol {protocol}", highlight=False)
    console.print(players_table(values, config))
    pairs = {(a, b): compared(values[a], values[b]) for a, b in combinations(values, 2)}
    console.print(pairs_table(pairs, config.figure))
    if config.out is not None:
        save(
            draw_distributions({name: series.to_numpy() for name, series in values.items()}, config.figure), config.out
        )
        console.out(f"drawn in {config.out}", highlight=False)
    return 0


def strategies(config: StrategiesConfig) -> int:
    """``strathack analysis strategies``.

    Raises:
        InputError: If there is no game, or no game has a label.
        FormatError: If a game is not as it was written.
    """
    dataset = games_at(config.data)
    games = sorted(read_steps(dataset, label=config.label), key=lambda game: int(game.info["core"]))
    check_labelled(games, config.data)
    save(draw_strategies(games, counts_by_game(games, "role"), config.max_games), config.out)
    print(f"{len(games)} games drawn in {config.out}")
    return 0
