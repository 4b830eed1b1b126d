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
# One cloned policy, fine-tuned for 250,000 frames with three recipes: reinforcement learning alone, with a loss on
# demonstrations, and kickstarted by the clone itself. Retention is how well the policy still predicts held-out
# demonstrations; it is measured every 80 updates.

# %%
# %matplotlib inline
from pathlib import Path

import pandas as pd

from strathack.analysis import plots

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
