"""What the hierarchy, its labels, more games and rewards are worth: policies that differ in one thing, at equal frames.

    python benchmarks/study.py data/full study --seeds 0 1 --only flat mixture "published labels" sampled substrategies
    python benchmarks/study.py data/full offline --seeds 0 1 --frames 5e6 --only flat awac iql cql rem

For each variant and each seed: a run of ``strathack train``, its NLL and its accuracy by the strategy pursued on the
first steps of the validation's games, and the games of ``strathack evaluate``. What is there already is not done again,
and a run that was cut is resumed. Writes variants.csv and by_strategy.csv in the study's folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from strathack.analysis.scores import EVALUATION, SCORES, summary_of
from strathack.dataset import Dataset
from strathack.models.cleaved import AnyPolicy
from strathack.models.predicting import predictions
from strathack.models.saving import load_policy

LANES, UNROLL = 32, 32
HELD_OUT_STEPS = 8000
"""Steps of each of the validation's games on which the clones are compared."""


@dataclass(frozen=True)
class Variant:
    """What is special to a clone.

    Attributes:
        changes: Fields of the policy that differ from those of ``symbols-small``. The units of the action heads are
            such that all variants have 3.0 to 3.2 million parameters.
        select: The games to learn from, by a condition.
        algorithm: How it learns.
        acting: How it acts.
    """

    changes: str = ""
    select: str = ""
    algorithm: str = "bc"
    acting: tuple[object, ...] = ("--temperature", 0.8, "--patience", 50)


_FLAT = "heads.kind=flat; heads.hidden=[620]; heads.offered=true"
_GREEDY = ("--greedy",)


VARIANTS = {
    "mixture": Variant(),
    "flat": Variant(_FLAT),
    "published labels": Variant("heads.label=hihack_strategy; heads.hidden=52"),
    "substrategies": Variant("heads.label=substrategy; heads.hidden=22"),
    "sampled": Variant("heads.combine=sampled"),
    "48 games": Variant(select="core < 1060"),
    "250 games": Variant(select="core < 1312"),
    "inventory": Variant("encoder.inventory=64"),
    "awac": Variant(_FLAT, algorithm="awac"),
    "iql": Variant(_FLAT, algorithm="iql"),
    "cql": Variant(_FLAT, algorithm="cql", acting=_GREEDY),
    "rem": Variant(_FLAT, algorithm="rem", acting=_GREEDY),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a dataset with screens")
    parser.add_argument("out", type=Path, help="the folder of runs and evaluations")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--frames", type=float, default=20e6)
    parser.add_argument("--games", type=int, default=128)
    parser.add_argument("--devices", type=int, default=1, help="processes of a run")
    options = parser.parse_args()
    held_out = Dataset(options.data).select(split="validation")
    for seed in options.seeds:
        for name in options.only:
            place = options.out / f"{name.replace(' ', '-')}-{seed}"
            clone(VARIANTS[name], seed, place / "run", options)
            describe(place, name, seed, held_out)
            evaluate(VARIANTS[name], place, options.games)
            collect(options.out)


def clone(variant: Variant, seed: int, run: Path, options: argparse.Namespace) -> None:
    """Trains a clone, or goes on with one that was cut."""
    if (run / "validation.json").exists():
        return
    if (run / "options.json").exists():
        strathack("train", "--resume", run)
        return
    steps = round(options.frames / (LANES * UNROLL))
    shape = ["--lanes", LANES // options.devices, "--unroll", UNROLL, "--device", "cpu", "--devices", options.devices]
    chosen = ["--set", variant.changes] if variant.changes else []
    chosen += ["--select", variant.select] if variant.select else []
    chosen += ["--algorithm", variant.algorithm]
    pace = ["--steps", steps, "--validate-every", steps, "--validation-batches", 20]
    strathack("train", options.data, "--out", run, "--seed", seed, *pace, *shape, *chosen)


def describe(place: Path, name: str, seed: int, held_out: Dataset) -> None:
    """Writes what a clone has learned, over all held-out steps and by the strategy that was pursued."""
    if (place / "by_strategy.csv").exists():
        return
    policy = load_policy(place / "run")
    steps = predictions(policy, held_out, steps=HELD_OUT_STEPS)
    steps = steps.assign(right=steps["action"] == steps["likely"])
    means = {"steps": ("step", "size"), "accuracy": ("right", "mean"), "nll": ("nll", "mean")}
    by_strategy = steps.groupby("strategy").agg(**means).reset_index()
    everything = {"strategy": "all", "steps": len(steps), "accuracy": steps["right"].mean(), "nll": steps["nll"].mean()}
    table = pd.concat([pd.DataFrame([everything]), by_strategy]).assign(
        variant=name, seed=seed, parameters=parameters(policy)
    )
    table.to_csv(place / "by_strategy.csv", index=False, float_format="%.5f")


def parameters(policy: AnyPolicy) -> int:
    """Returns how many parameters a policy has."""
    return sum(one.numel() for one in policy.parameters())


def evaluate(variant: Variant, place: Path, games: int) -> None:
    """Plays a clone's games; those that are there are not played again."""
    size = ["--workers", 2, "--env-groups", 2, "--envs", 16]
    strathack("evaluate", place / "run", "--out", place / "evaluation", "--games", games, *variant.acting, *size)


def collect(out: Path) -> None:
    """Writes the tables of all clones that are there."""
    places = sorted(path.parents[1] for path in out.glob(f"*/evaluation/{EVALUATION}"))
    by_strategy = pd.concat([pd.read_csv(place / "by_strategy.csv") for place in places])
    by_strategy.to_csv(out / "by_strategy.csv", index=False, float_format="%.5f")
    overall = by_strategy[by_strategy["strategy"] == "all"].drop(columns=["strategy", "steps"])
    scores = pd.DataFrame([score(place) for place in places], index=overall.index)
    table = pd.concat([overall, scores], axis=1).sort_values(["variant", "seed"])
    table.to_csv(out / "variants.csv", index=False, float_format="%.4f")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"), flush=True)


def score(place: Path) -> dict[str, float]:
    """Returns what a clone's games came to."""
    summary = summary_of(pd.read_parquet(place / "evaluation" / SCORES))
    figure = summary.figures["score"]
    middle = figure.interquartile_mean
    return {
        "score": figure.mean.value, "error": figure.standard_error, "median": figure.median.value,
        "iqm": middle.value, "iqm_low": middle.low, "iqm_high": middle.high,
        "depth": summary.figures["max_depth"].mean.value, "turns": summary.figures["turns"].mean.value,
        "limited": summary.limited,
    }  # fmt: skip


def strathack(*words: object) -> None:
    """Runs a command of this package."""
    subprocess.run([sys.executable, "-m", "strathack", *map(str, words), "--quiet"], check=True)


if __name__ == "__main__":
    main()
