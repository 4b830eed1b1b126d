"""What pre-training and a reward for progress are worth where rewards are sparse: success over frames.

    python benchmarks/sparse.py pretrained sparse --env Depth-2 --seeds 0 1 2

Four variants of ``strathack finetune`` from fresh heads: from scratch, with the pre-trained encoder, with the progress
reward, and with both; PRETRAINED is a run of ``strathack pretrain``, whose encoder is trained further. What is there
already is not done again, and a run that was cut is resumed. The policies have the actions of NLE's own tasks, with
which a policy that has learned nothing now and then finds the stairs, and settings by which fresh weights learn.
Prints, for each variant, the share of games in which the task was done, over frames: the mean over seeds and its
standard error. The first part is left out: of the games that are begun together, the short ones end in it, and those
are the successful ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from nle import nethack
from nle.env.tasks import TASK_ACTIONS
from runs import trained

from strathack.dataset.actions import ACTION_NAMES

BINS = 8
"""Equal parts of the frames for which success is told."""

ACTIONS = [ACTION_NAMES[nethack.ACTIONS.index(action)] for action in TASK_ACTIONS]

VARIANTS = ("scratch", "encoder", "progress", "both")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pretrained", type=Path)
    parser.add_argument("out", type=Path, help="the folder of the runs")
    parser.add_argument("--env", default="Depth-2")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--frames", type=int, default=2_000_000)
    parser.add_argument("--weight", type=float, default=0.01, help="weight of the progress reward")
    parser.add_argument("--max-steps", type=int, default=2_000, help="steps after which a game is cut")
    options = parser.parse_args()
    for seed in options.seeds:
        for name in options.only:
            fine_tune(name, seed, options)
            tell(options)


def fine_tune(name: str, seed: int, options: argparse.Namespace) -> None:
    """Trains a variant, or goes on with one that was cut."""
    words: list[object] = [options.pretrained] if name in ("encoder", "both") else []
    if name in ("progress", "both"):
        words += ["--reward.progress", options.pretrained, "--reward.progress-weight", options.weight]
    words += ["--workers", 2, "--env-groups", 2, "--envs", 16, "--log-every", 10, "--precision", "bf16"]
    words += ["--env", options.env, "--game.max-steps", options.max_steps, "--recipe", "scratch"]
    words += ["--seed", seed, "--device", "cpu", "--game.actions", ",".join(ACTIONS)]
    words += ["--appo.learning-rate", 5e-4, "--appo.entropy", 0.003, "--appo.normalise-advantages"]
    trained("finetune", options.out / f"{name}-{seed}", words, ["--frames", options.frames])


def tell(options: argparse.Namespace) -> None:
    """Writes and prints success over frames, of all runs that are there."""
    rows = []
    for path in sorted(options.out.glob("*-*/metrics.csv")):
        name, _, seed = path.parent.name.rpartition("-")
        metrics = pd.read_csv(path)
        if "return/total" not in metrics:
            continue  # a run of an earlier release
        part = np.minimum((metrics["frames"] / options.frames * BINS).astype(int), BINS - 1)
        so_far = metrics.groupby(part)[["games", "return/total"]].last()
        within = so_far.diff().fillna(so_far)  # the games of the part itself, each of which gives 0 or 1
        means = within["return/total"] / within["games"]
        rows += [
            {"variant": name, "seed": int(seed), "part": place, "success": value}
            for place, value in means.items()
            if place > 0
        ]
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "success.csv", index=False, float_format="%.4f")
    by = table.groupby(["variant", "part"])["success"]
    shown = pd.DataFrame({"mean": by.mean(), "error": by.sem()}).unstack("part")
    print(shown.round(3).to_string(), flush=True)


if __name__ == "__main__":
    main()
