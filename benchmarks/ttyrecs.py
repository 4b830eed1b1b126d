"""Has NLE replay a dataset's games and write ttyrec3 files of them, which NLE's own loader can read.

python benchmarks/ttyrecs.py DATA OUT [--select ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from strathack.collect.playing.clock import DEFAULT_CLOCK, restart_under
from strathack.collect.replaying.replay import Recording, replaying
from strathack.collect.running.workplace import Workplace
from strathack.dataset.keys import keys_only
from strathack.dataset.reading import Dataset


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--select")
    arguments = parser.parse_args()
    clock = DEFAULT_CLOCK
    if not clock.is_running():
        restart_under(clock)
    workplace = Workplace()
    for game in Dataset(arguments.data).select(arguments.select):
        folder = arguments.out / str(game.info["core"])
        folder.mkdir(parents=True)
        with replaying(Recording.of_game(keys_only(game)), (), ttyrecs=folder) as replay:
            for _ in range(len(replay)):
                replay.advance()
    workplace.close()


if __name__ == "__main__":
    main()
