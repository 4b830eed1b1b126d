"""A made-up game whose screens a terminal can show, for what draws screens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from made_up_games import made_up, provenance

from strathack.analysis.film import SCREEN
from strathack.dataset import Dataset
from strathack.dataset.chunks import ChunkEncoder, pad_chunk
from strathack.dataset.folder import replies_path
from strathack.dataset.reading import Game
from strathack.dataset.replies import Replied, encode_replies
from strathack.dataset.schema import OBSERVATIONS, game_name
from strathack.dataset.shard import encode_shard


def screens_of(steps: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Screens of which a few cells change at each step; every character and colour occurs."""
    rng = np.random.default_rng(seed)
    chars = np.full((steps, 24, 80), 32, np.uint8)
    colours = np.zeros((steps, 24, 80), np.uint8)
    for step in range(steps):
        if step:
            chars[step], colours[step] = chars[step - 1], colours[step - 1]
        for _ in range(8):
            row, column, length = rng.integers(24), rng.integers(80), rng.integers(1, 12)
            stop = min(column + length, 80)
            chars[step, row, column:stop] = rng.integers(0, 256, stop - column)
            colours[step, row, column:stop] = rng.integers(0, 16)
        if step % 50 == 0:
            chars[step, 0] = 32
            chars[step, 0, :20] = np.frombuffer(f"{f'You see step {step}.':<20}".encode(), np.uint8)
    cursor = np.stack([rng.integers(0, 24, steps), rng.integers(0, 80, steps)], 1).astype(np.uint8)
    return dict(zip(SCREEN, (chars, colours, cursor), strict=True))


def write_replies_to(game: Game, replies: Mapping[int, str]) -> None:
    """Lets a language model have decided some steps of a game, and not have answered at last."""
    told = [Replied(step, "", reply, "search", True, 1, 1, 0.1) for step, reply in replies.items()]
    silent = Replied(len(game), "", "", "", False, 0, 0, 0.1, "status 500")
    path = replies_path(game.path.parent, game.name)
    path.parent.mkdir()
    path.write_bytes(encode_replies(game.name, 0, [*told, silent]))


def write_filmed_game(folder: Path, steps: int, seed: int = 0) -> tuple[Game, dict[str, np.ndarray]]:
    """A shard of one such game; the game, and its screens."""
    screens = screens_of(steps, seed)
    data, arrays = made_up(seed, steps, SCREEN)
    strategy = np.repeat(arrays["strategy"], 30)[:steps]
    frames, encoder = {}, ChunkEncoder()
    for key, values in screens.items():
        length = min(OBSERVATIONS[key].chunk_steps, steps) or 1
        frames[key] = [encoder.encode(pad_chunk(values[i : i + length], length)) for i in range(0, steps, length)]
    data = replace(data, frames=frames, strategy=strategy)
    folder.mkdir(exist_ok=True)
    path = folder / f"{game_name(seed)}.h5"
    path.write_bytes(encode_shard(data, provenance(observations=SCREEN)))
    return Dataset(path)[0], screens
