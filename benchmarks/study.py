"""What the hierarchy, its labels, more games and rewards are worth: policies that differ in one thing, at equal frames.

    python benchmarks/study.py data/full study --seeds 0 1 --only flat mixture "published labels" sampled substrategies
    python benchmarks/study.py labelled study --seeds 0 1 --only "inferred labels"     # by strathack label apply
    python benchmarks/study.py data/full offline --seeds 0 1 --frames 5e6 --only flat awac iql cql rem --greedy

For each variant and each seed: a run of ``strathack train``, its NLL and its accuracy by the strategy pursued on the
first steps of the validation's games, and the games of ``strathack evaluate``, in which all act in the same way. What
is there already is not done again, and a run that was cut is resumed. Writes variants.csv and by_strategy.csv in the
study's folder.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from runs import score, strathack, trained

from strathack.analysis.scores import EVALUATION
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
            such that all variants have 1.8 to 2.0 million parameters.
        select: The games to learn from, by a condition.
        algorithm: How it learns.
    """

    changes: str = ""
    select: str = ""
    algorithm: str = "bc"

    @property
    def gives_values(self) -> bool:
        """Whether its logits are values, by the largest of which it acts, and no likelihoods."""
        return self.algorithm in ("cql", "rem")


_FLAT = "heads.kind=flat; heads.hidden=[620]; heads.offered=true"

VARIANTS = {
    "mixture": Variant(),
    "flat": Variant(_FLAT),
    "published labels": Variant("heads.label=hihack_strategy; heads.hidden=52"),
    "inferred labels": Variant("heads.label=strategy_inferred"),
    "substrategies": Variant("heads.label=substrategy; heads.hidden=22"),
    "sampled": Variant("heads.combine=sampled"),
    "48 games": Variant(select="core < 1060"),
    "250 games": Variant(select="core < 1312"),
    "inventory": Variant("encoder.inventory=64"),
    "awac": Variant(_FLAT, algorithm="awac"),
    "iql": Variant(_FLAT, algorithm="iql"),
    "cql": Variant(_FLAT, algorithm="cql"),
    "rem": Variant(_FLAT, algorithm="rem"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a dataset with screens")
    parser.add_argument("out", type=Path, help="the folder of runs and evaluations")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--frames", type=float, default=20e6)
    parser.add_argument("--games", type=int, default=128)
    parser.add_argument("--devices", type=int, default=1, help="processes of a run")
    parser.add_argument("--greedy", action="store_true", help="all take the likeliest action, instead of drawing one")
    options = parser.parse_args()
    if not options.greedy and any(VARIANTS[name].gives_values for name in options.only):
        parser.error("cql and rem act by the largest value alone, so that all have to act so: --greedy")
    held_out = Dataset(options.data).select(split="validation")
    for seed in options.seeds:
        for name in options.only:
            place = options.out / f"{name.replace(' ', '-')}-{seed}"
            clone(VARIANTS[name], seed, place / "run", options)
            describe(place, name, seed, held_out)
            evaluate(place, options)
            collect(options)


def clone(variant: Variant, seed: int, run: Path, options: argparse.Namespace) -> None:
    """Trains a clone, or goes on with one that was cut."""
    steps = round(options.frames / (LANES * UNROLL))
    words: list[object] = [options.data, "--seed", seed, "--algorithm", variant.algorithm]
    words += ["--lanes", LANES // options.devices, "--unroll", UNROLL, "--device", "cpu", "--devices", options.devices]
    words += ["--set", variant.changes] if variant.changes else []
    words += ["--select", variant.select] if variant.select else []
    words += ["--validate-every", steps, "--validation-batches", 20]
    trained("train", run, words, ["--steps", steps])


def describe(place: Path, name: str, seed: int, held_out: Dataset) -> None:
    """Writes what a clone has learned, over all held-out steps and by the strategy that was pursued."""
    if (place / "by_strategy.csv").exists():
        return
    policy = load_policy(place / "run")
    steps = predictions(policy, held_out, steps=HELD_OUT_STEPS)
    if VARIANTS[name].gives_values:
        steps["nll"] = float("nan")
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


def evaluation_of(place: Path, options: argparse.Namespace) -> Path:
    """Returns the folder of a clone's games."""
    return place / ("greedy" if options.greedy else "evaluation")


def evaluate(place: Path, options: argparse.Namespace) -> None:
    """Plays a clone's games; those that are there are not played again."""
    acting = ["--greedy"] if options.greedy else ["--temperature", 0.8, "--patience", 50]
    size = ["--workers", 2, "--env-groups", 2, "--envs", 16]
    out = evaluation_of(place, options)
    strathack("evaluate", place / "run", "--out", out, "--games", options.games, *acting, *size)


def collect(options: argparse.Namespace) -> None:
    """Writes the tables of all clones that are there and have played in this way."""
    out = options.out
    places = sorted(place for place in out.iterdir() if (evaluation_of(place, options) / EVALUATION).exists())
    by_strategy = pd.concat([pd.read_csv(place / "by_strategy.csv") for place in places])
    by_strategy.to_csv(out / "by_strategy.csv", index=False, float_format="%.5f")
    overall = by_strategy[by_strategy["strategy"] == "all"].drop(columns=["strategy", "steps"])
    scores = pd.DataFrame([score(evaluation_of(place, options)) for place in places], index=overall.index)
    table = pd.concat([overall, scores], axis=1).sort_values(["variant", "seed"])
    table.to_csv(out / "variants.csv", index=False, float_format="%.4f")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"), flush=True)


if __name__ == "__main__":
    main()
