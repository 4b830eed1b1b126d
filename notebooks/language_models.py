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
# # Language models: games as text, and what a small model learns of them
#
# The best neural agent a sample in NetHack is a language model trained on *diff history*: an observation, then each
# action with what it changed. `strathack text export` writes any dataset so, with the strategy as a word where it
# changes.

# %%
# %matplotlib inline
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from strathack.collect.replaying.streaming import AnyFrames
from strathack.dataset import Dataset
from strathack.text.chunks import Labels, Recipe, make_describer, see
from strathack.text.history import ACTION, HISTORIES, STRATEGY

STEPS = 400
games = Dataset("../data/autoascend-1k").select("core in (1002, 1003, 1007, 1011)")


def told(game, history):
    """The first steps of a game as text: the first observation, and then each action with what it changed."""
    describer = make_describer(Recipe(history=history, steps=STEPS, strategies="tokens"), (0,))
    with AnyFrames(processes=1) as frames:
        see(game, frames, describer)
    (row,) = describer.rows(Labels.of(game))
    return row


rows = {history: [told(game, history) for game in games] for history in HISTORIES}

# %% [markdown]
# ## A game as text
# What a model sees first, and the next few steps of it.

# %%
row = rows["diff"][1]
print(row["prompt"].rstrip()[:1500])

# %%
print("\n".join(row["completion"].split("\n")[:40]))

# %% [markdown]
# ## What diffs save
# Most of an observation stays as it is: bytes of each step, as a diff and as a whole observation.


# %%
def bytes_of(row):
    return np.array([len(f"{ACTION}{step}".encode()) for step in row["completion"].split(ACTION)[1:-1]])


sizes = {history: np.concatenate([bytes_of(row) for row in rows[history]]) for history in HISTORIES}
figure, axes = plt.subplots(figsize=(7, 3))
for history, values in sizes.items():
    axes.hist(values, bins=np.logspace(1, 4, 60), histtype="step", label=f"{history}: {values.mean():,.0f} on average")
axes.set(xscale="log", xlabel="bytes a step", ylabel="steps")
axes.legend()
plt.show()

# %% [markdown]
# ## What the strategies add
# Where the strategy changes, it is told before the action. That happens seldom, so the hierarchy costs next to nothing.

# %%
changes = pd.DataFrame({
    "steps": [len(row["strategies"]) for row in rows["diff"]],
    "strategy told": [row["completion"].count(STRATEGY) for row in rows["diff"]],
    "bytes": [len(row["completion"].encode()) for row in rows["diff"]],
}, index=[row["game"] for row in rows["diff"]])  # fmt: skip
changes["share of bytes"] = changes["strategy told"] * len(f"{STRATEGY}explore\n") / changes["bytes"]
changes.style.format({"share of bytes": "{:.2%}"})

# %% [markdown]
# ## A tiny model's loss by strategy
# A GPT-2 of some 4 M parameters (`--model tiny`) learned for 15 minutes on two cores from 40 games, once without
# strategies and once with them as tokens. What it pays on games that it has not seen, in nats a step, by what the bot
# pursues; `strategy` is the price of saying what is pursued where that changes and at a chunk's start, spread over all
# steps. The second made 1,315 steps in its 15 minutes and the first 896, since other work ran beside them: the two do
# not tell what strategies are worth, but what a model pays for them.

# %%
losses = pd.read_csv(Path("data/language.csv"))
losses["nats a step"] = losses["nats"] / losses.groupby(["model", "strategy"])["steps"].transform("max")
table = losses.pivot_table(index="strategy", columns=["model", "part"], values="nats a step")
steps = losses[losses["part"] == "action"].groupby("strategy")["steps"].max().sort_values(ascending=False)
table.loc[steps[steps >= 50].index].plot.barh(figsize=(7, 4), xlabel="nats a step", ylabel="")
plt.gca().invert_yaxis()
plt.show()

# %%
totals = losses.groupby(["model", "part"])[["nats", "tokens"]].sum()
totals["nats a token"] = totals["nats"] / totals["tokens"]
totals.round(3)
