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
# # What AutoAscend pursues
#
# Shares of steps by strategy, how strategies follow each other and how long they last, what precedes a death; and
# the published HiHack labels against the strategies that were really running.

# %%
# %matplotlib inline
from pathlib import Path

from strathack.analysis import plots, steps
from strathack.analysis.opening import games_at

GAMES = Path("data/games")  # games with their screens
MANY = Path("data/many")  # more games, of which the bottom lines are kept

games = list(steps.read_steps(games_at(MANY)))
print(f"{len(games)} games, {sum(int(game.lengths.sum()) for game in games):,} steps")

# %% [markdown]
# ## Shares
# Most of a game is exploring. `recover` is what AutoAscend does after one of its assumptions failed: it looks at
# everything again before it starts over. The published names have none for it.

# %%
plots.draw_shares(steps.counts_by_game(games, "role"), "role")

# %%
plots.draw_shares(steps.counts_by(games, "depth"), "dungeon level")

# %%
plots.draw_shares(steps.counts_by(games, "experience_level"), "experience level")

# %% [markdown]
# The fewer hit points are left, the more of what it does is fighting; near death it prays or flees (`emergency`).

# %%
plots.draw_shares(steps.counts_by(games, "hit_points"), "hit points")

# %% [markdown]
# ## Over time

# %%
plots.draw_timelines(games[:12])

# %%
plots.draw_transitions(steps.transitions_of(games))

# %%
plots.draw_durations(steps.durations_of(games))

# %% [markdown]
# ## What precedes a death

# %%
plots.draw_before_death(*steps.before_death(games))

# %% [markdown]
# ## The published labels
# HiHack's rule says `fight` as soon as the condition of fighting is *tested*, which happens at nearly every step,
# and keeps its last word. So whatever runs, the published label is `fight`. Each row is a strategy that was really
# running; the games are those whose keys equal the published ones, and so do the labels by the published rule.

# %%
published = steps.published_against_true(games)
plots.draw_confusion(published)

# %%
true_share = published.sum(axis=1) / published.to_numpy().sum()
published_share = published.sum() / published.to_numpy().sum()
print(f"fight: {published_share['fight']:.1%} of the published labels, {true_share['fight']:.1%} of the steps")

# %% [markdown]
# The same on single published games:

# %%
for game in games_at(GAMES):
    said = game.hihack_strategy[:]
    really = game.strategy.names()
    print(f"{game.name:8}  published fight {(said == 1).mean():6.1%}   really {(really == 'fight').mean():6.1%}")
