"""Collects from a dataset the data that its page is made from."""

from __future__ import annotations

from strathack.analysis.opening import game_named
from strathack.analysis.options import ReportConfig
from strathack.analysis.report.page import ReportData
from strathack.analysis.report.reading import card_of, pack_films, read_games, spread_by_score
from strathack.dataset import Dataset
from strathack.dataset.errors import InputError
from strathack.dataset.frames import FrameSource
from strathack.dataset.progress import progress


def report_of(config: ReportConfig, dataset: Dataset, frames: FrameSource, version: str) -> ReportData:
    """Reads the games of a report, and packs the games to be watched.

    Args:
        config: The options.
        dataset: The games.
        frames: Source of frames that are not stored.
        version: Version of this package.

    Raises:
        InputError: If no game can be read, or a game asked for does not exist.
        RunError: If a game cannot be replayed.
    """
    wanted = [game_named(dataset, name).name for name in config.wanted]
    with progress("reading", dataset.steps, quiet=config.quiet) as advance:
        games, left_out = read_games(dataset, frames if config.replay else None, advance, config.label)
    if not games:
        raise InputError(f"{config.data}: none of its games can be read; first: {left_out[0]}")
    names = wanted or spread_by_score(games, config.playable)
    with progress("packing", sum(len(dataset[name]) for name in names), quiet=config.quiet) as advance:
        films, not_watched = pack_films(dataset, names, frames, advance, config.label)
    notes = []
    if any(not game.by for game in games):
        notes.append(
            "Shares by depth, experience level and hit points are of those games alone whose bottom lines are stored"
            + ("." if config.replay else "; --replay brings back those of games whose keys and seeds are known.")
        )
    players = {tables.provenance.demonstrator for tables in dataset.tables}
    roles = len({game.info["role"] for game in games})
    steps = sum(int(game.lengths.sum()) for game in games)
    return ReportData(
        title=config.title or config.data.resolve().name,
        subtitle=f"{counted(len(games), 'game')} of {counted(roles, 'role')}, {counted(steps, 'step')}, "
        f"played by {', '.join(sorted(players))}",
        card=card_of(config.data, dataset, games),
        games=games,
        films=films,
        notes=notes,
        left_out=[*left_out, *not_watched],
        version=version,
    )


def counted(number: int, what: str) -> str:
    """Returns a number and its noun: ``1 game``, ``1,234 games``."""
    return f"{number:,} {what}{'s' * (number != 1)}"
