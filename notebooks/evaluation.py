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
# # Evaluation: who is better, and where they die
#
# Every player plays the same seeds, each once and to its end, at a held clock (`strathack evaluate`); here are the 64
# that all of them have played. The tables are the `scores.parquet` of those evaluations.
#
# The players: the bot; `symbols-events-1k`, the best clone of its thousand games that comes with the repository, and
# what APPO, kept near that clone, made of it in ten million frames; a clone of 48 games; the clone of `make demo`,
# which trains for two minutes; and one that draws every action with the same probability.

# %%
# %matplotlib inline
# %config InlineBackend.figure_formats = ["svg"]
from pathlib import Path

import numpy as np
import pandas as pd
from rich import print as show

from strathack.analysis import plots
from strathack.analysis.comparing import PUBLISHED, common, compared
from strathack.analysis.scores import figure_of, summary_of
from strathack.analysis.tables import cells, summary_table

DATA = Path("data/evaluations")
PLAYERS = ("autoascend", "kickstarted", "clone of 1,000 games", "clone of 48 games", "demo clone", "random")
tables = {name: pd.read_parquet(DATA / name / "scores.parquet") for name in PLAYERS}
by_seed = common({name: table.set_index("core")["score"].astype(float).sort_index() for name, table in tables.items()})
tables = {name: table[table["core"].isin(by_seed[name].index)] for name, table in tables.items()}

# %% [markdown]
# ## Scores
# Mean ± standard error, median and interquartile mean with bootstrap intervals of 95 %.

# %%
told = {name: cells(figure_of(table["score"].to_numpy(np.float64)), 0) for name, table in tables.items()}
pd.DataFrame(told, index=["mean ± s.e.", "median (95 %)", "IQM (95 %)"]).T

# %%
scores = {name: table["score"].to_numpy(np.float64) for name, table in tables.items()}
plots.draw_distributions(scores, "score")

# %%
plots.draw_profiles(scores, "score")

# %% [markdown]
# Published figures, of other games, seeds and clocks, for orientation:

# %%
pd.DataFrame(PUBLISHED, index=["mean", "median"]).T

# %% [markdown]
# ## Comparisons
# The same seeds are compared one by one; the test is by permutation. Where it does not tell, the verdict says how many
# games each would have to play for such a difference to be seen.

# %%
rows = []
for first, second in [
    ("autoascend", "kickstarted"),
    ("kickstarted", "clone of 1,000 games"),
    ("clone of 1,000 games", "clone of 48 games"),
    ("clone of 48 games", "demo clone"),
    ("demo clone", "random"),
]:
    found = compared(by_seed[first], by_seed[second])
    difference = found.difference
    rows.append([first, second, difference.value, difference.low, difference.high, found.p, found.verdict])
pd.DataFrame(rows, columns=["player", "against", "difference", "from", "to", "p", "verdict"]).round(4)

# %% [markdown]
# ## BALROG progression
# How near to an ascension the best moment of a game was, by the levels reached.

# %%
plots.draw_distributions(
    {name: table["progression"].to_numpy(np.float64) for name, table in tables.items()}, "progression"
)

# %% [markdown]
# ## Where each agent's games end

# %%
plots.draw_ends(tables)

# %%
for name, table in tables.items():
    print(name)
    print(table["cause"].replace("", "cut by a limit").value_counts().head(5).to_string(header=False), end="\n\n")

# %%
show(summary_table(summary_of(tables["autoascend"])))
