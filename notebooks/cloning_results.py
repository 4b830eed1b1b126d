# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: -all
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Cloning: what the hierarchy and its labels are worth
#
# Policies of 1.9 million parameters each, cloned for 20 million frames by `benchmarks/study.py`, from the same
# thousand games unless they are named by how many, that differ in one thing. `flat` has one action head. The others
# have a strategy head and an action head for each strategy: `published labels` has learned from the labels of the
# published rule, which mostly say "fight", `mixture` and `sampled` from the strategies that were running,
# `substrategies` from the routines within them; `sampled` takes one drawn strategy's head at each step instead of the
# sum over all, as in the paper. `inventory` sees what it carries, too. To see your own runs, name their folders
# below;
# `predictions` gives what a policy expects at each step of any games:
#
# ```python
# from strathack.models.predicting import predictions
# from strathack.models.saving import load_policy
#
# steps = predictions(load_policy(Path("run")), Dataset("data").select(split="validation"))
# ```

# %%
# %matplotlib inline
import json
from pathlib import Path

import pandas as pd

from strathack.analysis import plots
from strathack.dataset.labels import STRATEGIES

DATA = Path("data")
RUNS = ("published labels", "sampled")

metrics = {name: pd.read_csv(DATA / "runs" / name / "metrics.csv") for name in RUNS}
results = {name: json.loads((DATA / "runs" / name / "validation.json").read_text()) for name in RUNS}

# %% [markdown]
# ## What they predict, and how they play
# NLL in nats and accuracy are those of the first 8,000 steps of each game that none has learned from; `score` and what
# follows are of 128 games each, all on the same seeds, each to its end.

# %%
columns = ["variant", "seed", "nll", "accuracy", "score", "error", "median", "iqm", "iqm_low", "iqm_high", "depth"]
# Of runs that are in benchmarks/RESULTS.md alone.
earlier = [
    ("flat", 0, 0.449, 0.837, 554, 53, 345, 390, 314, 474, 1.06),
    ("mixture", 0, 0.475, 0.830, 401, 39, 271, 281, 224, 350, 1.08),
]
study = pd.concat([pd.DataFrame(earlier, columns=columns), pd.read_csv(DATA / "study/variants.csv")[columns]])
study.set_index(["variant", "seed"]).sort_index().round(3)

# %% [markdown]
# The hierarchies' NLL are alike, and the flat policy is ahead of all of them at this size and length, by 0.02 to 0.03
# nats. Over two seeds it plays as well as sampled strategies do (516 ± 36 and 511 ± 34 points), and better than the
# mixture (384 ± 25). Wrong labels cost nothing, in predicting actions as in points (465 ± 37): nearly all steps
# go to one head, which then learns from all of them, as the flat policy's does. Finer strategies give nothing.
#
# ## Is it games or frames that is short?
# 48 games, gone through fourteen times, are learned by heart, which the held-out NLL shows; what they teach is played
# as well as what all thousand do.

# %%
by_games = study[(study["seed"] == 0) & study["variant"].isin(["48 games", "250 games", "mixture"])]
by_games.assign(games=by_games["variant"].replace({"mixture": "all games"})).set_index("games")[columns[2:]].round(3)

# %% [markdown]
# ## Learning curves

# %%
beyond_the_first = {name: table[table["frames"] > 1e6] for name, table in metrics.items()}
plots.draw_curves(beyond_the_first, "frames", "train/action_nll", smooth=20)

# %% [markdown]
# ## Accuracy by strategy
# Where each policy's most likely action is the one that was taken, by the strategy that was running.

# %%
by_strategy = pd.read_csv(DATA / "study/by_strategy.csv").query("seed == 0")
accuracy = by_strategy.pivot(index="strategy", columns="variant", values="accuracy")[list(RUNS)]
ordered = [name for name in STRATEGIES if name in accuracy.index]
plots.draw_by_strategy(accuracy.loc[ordered], "accuracy of the action")

# %%
nll = by_strategy.pivot(index="strategy", columns="variant", values="nll")[list(RUNS)]
steps = by_strategy.groupby("strategy")["steps"].first()
nll.loc[ordered].assign(steps=steps).round(3)

# %% [markdown]
# True labels are ahead where a strategy has its own way to act (`fight`, `wait_out`), and behind where there are few
# steps to learn from (`inventory_eat`, `emergency`). What they give is the strategy itself.
#
# ## The strategy head
# Its confusions on held-out games, as shares of the steps that each strategy really had.

# %%
columns = ["strategy_nll", "strategy_accuracy", "majority", "macro_recall"]
pd.DataFrame({name: results[name] for name in RUNS}).T[columns]

# %%
confusion = pd.DataFrame(results["sampled"]["confusion"], index=STRATEGIES, columns=STRATEGIES)
seen = confusion.index[confusion.sum(axis=1) > 0]
plots.draw_confusion(confusion.loc[seen], "taken for")

# %% [markdown]
# What it sees while a game goes on: the probability of each strategy, above the one that it was.

# %%
beliefs = pd.read_parquet(DATA / "beliefs.parquet")
probabilities = (
    beliefs.set_index("step").filter(like="belief_").rename(columns=lambda name: name.removeprefix("belief_"))
)
plots.draw_beliefs(probabilities, beliefs["strategy"].tolist())

# %%
plots.draw_beliefs(probabilities.iloc[600:800], beliefs["strategy"].iloc[600:800].tolist())
