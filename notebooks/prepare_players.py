"""Makes data/players.parquet of the notebook any_player: labels and progress along games of several players.

    python notebooks/prepare_players.py --labeller LABELLER --pretrained PRETRAINED PLAYER=DATA=GAME...

DATA is a dataset with screens, GAME the name of a game in it. Where nothing was reported, the strategy is empty.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from strathack.dataset import Dataset
from strathack.dataset.schema import BLStat
from strathack.models.labelling.applying import inferred
from strathack.models.labelling.labeller import load_labeller
from strathack.models.pretraining.measuring import progress_along
from strathack.models.pretraining.networks import load_progress

HERE = Path(__file__).parent
LAG = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("games", nargs="+", metavar="PLAYER=DATA=GAME")
    parser.add_argument("--labeller", type=Path, required=True)
    parser.add_argument("--pretrained", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8000, help="steps of a game that are kept")
    parser.add_argument("--out", type=Path, default=HERE / "data" / "players.parquet")
    options = parser.parse_args()
    labeller, progress = load_labeller(options.labeller), load_progress(options.pretrained)
    names = np.array(labeller.config.names, dtype=object)
    tables = []
    for named in options.games:
        player, data, name = named.split("=")
        dataset = Dataset(data)
        game = dataset.take([dataset.names.index(name)])
        (labels,) = inferred(labeller, game, 1, 64)
        since, first = progress_along(progress, game, LAG)
        known = "blstats" in game.observations  # human games are screens alone
        lines = game[0].obs["blstats"][:] if known else np.full((len(game[0]), len(BLStat)), -1)
        table = pd.DataFrame(
            {
                "player": player,
                "game": f"{game[0].info['role']} {game[0].info['core']}",
                "step": np.arange(len(game[0])),
                "strategy": np.where(game[0].strategy[:] == 255, "", game[0].strategy.names(slice(None))),
                "inferred": names[labels.names],
                "probability": labels.probability.astype(np.float32),
                "progress": since.astype(np.float32),
                "from_start": first.astype(np.float32),
                "depth": lines[:, BLStat.DEPTH],
                "level": lines[:, BLStat.XP],
                "turn": lines[:, BLStat.TIME],
            }
        )
        tables.append(table.iloc[: options.steps])
    pd.concat(tables).round({"probability": 3, "progress": 3, "from_start": 3}).to_parquet(
        options.out, compression="zstd", index=False
    )


if __name__ == "__main__":
    main()
