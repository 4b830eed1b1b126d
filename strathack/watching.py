"""``strathack watch``, ``export-cast`` and ``export-video``: games without frames are replayed by ``collect``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rich.console import Console

from strathack.analysis.casting import stretch_end, write_cast
from strathack.analysis.film import Film, game_named, games_at
from strathack.analysis.options import ExportCastConfig, ExportVideoConfig, WatchConfig
from strathack.collect.streaming import AnyFrames
from strathack.dataset.progress import progress


@contextmanager
def opened_film(data: Path, game: str) -> Iterator[Film]:
    """A game to be looked at."""
    with AnyFrames(processes=1) as frames, closing(Film(game_named(games_at(data), game), frames)) as film:
        yield film


def watch_main(config: WatchConfig) -> int:
    """The command ``watch``.

    Raises:
        InputError: If there is no such game, or no terminal to show it in.
        RunError: If it cannot be replayed.
    """
    from strathack.analysis.watching import check_terminal, is_interactive, watch

    with opened_film(config.data, config.game) as film:
        check_terminal(shutil.get_terminal_size(), interactive=is_interactive())
        watch(film, config)
    return 0


def cast_main(config: ExportCastConfig) -> int:
    """The command ``export-cast``.

    Raises:
        InputError: If there is no such game, or the file cannot be written.
        RunError: If it cannot be replayed.
    """
    with opened_film(config.data, config.game) as film:
        steps = write_cast(
            film, config.out, start=config.start, stop=config.stop, speed=config.speed, caption=config.caption
        )
        _told(film, steps, config.out)
    return 0


def video_main(config: ExportVideoConfig) -> int:
    """The command ``export-video``.

    Raises:
        InputError: If there is no such game, or the file cannot be written.
        RunError: If it cannot be replayed.
    """
    from strathack.analysis.video import write_video

    with opened_film(config.data, config.game) as film:
        stop = stretch_end(film, config.start, config.stop)
        with progress("drawing", stop - config.start, quiet=config.quiet) as advance:
            write_video(
                film, config.out, start=config.start, stop=stop, speed=config.speed, size=config.size,
                caption=config.caption, on_step=advance,
            )  # fmt: skip
        _told(film, stop - config.start, config.out)
    return 0


def _told(film: Film, steps: int, out: Path) -> None:
    size = out.stat().st_size
    told = f"{steps:,} of {len(film):,} steps of {film.game.name}, {size:,} bytes, in {out}"
    Console().print(told, highlight=False, soft_wrap=True)
