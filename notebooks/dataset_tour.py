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
# # From files to a batch
#
# Selecting, reading, streaming and exporting a dataset.

# %%
import tempfile
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers the Zstandard filter with h5py)
import pandas as pd

from strathack.analysis.film import Film
from strathack.dataset import Dataset, streams
from strathack.dataset.exporting import export_parquet

DATA = Path("data/games")

# %% [markdown]
# ## Selecting
# Opening reads the tables alone. `games` is a DataFrame, and a condition on its columns selects.

# %%
dataset = Dataset(DATA)
dataset.games[["game", "role", "steps", "turns", "score", "max_depth", "experience_level", "cause", "split"]]

# %%
[game.name for game in dataset.select("score > 800 and role != 'Kni'")]

# %% [markdown]
# ## Reading
# Arrays are read as they are indexed; row t is the observation, the action taken on it and what was being pursued.

# %%
game = dataset["game_4"]
print(f"{game.obs['tty_chars'].shape=}, {game.actions.dtype=}")
print(game.action_names(slice(300, 306)), game.strategy.names(slice(300, 306)))

# %%
film = Film(game)
print(film.title)
print("\n".join(film.screen(1200).lines))
print(f"{film.strategy_at(1200)} · {film.substrategy_at(1200)} · {film.action_at(1200)}")

# %% [markdown]
# Or with h5py and hdf5plugin alone:

# %%
with h5py.File(next(DATA.glob("*.h5"))) as file:
    print(dict(file.attrs.items())["demonstrator"], list(file["data"]))
    print(file["data/game_4/strategy"][300:306], h5py.check_enum_dtype(file["data/game_4/strategy"].dtype)["explore"])

# %% [markdown]
# ## Streaming
# Each lane walks games from start to end; `first` says where memory is to be reset.

# %%
with_screens = streams.unrolls(dataset, lanes=4, steps=32, epochs=1)
batch = next(with_screens)
with_screens.close()
pd.DataFrame({name: [values.shape, values.dtype] for name, values in batch.items()}, index=["shape", "type"]).T

# %%
batches = streams.unrolls(dataset, lanes=4, steps=64, epochs=1, observations=["blstats"])
frames = sum(int(batch["mask"].sum()) for batch in batches)
batches.close()
print(f"{frames:,} of {dataset.steps:,} steps came, each once")

# %% [markdown]
# As tensors, for Lightning: `strathack.dataset.datamodule.DemonstrationModule("data", lanes=128, steps=32)`.
#
# ## Exporting
# Tables of games and steps for pandas, DuckDB, Spark; `strathack dataset export` writes Minari datasets as well.

# %%
with tempfile.TemporaryDirectory() as folder:
    export_parquet(dataset.take([0]), Path(folder), on_game=lambda game: None)
    for path in sorted(Path(folder).glob("*.parquet")):
        print(path.name, pd.read_parquet(path).shape)
