"""The README.md of an export: what is in it, and the command that makes it."""

from __future__ import annotations

import shlex

from strathack.dataset import Dataset
from strathack.dataset.options import given
from strathack.text.options import ExportConfig

CARD = """\
---
task_categories:
- text-generation
tags:
- nethack
- imitation-learning
---

# NetHack games as text

{chunks:,} chunks of {steps} steps from {games} games: `{history}` history, dialect `{dialect}`,
strategies: {strategies}. Splits are by game. Made by strathack {version}:

    strathack text export {data} {out} {options}

{rows}
"""

ROWS = """\
Each row is a chunk of a game: its text (`{columns}`), and game, seed, role, first step, actions, strategies,
substrategies, the score so far and the dialect."""

RECORDS = """\
Each file below `records/` is a demonstration as BALROG reads them (`eval.icl_dataset=records`): observations, and the
action and the reward that led to each. Names tell when the game began, its seed, the demonstration's return, its
actions, and its first step in the game."""


TOLD_OPTIONS = (
    "select", "chunks", "steps", "seed", "dialect", "history", "layout", "strategies", "to", "rows_per_file",
)  # fmt: skip
"""Options that decide what an export holds, which its card tells where they are not the usual ones."""


def card_of(config: ExportConfig, dataset: Dataset, version: str, chunks: int) -> str:
    """Returns the text of an export's README.md.

    Args:
        config: The options.
        dataset: The games.
        version: The version of this package.
        chunks: How many chunks there are.
    """
    chosen = [(f"--{name.replace('_', '-')}", str(getattr(config, name))) for name in given(config, *TOLD_OPTIONS)]
    columns = "messages" if config.layout == "messages" else "prompt`, `completion"
    return CARD.format(
        chunks=chunks, steps=config.steps, games=len(dataset), history=config.history, dialect=config.dialect,
        strategies=config.strategies, version=version, data=config.data.name, out=config.out.name,
        options=shlex.join(word for words in chosen for word in words),
        rows=RECORDS if config.to == "balrog" else ROWS.format(columns=columns),
    )  # fmt: skip
