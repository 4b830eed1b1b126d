"""Copies games unchanged: one game of a shard, several datasets into one, the sound games of a damaged dataset."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from strathack.dataset.errors import FormatError
from strathack.dataset.labels import label_names
from strathack.dataset.reading import Dataset, Game
from strathack.dataset.shard import make_shard, open_shard, write_tables
from strathack.dataset.verify import Problem, verify_shard


def one_game_shard(game: Game) -> bytes:
    """Returns a shard with one stored game; compressed chunks are copied unchanged."""
    buffer = io.BytesIO()
    with make_shard(buffer, game.provenance) as target, open_shard(game.path) as source:
        source.copy(f"data/{game.name}", target["data"])
        codes = {label: game.arrays[label].codes for label in ("strategy", "substrategy")}
        write_tables(target, game.row.reshape(1), {label: label_names(of) for label, of in codes.items()})
    return buffer.getvalue()


def sound_games(shard: Path, on_game: Callable[[Game], None]) -> tuple[list[Game], list[Problem]]:
    """Returns the games of a shard that pass verification, and what is wrong with the others or with the shard."""
    problems = list(verify_shard(shard, on_game))
    try:
        dataset = Dataset(shard)
    except FormatError:
        return [], problems
    unsound = {problem.game for problem in problems}
    return [game for game in dataset if game.name not in unsound], problems


def collisions(datasets: Sequence[Dataset]) -> dict[str, bool]:
    """Returns game names that several datasets have → whether those games agree in keys and frames."""
    seen: dict[bytes, tuple[bytes, bytes]] = {}
    found: dict[str, bool] = {}
    for dataset in datasets:
        for row in dataset.rows:
            digests = row["keys_sha256"], row["frames_sha256"]
            before = seen.setdefault(row["game"], digests)
            if dataset is not datasets[0] and before is not digests:
                name = row["game"].decode()
                found[name] = found.get(name, True) and before == digests
    return found
