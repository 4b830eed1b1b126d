"""``strathack watch`` and ``export-cast``: games without frames are replayed by ``collect``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rich.console import Console

from strathack.analysis.casting import write_cast
from strathack.analysis.film import Film, game_named, games_at
from strathack.analysis.options import ExportCastConfig, WatchConfig
from strathack.collect.replaying.streaming import AnyFrames


@contextmanager
def open_film(data: Path, game: str) -> Iterator[Film]:
    """Opens a game to watch or export, and closes it at the end."""
    with AnyFrames(processes=1) as frames, closing(Film(game_named(games_at(data), game), frames)) as film:
        yield film


def watch(config: WatchConfig) -> int:
    """``strathack watch``.

    Raises:
        InputError: If there is no such game, or no terminal to show it in.
        RunError: If the game cannot be replayed.
    """
    from strathack.analysis.watching import check_terminal, is_interactive, show

    with open_film(config.data, config.game) as film:
        check_terminal(shutil.get_terminal_size(), interactive=is_interactive())
        show(film, config)
    return 0


def export_cast(config: ExportCastConfig) -> int:
    """``strathack export-cast``.

    Raises:
        InputError: If there is no such game, or the file cannot be written.
        RunError: If the game cannot be replayed.
    """
    with open_film(config.data, config.game) as film:
        steps = write_cast(
            film, config.out, start=config.start, stop=config.stop, speed=config.speed, caption=config.caption
        )
        tell_of(film, steps, config.out)
    return 0


def tell_of(film: Film, steps: int, out: Path) -> None:
    """Prints what was written."""
    size = out.stat().st_size
    told = f"{steps:,} of {len(film):,} steps of {film.game.name}, {size:,} bytes, in {out}"
    Console().print(told, highlight=False, soft_wrap=True)
