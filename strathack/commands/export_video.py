"""``strathack export-video``; it needs packages that only the extra ``export`` installs."""

from __future__ import annotations

from strathack.analysis.casting import stretch_end
from strathack.analysis.options import ExportVideoConfig
from strathack.analysis.video import write_video
from strathack.commands.watch import open_film, tell_of
from strathack.dataset.progress import progress


def export_video(config: ExportVideoConfig) -> int:
    """``strathack export-video``.

    Raises:
        InputError: If there is no such game, or the file cannot be written.
        RunError: If the game cannot be replayed.
    """
    with open_film(config.data, config.game, config.label) as film:
        stop = stretch_end(film, config.start, config.stop)
        with progress("drawing", stop - config.start, quiet=config.quiet) as advance:
            write_video(
                film, config.out, start=config.start, stop=stop, speed=config.speed, size=config.size,
                caption=config.caption, on_step=advance,
            )  # fmt: skip
        tell_of(film, stop - config.start, config.out)
    return 0
