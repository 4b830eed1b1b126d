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
# # Any player: strategies for games that have none, and what looks like progress
#
# Most recorded games are not AutoAscend's, and say nothing of strategies. A labeller, which has learned from
# AutoAscend's screens alone, tells them; a model of progress, which needs neither keys nor rewards nor labels, tells
# how much later in a game one frame looks than another. `prepare_players.py` has put together what both say of a few
# games.

# %%
# %matplotlib inline
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from strathack.analysis.palette import colour_of, in_order

steps = pd.read_parquet(Path("data/players.parquet"))
games = {names: part.set_index("step") for names, part in steps.groupby(["player", "game"], sort=False)}
summary = steps.groupby(["player", "game"], sort=False).agg(
    steps=("step", "size"), turns=("turn", "max"), depth=("depth", "max"), level=("level", "max")
)
summary

# %% [markdown]
# ## What was pursued, as reported and as inferred
#
# The upper band of each game is what the player reported, where it did; the lower one is what the labeller infers. The
# line is how probable it finds that.


# %%
def band(axes, names, bottom, height):
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    for start, stop in zip(starts, np.r_[starts[1:], len(names)], strict=True):
        if names[start]:
            axes.broken_barh([(start, stop - start)], (bottom, height), color=colour_of(names[start]), linewidth=0)


shown = in_order(set(steps["inferred"]) | set(steps["strategy"]) - {""})
figure, rows = plt.subplots(len(games), 1, figsize=(11, 1.5 * len(games)), layout="constrained")
for axes, ((player, game), part) in zip(np.atleast_1d(rows), games.items(), strict=True):
    band(axes, part["strategy"].to_numpy(), 1.1, 0.9)
    band(axes, part["inferred"].to_numpy(), 0, 0.9)
    smooth = part["probability"].rolling(50, min_periods=1).mean()
    axes.plot(smooth.to_numpy() * 0.9, color="black", linewidth=0.5)
    axes.set(xlim=(0, len(part)), ylim=(0, 2), yticks=[0.45, 1.55], yticklabels=["inferred", "reported"])
    axes.set_title(f"{player}: {game}", loc="left", fontsize=9)
handles = [plt.Rectangle((0, 0), 1, 1, color=colour_of(name)) for name in shown]
figure.legend(handles, shown, ncols=7, loc="outside lower center", frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# Where AutoAscend has reported what it pursued, the two can be compared; and whether the labeller is less sure where it
# is wrong.

# %%
known = steps[steps["strategy"] != ""].assign(right=lambda table: table["strategy"] == table["inferred"])
by_strategy = known.groupby("strategy").agg(
    steps=("right", "size"), recall=("right", "mean"), probability=("probability", "mean")
)
by_strategy.sort_values("steps", ascending=False).round(3)

# %%
known.groupby("right")["probability"].describe()[["count", "mean", "25%", "50%", "75%"]].round(3)

# %% [markdown]
# ## The shares of strategies, by player

# %%
shares = steps.groupby("player", sort=False)["inferred"].value_counts(normalize=True).unstack(fill_value=0)
shares[[name for name in shown if name in shares]].round(3)

# %% [markdown]
# ## What looks like progress
#
# By how much a frame looks later than the game's first one, in log-steps, beside what it is; and the reward that
# `finetune --reward.progress` would give: by how much it looks later than the frame 32 steps before, log 33 = 3.5 if
# the model were always right.

# %%
figure, columns = plt.subplots(2, len(games), figsize=(3.2 * len(games), 5), sharey="row", layout="constrained")
for place, ((player, game), part) in enumerate(games.items()):
    upper, lower = columns[:, place]
    upper.plot(np.log1p(part.index), color="grey", label="log(1 + steps)")
    upper.plot(part["from_start"].rolling(20, min_periods=1).mean(), label="as it looks")
    for change in np.flatnonzero(np.diff(part["depth"].to_numpy()) > 0):
        upper.axvline(change + 1, color="tab:red", linewidth=0.5)
    lower.plot(part["progress"].rolling(100, min_periods=1).mean(), color="tab:green")
    lower.axhline(0, color="grey", linewidth=0.5)
    upper.set_title(f"{player}\n{game}", fontsize=8)
    lower.set(xlabel="step")
columns[0, 0].set(ylabel="later than the first frame")
columns[1, 0].set(ylabel="later than 32 steps before")
columns[0, 0].legend(frameon=False, fontsize=7)
plt.show()

# %% [markdown]
# Red lines are descents. After a thousand steps on the first level, little looks later still; what looks later by 32
# steps is mostly what was not seen before. By what was pursued:

# %%
steps.groupby("inferred")["progress"].agg(["mean", "count"]).sort_values("mean", ascending=False).round(3)
