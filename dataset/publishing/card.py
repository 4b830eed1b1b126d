"""A dataset's card: README.md as the Hugging Face hub reads it, a YAML head and what people read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from strathack.dataset.publishing.layout import Files, part_pattern
from strathack.dataset.publishing.statistics import Statistics
from strathack.dataset.reading import Dataset
from strathack.dataset.remote.addresses import without_secrets
from strathack.dataset.schema import OBSERVATIONS

SIZES: Sequence[tuple[int, str]] = (
    (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"), (10**11, "10B<n<100B"),
    (10**12, "100B<n<1T"),
)  # fmt: skip
"""The hub's categories of size, by the number of rows below which each holds."""

TAGS = ("nethack", "nle", "imitation-learning", "offline-rl", "hierarchical", "strategies", "strathack")

COLUMNS: Mapping[str, str] = {
    "game": "name of the game, as in the table of games",
    "step": "number of the step in its game, from 0",
    "actions": "name of the key that was pressed on what is seen at this step; a name of `nle.nethack.ACTIONS`",
    "rewards": "points that followed; empty where only keys are stored, NaN where a recording does not tell them",
    "dones": "1 at a game's last step",
    "strategy": "what the demonstrator was pursuing when it acted",
    "substrategy": "the innermost routine that it had announced",
    "hihack_strategy": "ordinal that the rule of the labels published with HiHack gives; −1 where there is none",
    "strategy_inferred": "strategy that a labeller infers from the steps around",
    "strategy_inferred_probability": "how probable the labeller finds it",
    "substrategy_inferred": "substrategy that a labeller infers",
    "substrategy_inferred_probability": "how probable the labeller finds it",
    "screen": "the terminal, 24 lines of 80 characters",
}
"""What each column of the table of steps holds."""

_BODY = Path(__file__).with_name("card.md")
"""The text that people read, with places for what is computed."""

_ELSEWHERE = re.compile(r"(?<![\w./:])~?/(?:[^\s/'\"]+/)+")
"""Matches the folders of an absolute path."""


@dataclass(frozen=True)
class About:
    """What a dataset's publisher says of it.

    Attributes:
        name: Its name.
        license: An identifier of the hub's list of licences, such as ``mit``.
        author: Who publishes it.
        address: Where it is to be found; empty if that is not known yet.
        notes: Markdown of the publisher's own, for the card.
    """

    name: str
    license: str
    author: str
    address: str
    notes: str


def size_category(rows: int) -> str:
    """Returns the hub's name for the size of a dataset with so many rows."""
    return next((name for most, name in SIZES if rows < most), "n>1T")


def head_of(dataset: Dataset, about: About, files: Files) -> dict[str, Any]:
    """Returns the values of the card's YAML head."""
    return {
        "pretty_name": about.name,
        "license": about.license,
        "language": ["en"],
        "size_categories": [size_category(dataset.steps)],
        "task_categories": ["reinforcement-learning"],
        "tags": list(TAGS),
        "configs": [
            {
                "config_name": config,
                **({"default": True} if config == "games" else {}),
                "data_files": [{"split": split, "path": part_pattern(config, split)} for split in files.splits],
            }
            for config in ("games", "steps")
        ],
    }


def card_of(dataset: Dataset, statistics: Statistics, about: About, files: Files) -> str:
    """Returns the text of a dataset's card.

    Args:
        dataset: The games that are published.
        statistics: What is counted of them.
        about: What the publisher says.
        files: What is in the folder.
    """
    provenance = [tables.provenance for tables in dataset.tables]
    labelled = bool(statistics.steps.any())
    versions = ", ".join(sorted({one.nle_version for one in provenance if one.nle_version}))
    head = yaml.safe_dump(head_of(dataset, about, files), sort_keys=False, allow_unicode=True)
    demonstrators = sorted({one.played_by for one in provenance})
    body = Template(_BODY.read_text()).substitute(
        name=about.name,
        games=f"{len(dataset):,}",
        steps=f"{dataset.steps:,}",
        demonstrators=", ".join(demonstrators) or "unknown players",
        labels=", each step with the **strategy** that the player was pursuing" if labelled else ", without strategies",
        made=f"strathack and NLE {versions}" if versions else "strathack",
        split=files.splits[0],
        first=dataset.names[0],
        shard=files.shards[0],
        shards=_shards_told(dataset, len(files.shards)),
        columns="\n".join(f"| `{name}` | {COLUMNS[name]} |" for name in files.columns),
        where=about.address or "path/to/this/folder",
        load=f'"hf://datasets/{about.address}"' if about.address else '"path/to/this/folder"',
        commands="\n".join(f"    $ {line}" for line in _commands(dataset)),
        options="\n".join(f"    {line}" for line in _options_told(dataset)),
        clocks=", ".join(sorted({f"`{clock}`" for clock in statistics.games["clock"].unique() if clock})) or "unknown",
        by_role=statistics.by_role(),
        strategies=_strategies_told(statistics) if labelled else "No step has one.",
        ends=statistics.ends(),
        faults="\n".join(f"- {fault}" for fault in statistics.faults()) or "- Nothing that its own numbers show.",
        notes=f"\n## From the publisher\n\n{about.notes.strip()}\n" if about.notes.strip() else "",
        license=about.license,
        author=about.author,
    )
    return f"---\n{head}---\n\n{body}"


def _strategies_told(statistics: Statistics) -> str:
    return f"{statistics.shares()}\n\nBy role, shares of all steps:\n\n{statistics.shares_by_role()}"


def _shards_told(dataset: Dataset, count: int) -> str:
    if not dataset.observations:
        return (
            f"`*.h5`: {count} files of strathack's HDF5 format with keys and labels alone, half a byte a step. "
            "Seed, clock and keys determine a game: `strathack dataset expand` plays the keys again, gives back every "
            "observation, and compares digests of all frames."
        )
    shown = ", ".join(f"`{key}` {list(OBSERVATIONS[key].shape)}" for key in dataset.observations)
    return f"`*.h5`: {count} files of strathack's HDF5 format, with the observations {shown} of every step."


def _commands(dataset: Dataset) -> list[str]:
    """Returns the commands that made the games, without the places where they were on the maker's disk."""
    lines = {line for tables in dataset.tables for line in tables.provenance.command.split("\n") if line}
    lines = {without_secrets(line.replace("__main__.py ", "strathack ")) for line in lines}
    return sorted({_ELSEWHERE.sub("", line) for line in lines})


def _options_told(dataset: Dataset) -> list[str]:
    """Returns the settings of the games, one line for each that differs."""
    options = (tables.provenance.settings for tables in dataset.tables)
    return sorted({json.dumps(one, sort_keys=True) for one in options})
