"""Bytes a step of a collected dataset, array by array, compared with the same arrays compressed in other ways.

    python benchmarks/file_size.py DATA [--games 8]

The size "with glyphs and message" is the size of the same games with these two arrays added. For it, the games' keys
are replayed in the simulator at the recorded clock, and the digest of all frames is checked at the same time. The same
frames are also compressed with HDF5's own gzip and with plain Zstandard 9. The published HiHack files are measured if
the shared folder has them.
"""

from __future__ import annotations

import argparse
import bz2
import os
import zlib
from collections import Counter
from pathlib import Path

import h5py
import zstandard

from strathack.collect.playing.clock import DEFAULT_CLOCK, restart_under
from strathack.collect.playing.environment import Setup, challenge
from strathack.collect.playing.recorder import GameRecorder
from strathack.dataset.folder import DatasetFolder, StoredGame
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, OBSERVATIONS
from strathack.dataset.shard import open_shard

MORE = ("glyphs", "message")


def array_sizes(folder: DatasetFolder) -> Counter[str]:
    """Stored bytes by array, of chunks with their checksums; the remaining bytes of the files are ``metadata``."""
    sizes: Counter[str] = Counter()
    for path in folder.shards():
        with open_shard(path) as file:

            def add(name: str, item: h5py.HLObject) -> None:
                if isinstance(item, h5py.Dataset):
                    sizes[name.split("/", 2)[-1]] += item.id.get_storage_size()

            file.visititems(add)
            sizes["metadata"] += path.stat().st_size
    sizes["metadata"] -= sum(size for name, size in sizes.items() if name != "metadata")
    return sizes


def replay(game: StoredGame) -> dict[str, int]:
    """Replays a game's keys, checks the digest of the frames, and returns the bytes of the additional arrays."""
    with open_shard(game.shard) as file:
        actions = file[f"data/{game.name}/actions"][...]
    with challenge(Setup.of_seed(int(game.row["core"]), game.row["character"].decode(), fix_moon_phase=False)) as (
        env,
        observation,
    ):
        recorder = GameRecorder(observation, MORE)
        for action in actions.tolist():
            recorder.record(action, 0, 0, -1)
            env.step(action)
        recorder.finish()
    assert recorder.frames_sha256 == game.row["frames_sha256"].decode(), f"{game.name} came back with other frames"
    return {key: sum(map(len, chunks)) for key, chunks in recorder.chunks.items()}


def other_ways(game: StoredGame) -> Counter[str]:
    """Bytes of a game's default frames, raw and compressed with gzip 4 and plain Zstandard 9, in the same chunks."""
    sizes: Counter[str] = Counter()
    plain = zstandard.ZstdCompressor(level=9)
    with open_shard(game.shard) as file:
        for key in DEFAULT_OBSERVATIONS:
            frames, length = file[f"data/{game.name}/obs/{key}"], OBSERVATIONS[key].chunk_steps
            for start in range(0, len(frames), length):
                data = frames[start : start + length].tobytes()
                sizes["gzip 4"] += len(zlib.compress(data, 4))
                sizes["Zstandard 9"] += len(plain.compress(data))
                sizes["raw"] += len(data)
    return sizes


def published_size() -> float | None:
    """Bytes a step of the published files in the shared folder: compressed bytes divided by keypresses."""
    shared = Path(os.environ.get("STRATHACK_SHARED", Path(__file__).parents[2] / "shared"))
    files = list((shared / "fixtures" / "hihack").glob("*/*.ttyrec4.bz2"))
    size = steps = 0
    for path in files:
        data, at = bz2.BZ2Decompressor().decompress(path.read_bytes()), 0
        while at + 13 <= len(data):
            steps += data[at + 12] == 1
            at += 13 + int.from_bytes(data[at + 8 : at + 12], "little")
        size += path.stat().st_size
    return size / steps if steps else None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, nargs="?", default=Path("demo/data"))
    parser.add_argument("--games", type=int, default=8, help="games packed in other ways, which is slow")
    arguments = parser.parse_args()
    clock = DEFAULT_CLOCK
    if not clock.is_running():
        restart_under(clock)
    folder = DatasetFolder(arguments.data)
    games = folder.games()
    steps = int(sum(game.row["steps"] for game in games))
    sizes = array_sizes(folder)
    for name, size in sizes.most_common():
        print(f"{name:22s} {size / steps:7.3f} bytes a step")
    total = sum(sizes.values()) / steps
    print(f"{len(games)} games, {steps:,} steps: {total:.2f} bytes a step; the aim is 26")
    more: Counter[str] = Counter()
    for game in games:
        more.update(replay(game))
    with_more = total + sum(more.values()) / steps
    print(f"with {' and '.join(MORE)} {with_more:.2f}; the aim is 35. Every game replayed to the same frames.")
    others: Counter[str] = Counter()
    ours = 0
    for game in games[: arguments.games]:
        others.update(other_ways(game))
        with open_shard(game.shard) as file:
            ours += sum(file[f"data/{game.name}/obs/{key}"].id.get_storage_size() for key in DEFAULT_OBSERVATIONS)
    for name, size in others.items():
        print(f"frames of {min(arguments.games, len(games))} games, {name} / ours: {size / ours:.2f}")
    published = published_size()
    if published is not None:
        print(f"published HiHack files {published:.1f} bytes a step, / ours: {published / total:.2f}")


if __name__ == "__main__":
    main()
