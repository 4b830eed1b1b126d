"""Made-up games for tests of the format."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from strathack.dataset.actions import KEY_CODES
from strathack.dataset.chunks import ChunkEncoder, pad_chunk
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.labels import STRATEGIES, UNLABELLED, Vocabulary
from strathack.dataset.schema import OBSERVATIONS, game_name, make_row
from strathack.dataset.shard import GameData, Provenance, encode_shard, make_shard, write_tables

KEYS = ("tty_cursor", "blstats")


def provenance(**changes: object) -> Provenance:
    values = {
        "observations": KEYS,
        "demonstrator": "made up",
        "demonstrator_version": "1",
        "nle_version": "1.3.0",
        "options": "{}",
        "command": "strathack collect",
        "revision": "",
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Provenance(**{**values, **changes})  # type: ignore[arg-type]


def write_games(
    folder: Path, lengths: Sequence[int], games_per_shard: int = 4, keys: Sequence[str] = KEYS, labelled: bool = True
) -> dict[str, dict[str, np.ndarray]]:
    """Writes a dataset of made-up games; returns their arrays by the games' names."""
    there = DatasetFolder(folder)
    folder.mkdir(exist_ok=True)
    there.write_settings({"seeds": f"0:{len(lengths)}"})
    games = {}
    for seed, steps in enumerate(lengths):
        data, games[game_name(seed)] = made_up(seed, steps, keys)
        if not labelled:
            data = replace(data, strategy=np.full(steps, UNLABELLED, "u1"))
        there.add_game(game_name(seed), encode_shard(data, provenance(observations=tuple(keys))))
    list(there.merge(games_per_shard))
    return games


def write_tables_alone(folder: Path, shards: int, games: int) -> None:
    """Writes shards that hold the tables of many games, and none of their arrays."""
    rows = np.repeat(made_up(0, 30)[0].row.reshape(1), games)
    for shard in range(shards):
        rows["core"] = np.arange(games) + games * shard
        rows["game"] = [f"game_{core}".encode() for core in rows["core"]]
        rows["keys_sha256"] = [f"{core:064x}".encode() for core in rows["core"]]
        buffer = io.BytesIO()
        with make_shard(buffer, provenance()) as file:
            write_tables(file, rows, {"strategy": STRATEGIES, "substrategy": ()})
        (folder / f"shard-{shard:05d}.h5").write_bytes(buffer.getvalue())


def made_up(seed: int, steps: int, keys: Sequence[str] = KEYS) -> tuple[GameData, dict[str, np.ndarray]]:
    """A game of random content, and its arrays by their names in a shard."""
    rng = np.random.default_rng(seed)
    arrays = {
        "actions": rng.integers(0, 121, steps).astype("u1"),
        "rewards": rng.integers(0, 9, steps).astype("<f4"),
        "dones": (np.arange(steps) == steps - 1).astype("u1"),
        "strategy": rng.integers(0, len(STRATEGIES), steps).astype("u1"),
        "substrategy": np.full(steps, 255, "u1"),
        "hihack_strategy": rng.integers(-1, 12, steps).astype("i1"),
    }
    frames, encoder = {}, ChunkEncoder()
    for key in keys:
        spec = OBSERVATIONS[key]
        arrays[f"obs/{key}"] = values = rng.integers(0, 80, (steps, *spec.shape)).astype(spec.dtype)
        length = min(spec.chunk_steps, steps) or 1
        frames[key] = [encoder.encode(pad_chunk(values[i : i + length], length)) for i in range(0, steps, length)]
    row = make_row(
        {
            "game": game_name(seed), "core": seed, "disp": seed, "lgen": -1, "clock": "seed", "start_time": 0,
            "character": "@", "role": "Val", "race": "Hum", "gender": "Fem", "alignment": "Neu", "steps": steps,
            "turns": steps, "score": 10 * seed, "max_depth": 1, "deepest_dungeon": "Dungeons of Doom",
            "experience_level": 1, "progression": 0.0, "end": "death", "cause": "made up", "completeness": "complete",
            "keys_sha256": hashlib.sha256(KEY_CODES[arrays["actions"]].tobytes()).hexdigest(), "frames_sha256": "",
            "origin": "played", "seconds": 1,
        }
    )  # fmt: skip
    data = GameData(
        row=row,
        frames=frames,
        **{name: array for name, array in arrays.items() if "/" not in name},
        strategy_codes=Vocabulary(STRATEGIES).codes,
        substrategy_codes=Vocabulary(nothing="none").codes,
        attributes={"xlogfile": f"points={10 * seed}\tname=Ågent"},
    )
    return data, arrays
