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
# # Fine-tuning: what is won, and what is forgotten
#
# `symbols-events-1k`, the best clone that comes with the repository, is fine-tuned by APPO for ten million frames with
# each recipe: by reinforcement learning alone (`scratch`), kept near the clone's own distribution (`kickstart`), and
# with a loss on the bot's games (`hihack`, as in the paper). The runs are those of `benchmarks/recipes.py`.

# %%
# %matplotlib inline
# %config InlineBackend.figure_formats = ["svg"]
from pathlib import Path

import pandas as pd

from strathack.analysis import plots
from strathack.analysis.comparing import common, compared

DATA = Path("data")
RECIPES = ("scratch", "kickstart", "hihack")
metrics = {name: pd.read_csv(DATA / "recipes" / name / "metrics.csv") for name in RECIPES}

# %% [markdown]
# ## Return
# The score's change over a game, of the last 100 games that ended; while they learn, policies draw from their own
# distributions, at temperature 1. All games begin at once, so that at first short ones end: returns rise until the
# long ones have come to their ends.

# %%
plots.draw_curves(metrics, "frames", "return/mean", smooth=5)

# %% [markdown]
# ## Entropy
# By reinforcement learning alone, the distribution over actions comes apart: its entropy rises from 0.37 nats to 1.9.
# Kept near the clone, or near the bot's games, it stays where cloning left it, and the returns keep what they have won.

# %%
plots.draw_curves(metrics, "frames", "loss/entropy", smooth=5)

# %% [markdown]
# ## What is kept, and how they play
# NLL and accuracy on the first 2,000 steps of each of the validation's games, of which no recipe has seen any; the
# games of seeds 100000 to 100127, each to its end, all acting at temperature 0.6 with patience 50.

# %%
table = pd.read_csv(DATA / "recipes/recipes.csv").set_index("recipe")
columns = ["nll", "accuracy", "return", "score", "error", "median", "iqm", "iqm_low", "iqm_high", "turns"]
table[columns].round({"nll": 3, "accuracy": 3} | dict.fromkeys(columns[2:], 0))

# %%
PLAYERS = ("clone", *RECIPES)
games = {name: pd.read_parquet(DATA / "recipes" / name / "scores.parquet") for name in PLAYERS}
scores = common({name: table.set_index("core")["score"].astype(float) for name, table in games.items()})
plots.draw_distributions({name: one.to_numpy() for name, one in scores.items()}, "score")

# %% [markdown]
# Seed by seed against the clone:

# %%
pairs = {f"{name} − clone": compared(scores[name], scores["clone"]) for name in RECIPES}
pd.DataFrame(
    {name: [pair.difference.value, pair.difference.low, pair.difference.high, pair.p] for name, pair in pairs.items()},
    index=["difference", "from", "to", "p"],
).T.round({"difference": 0, "from": 0, "to": 0, "p": 4})

# %% [markdown]
# Alone, APPO unlearns what was cloned, and plays to a sixth of the clone's score. Kickstarted, the policy stays the
# clone on held-out games, and scores 144 points more, which 128 games do not tell from chance (some two thousand
# would). With a loss on demonstrations it scores 190 fewer, no more certain. In ten million frames, a thirty-sixth of
# what the clone has learned from, recipes differ in what they keep; what they gain is for longer runs to show.

# %% [markdown]
# ## How fast it goes
# Another clone, of 48 games, fine-tuned for 250,000 frames, with its NLL on held-out demonstrations after every 80
# updates: without anything that keeps it, the cloned skill is lost from the first updates on.

# %%
EARLY = ("nothing", "demonstrations", "kickstarting")
early = {name: pd.read_csv(DATA / "runs" / name / "metrics.csv") for name in EARLY}
plots.draw_curves(early, "frames", "validation/action_nll")
