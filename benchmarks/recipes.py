"""What fine-tuning by each recipe makes of a clone: how it plays, and what is kept of what it cloned.

    python benchmarks/recipes.py symbols-events-1k data/full recipes --only clone scratch hihack kickstart

A run of ``strathack finetune`` for each recipe, all from the same clone and for as many frames; of each, and of the
clone itself, the NLL of the first steps of the validation's games, and the games of ``strathack evaluate``, all on the
same seeds and acting in the same way. What is there already is not done again, and a run that was cut is resumed.
Writes recipes.csv in the folder of the runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from runs import score, strathack, trained

from strathack.analysis.scores import EVALUATION
from strathack.dataset import Dataset
from strathack.models.predicting import predictions
from strathack.models.saving import load_policy
from strathack.rl.recipes import RECIPES

CLONE, RUN, GAMES = "clone", "run", "games"
HELD_OUT_STEPS = 2000
"""Steps of each of the validation's games on which the policies are compared."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", help="the policy to begin with")
    parser.add_argument("data", type=Path, help="a dataset with what the policy observes, for cloning and for the NLL")
    parser.add_argument("out", type=Path, help="the folder of runs and evaluations")
    parser.add_argument("--only", nargs="+", choices=[CLONE, *RECIPES], default=[CLONE, *RECIPES])
    parser.add_argument("--frames", type=float, default=10e6)
    parser.add_argument("--games", type=int, default=128)
    options = parser.parse_args()
    held_out = Dataset(options.data).select(split="validation")
    for name in options.only:
        place = options.out / name
        policy = Path(options.clone) if name == CLONE else place / RUN
        if name != CLONE:
            fine_tune(name, policy, options)
        describe(place, policy, held_out)
        evaluate(place, policy, options.games)
        collect(options.out)


def fine_tune(recipe: str, run: Path, options: argparse.Namespace) -> None:
    """Trains by a recipe, or goes on with a run that was cut."""
    words: list[object] = [options.clone, "--recipe", recipe, "--device", "cpu", "--precision", "bf16"]
    words += ["--workers", 2, "--env-groups", 2, "--envs", 32]
    words += ["--imitation.demos", options.data] if recipe == "hihack" else []
    trained("finetune", run, words, ["--frames", round(options.frames)])


def describe(place: Path, policy: Path, held_out: Dataset) -> None:
    """Writes how likely the policy finds what the bot did."""
    if (place / "held_out.csv").exists():
        return
    steps = predictions(load_policy(policy), held_out, steps=HELD_OUT_STEPS)
    right = (steps["action"] == steps["likely"]).mean()
    table = pd.DataFrame([{"steps": len(steps), "nll": steps["nll"].mean(), "accuracy": right}])
    place.mkdir(parents=True, exist_ok=True)
    table.to_csv(place / "held_out.csv", index=False, float_format="%.5f")


def evaluate(place: Path, policy: Path, games: int) -> None:
    """Plays a policy's games; those that are there are not played again."""
    acting = ["--temperature", 0.6, "--patience", 50]
    size = ["--workers", 2, "--env-groups", 2, "--envs", 32]
    strathack("evaluate", policy, "--out", place / GAMES, "--games", games, *acting, *size)


def collect(out: Path) -> None:
    """Writes the table of all policies that have played."""
    rows = []
    for name in (CLONE, *RECIPES):
        place = out / name
        if not (place / GAMES / EVALUATION).exists():
            continue
        metrics = place / RUN / "metrics.csv"
        last = pd.read_csv(metrics).iloc[-1] if metrics.exists() else pd.Series({"frames": 0})
        told = {"recipe": name, "frames": last["frames"], "return": last.get("return/mean")}
        held_out = pd.read_csv(place / "held_out.csv").iloc[0]
        rows.append({**told, **held_out, **score(place / GAMES)})
    table = pd.DataFrame(rows)
    table.to_csv(out / "recipes.csv", index=False, float_format="%.4f")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"), flush=True)


if __name__ == "__main__":
    main()
