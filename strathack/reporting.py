"""``strathack report``: games are read by ``analysis``, and replayed by ``collect`` where their frames are not kept."""

from __future__ import annotations

import warnings

from rich.console import Console

import strathack
from strathack.analysis.casting import write
from strathack.analysis.film import game_named, games_at
from strathack.analysis.options import ReportConfig
from strathack.analysis.report.page import ReportData, page_of
from strathack.analysis.report.reading import card_of, pack_films, read_games, spread_by_score
from strathack.collect.replaying.streaming import AnyFrames
from strathack.dataset.errors import InputError
from strathack.dataset.progress import progress

MEGABYTE = 1_000_000


def main(config: ReportConfig) -> int:
    """The command. Returns its exit status: 0, or 1 if something could not be read and was left out.

    Raises:
        InputError: If there is nothing to report on, or the page cannot be written.
        RunError: If a game cannot be replayed.
    """
    with warnings.catch_warnings():  # of shards that cannot be read, which the page lists
        warnings.simplefilter("ignore")
        dataset = games_at(config.data, on_corrupt="skip").select(config.select)
    if not len(dataset):
        raise InputError(f"{config.data}: no game meets the condition {config.select!r}; nothing to report")
    wanted = [game_named(dataset, name).name for name in config.wanted]
    with AnyFrames(processes=1) as frames:
        with progress("reading", dataset.steps, quiet=config.quiet) as advance:
            games, left_out = read_games(dataset, frames if config.replay else None, advance)
        if not games:
            raise InputError(f"{config.data}: none of its games can be read; first: {left_out[0]}")
        names = wanted or spread_by_score(games, config.playable)
        steps = sum(len(dataset[name]) for name in names)
        with progress("packing", steps, quiet=config.quiet) as advance:
            films, not_watched = pack_films(dataset, names, frames, advance)
    notes = []
    if any(not game.by for game in games):
        notes.append(
            "Shares by depth, experience level and hit points are of those games alone whose bottom lines are stored"
            + ("." if config.replay else "; --replay brings back those of games whose keys and seeds are known.")
        )
    players = {tables.provenance.demonstrator for tables in dataset.tables}
    roles = len({game.info["role"] for game in games})
    steps = sum(int(game.lengths.sum()) for game in games)
    report = ReportData(
        title=config.title or config.data.resolve().name,
        subtitle=f"{_count(len(games), 'game')} of {_count(roles, 'role')}, {_count(steps, 'step')}, "
        f"played by {', '.join(sorted(players))}",
        card=card_of(config.data, dataset, games),
        games=games,
        films=films,
        notes=notes,
        left_out=[*left_out, *not_watched],
        version=strathack.__version__,
    )
    page = page_of(report).encode()
    write(config.out, page)
    console = Console()
    size = len(page) / MEGABYTE
    told = f"{_count(len(games), 'game')}, {len(films)} to be watched, {size:.1f} MB, in {config.out}"
    console.print(told, highlight=False, soft_wrap=True)
    for reason in report.left_out:
        console.print(f"left out: {reason}", highlight=False, markup=False, soft_wrap=True)
    return 1 if report.left_out else 0


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
