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
# # Cloning: flat against hierarchical
#
# Two policies of equal size, cloned from the same 44 games for the same 5,000 steps of the optimiser, and held
# against four games that neither saw. To see your own runs, name their folders below; `predictions` gives what a
# policy expects at each step of any games:
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
RUNS = {"flat": DATA / "runs/flat", "hierarchical": DATA / "runs/hierarchical"}

metrics = {name: pd.read_csv(run / "metrics.csv") for name, run in RUNS.items()}
results = {name: json.loads((run / "validation.json").read_text()) for name, run in RUNS.items()}

# %% [markdown]
# ## Learning curves

# %%
plots.draw_curves(metrics, "frames", "train/action_nll", smooth=5)

# %%
plots.draw_curves(metrics, "frames", "validation/action_nll")

# %%
columns = ["steps", "action_nll", "accuracy", "top5", "strategy_nll", "strategy_accuracy", "majority", "macro_recall"]
pd.DataFrame(results).T[columns]

# %% [markdown]
# At this size and length the flat policy predicts actions better: the hierarchical one also has to learn 13 heads,
# most of which see few steps. What it has in return is the strategy.
#
# ## Accuracy by strategy
# Where each policy's most likely action is the one that was taken.

# %%
accuracy = pd.read_csv(DATA / "accuracy.csv").pivot(index="strategy", columns="run", values="accuracy")
ordered = [name for name in STRATEGIES if name in accuracy.index]
plots.draw_by_strategy(accuracy.loc[ordered], "accuracy of the action")

# %% [markdown]
# ## The strategy head
# Its confusions on held-out games, as shares of the steps that each strategy really had.

# %%
result = results["hierarchical"]
confusion = pd.DataFrame(result["confusion"], index=STRATEGIES, columns=STRATEGIES)
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
