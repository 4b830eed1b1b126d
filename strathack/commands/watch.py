"""``strathack watch`` and ``export-cast``: ``collect`` replays games without frames, ``rl`` lets policies play."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from strathack.analysis.casting import write_cast
from strathack.analysis.film import Film
from strathack.analysis.opening import game_named, games_at
from strathack.analysis.options import ExportCastConfig, WatchConfig
from strathack.collect.playing.seeds import Seeds
from strathack.collect.replaying.streaming import AnyFrames
from strathack.collect.running.jobs import make_dataset
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.signals import Interrupted
from strathack.models.places import is_policy


@contextmanager
def open_film(data: Path, game: str, label: str = "strategy") -> Iterator[Film]:
    """Opens a game to watch or export, and closes it at the end.

    Args:
        data: Games; or a policy, which plays the game first.
        game: The game's name or seed.
        label: The column that tells the strategy.

    Raises:
        InputError: If there is no such game, or it has no such column.
        RunError: If the game cannot be replayed or played.
    """
    with ExitStack() as stack:
        if is_policy(data):
            data = played(data, game, Path(stack.enter_context(TemporaryDirectory(prefix="strathack-"))))
        frames = stack.enter_context(AnyFrames(processes=1))
        yield stack.enter_context(closing(Film(game_named(games_at(data), game), frames, label)))


def played(policy: Path, game: str, folder: Path) -> Path:
    """Lets a policy play one game; returns the dataset of it, in a folder.

    Raises:
        InputError: If the game is no seed, or the policy cannot play it.
        RunError: If the game was not played.
    """
    from strathack.rl.evaluating.evaluation import evaluating
    from strathack.rl.options import FIRST_EVALUATED_SEED, EvaluateConfig

    seed = game or str(FIRST_EVALUATED_SEED)
    if not seed.isdecimal():
        raise InputError(f"game: {game!r} is no seed; {policy} plays the game of a seed")
    config = EvaluateConfig(
        what=str(policy), seeds=Seeds.parse(seed), out=folder / "evaluation", save_games=folder / "games", workers=1,
        env_groups=1, envs=1,
    )  # fmt: skip
    made = make_dataset(config.games_folder, *evaluating(config))
    if made.signal:
        raise Interrupted(made.signal)
    if not made.games:
        raise RunError(f"{policy}: did not play game {seed}: {'; '.join(made.failures.values())}")
    return config.games_folder


def watch(config: WatchConfig) -> int:
    """``strathack watch``.

    Raises:
        InputError: If there is no such game, or no terminal to show it in.
        RunError: If the game cannot be replayed.
    """
    from strathack.analysis.watching import check_terminal, is_interactive, show

    with open_film(config.data, config.game, config.label) as film:
        check_terminal(shutil.get_terminal_size(), interactive=is_interactive())
        show(film, config)
    return 0


def export_cast(config: ExportCastConfig) -> int:
    """``strathack export-cast``.

    Raises:
        InputError: If there is no such game, or the file cannot be written.
        RunError: If the game cannot be replayed.
    """
    with open_film(config.data, config.game, config.label) as film:
        steps = write_cast(
            film, config.out, start=config.start, stop=config.stop, speed=config.speed, caption=config.caption
        )
        tell_of(film, steps, config.out)
    return 0


def tell_of(film: Film, steps: int, out: Path) -> None:
    """Prints what was written."""
    size = out.stat().st_size
    told = f"{steps:,} of {len(film):,} steps of {film.game.name}, {size:,} bytes, in {out}"
    Console().out(told, highlight=False)
