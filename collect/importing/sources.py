"""What can be imported: recordings in NLE's layout, those of nethack.alt.org, and the sessions of nao_top10."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

from strathack.collect.importing.altorg import find_players, log_files
from strathack.collect.importing.finding import FoundGames, find
from strathack.collect.importing.importer import Importer, load, load_played
from strathack.collect.importing.sessions import ARCHIVE, SessionImporter, find_sessions, load_session
from strathack.collect.importing.ttyrec import FILE_NAME
from strathack.collect.options import ImportConfig
from strathack.collect.playing.clock import default_clock
from strathack.collect.running.display import Report
from strathack.collect.running.jobs import Work, Workers
from strathack.collect.running.pools import Worker
from strathack.collect.running.provenance import made_now
from strathack.collect.running.results import GameShard, JobResult, Refused
from strathack.dataset.errors import InputError
from strathack.dataset.files import absolute, path_text


class Importable(Protocol):
    """A job that imports a game."""

    @property
    def shown(self) -> str:
        """What it is called in reports."""
        ...


@dataclass(frozen=True)
class Source:
    """What is there to be imported.

    Attributes:
        work: The jobs that import it, by game name.
        games: How many games there are.
        left_out: What is not imported on purpose, a line each.
        not_there: What should be imported and cannot be, a line each.
        players: The players whose names are replaced, in the order of their pseudonyms.
    """

    work: Work
    games: int
    left_out: tuple[str, ...] = ()
    not_there: tuple[str, ...] = ()
    players: tuple[str, ...] = ()


def source_of(config: ImportConfig) -> Source:
    """Finds what is to be imported.

    Raises:
        InputError: If there is nothing, it is not laid out as asked, or an option does not go with the layout.
    """
    layout = config.layout if config.layout != "auto" else layout_of(config)
    if layout != "nle" and config.replay:
        raise InputError(f"replay: needs keys, which {layout} does not have")
    if layout != "nle" and config.seeds != "auto":
        raise InputError(f"seeds: {layout} has none; leave them out")
    if layout == "nle" and config.real_names:
        raise InputError("real_names: recordings in NLE's layout name no players; leave it out")
    return SOURCES[layout](config)


def layout_of(config: ImportConfig) -> str:
    """Returns the layout of a folder: that of altorg has an xlogfile in the folder itself, nao_top10 has archives.

    Raises:
        InputError: If the folder cannot be read, or has both archives and ttyrecs.
    """
    data = absolute(config.data)
    if log_files(data):
        return "altorg"
    if not any(ARCHIVE.fullmatch(path.name) for path in data.glob("*/*")):
        return "nle"
    ttyrec = next((path for path in data.rglob("*") if FILE_NAME.fullmatch(path.name)), None)
    if ttyrec is not None:
        raise InputError(
            f"layout: {path_text(data)} has archives of sessions and ttyrecs, such as "
            f"{path_text(ttyrec.relative_to(data))}; say which to import: --layout nao_top10, or nle"
        )
    return "nao_top10"


def _ttyrecs(config: ImportConfig) -> Source:
    found = find(config.data, config.seeds)
    clock = default_clock(here=config.replay and config.workers == 0)
    importer = partial(Importer, config.observations if config.replay else None)
    environment = clock.environment() if config.replay else {}
    work = _work(config, {file.name: file for file in found.files}, importer, partial(load, found.logs), environment)
    not_there = (*found.refused, *found.closed, *found.missing)
    return Source(work, len(found.files) + len(found.refused), found.left_out, not_there)


def _players(config: ImportConfig) -> Source:
    found = find_players(config.data, real_names=config.real_names)
    return _of_players(config, found, partial(Importer, None), load_played)


def _sessions(config: ImportConfig) -> Source:
    found = find_sessions(config.data, real_names=config.real_names)
    return _of_players(config, found, SessionImporter, load_session)


def _of_players(
    config: ImportConfig,
    found: FoundGames[Any],
    importer: Callable[[Mapping[str, str]], Worker],
    load: Callable[[Any], Any],
) -> Source:
    work = _work(config, {game.name: game for game in found.games}, importer, load)
    players = () if config.real_names else found.players
    return Source(work, len(found.games), found.left_out, found.closed, players)


SOURCES: Mapping[str, Callable[[ImportConfig], Source]] = {
    "nle": _ttyrecs,
    "altorg": _players,
    "nao_top10": _sessions,
}
"""Layout → what finds the games in it."""


def _work(
    config: ImportConfig,
    jobs: Mapping[str, Importable],
    importer: Callable[[Mapping[str, str]], Worker],
    load: Callable[[Any], Any],
    environment: Mapping[str, str] | None = None,
) -> Work:
    return Work(
        jobs=jobs,
        by=Workers(partial(importer, made_now()), config, environment or {}),
        describe=partial(_described, config.quiet),
        called=attrgetter("shown"),
        load=load,
        retries=config.retries,
    )


def _described(quiet: bool, job: Importable, result: JobResult) -> Report:
    if isinstance(result, Refused):
        return Report(result.reason, failed=True)
    assert isinstance(result, GameShard), "a game is imported or refused"
    return Report(result.note or (f"{job.shown}: {result.steps} steps" if quiet else ""))
