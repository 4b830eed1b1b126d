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
# # Fine-tuning: return and retention
#
# First, what is forgotten: a clone of 48 games, fine-tuned for 250,000 frames with three recipes: reinforcement
# learning alone, with a loss on demonstrations, and kickstarted by the clone itself. Retention is how well the policy
# still predicts held-out demonstrations; it is measured every 80 updates. Then, what is gained: the clone of a
# thousand games, kickstarted for millions of frames.

# %%
# %matplotlib inline
from pathlib import Path

import pandas as pd

from strathack.analysis import plots
from strathack.analysis.comparing import common, compared

DATA = Path("data")
RUNS = {
    "nothing": DATA / "runs/nothing",
    "demonstrations": DATA / "runs/demonstrations",
    "kickstarting": DATA / "runs/kickstarting",
}
metrics = {name: pd.read_csv(run / "metrics.csv") for name, run in RUNS.items()}

# %% [markdown]
# ## Retention
# Without anything that keeps it, the cloned skill is lost from the first updates on.

# %%
plots.draw_curves(metrics, "frames", "validation/action_nll")

# %%
plots.draw_curves(metrics, "frames", "validation/strategy_accuracy")

# %% [markdown]
# ## Return
# 250,000 frames are far too few to tell the recipes apart by their return: published runs that do have thousands of
# times as many.

# %%
plots.draw_curves(metrics, "frames", "return/mean", smooth=3)

# %%
plots.draw_curves(metrics, "frames", "loss/entropy", smooth=3)

# %%
last = {
    name: {
        "NLL of held-out demonstrations": run["validation/action_nll"].dropna().iloc[-1],
        "strategy accuracy": run["validation/strategy_accuracy"].dropna().iloc[-1],
        "mean return": run["return/mean"].dropna().iloc[-1],
        "frames": int(run["frames"].dropna().iloc[-1]),
    }
    for name, run in metrics.items()
}
pd.DataFrame(last).T.astype({"frames": int}).round(3)

# %% [markdown]
# ## Millions of frames
# `symbols-flat-1k`, which comes with the repository, kickstarted on all characters: as the recipe is, for ten million
# frames; and with normalised advantages and a tenfold learning rate of the critic, for six million. The returns are
# of the last 100 games; while these runs learn, they draw from their own distributions, at temperature 1. Where games
# begin all at once, at first and where the longer run was interrupted (around a million frames), short ones end
# first.

# %%
LONG = {"as the recipe is": DATA / "runs/kickstarted", "advantages normalised": DATA / "runs/kickstarted, normalised"}
long = {name: pd.read_csv(run / "metrics.csv") for name, run in LONG.items()}
plots.draw_curves(long, "frames", "return/mean", smooth=5)

# %% [markdown]
# How far they are from the clone: the divergence that is weighed against the gain. As the recipe is, advantages are
# small numbers beside that weight, so that the policy hardly moves; normalised, it moves four times as far. Of
# held-out demonstrations (96,589 steps), the clone's NLL is 0.3754 nats, theirs 0.3755 and 0.3865.

# %%
plots.draw_curves(long, "frames", "loss/kickstart", smooth=5)

# %% [markdown]
# What that is worth, on the same 128 seeds, each game to its end, all acting at temperature 0.6 with patience 50:
# perhaps a fifth more points, which so few games do not tell from chance (on 256 seeds: 1,022 ± 73, 1,163 ± 85, 1,064
# ± 91). The published gains take hundreds of times as many frames.

# %%
PLAYERS = ("clone of 1,000 games", "kickstarted", "kickstarted, normalised")
tables = {name: pd.read_parquet(DATA / "evaluations" / name / "scores.parquet") for name in PLAYERS}
scores = common({name: table.set_index("core")["score"].astype(float) for name, table in tables.items()})
plots.draw_distributions({name: one.to_numpy() for name, one in scores.items()}, "score")

# %%
pairs = {f"{name} − clone": compared(scores[name], scores[PLAYERS[0]]) for name in PLAYERS[1:]}
pd.DataFrame(
    {name: [pair.difference.value, pair.difference.low, pair.difference.high, pair.p] for name, pair in pairs.items()},
    index=["difference", "from", "to", "p"],
).T.round(4)
