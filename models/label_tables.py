"""Tables from a dataset's codes to a policy's indices, and checks that dataset and policy fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strathack.dataset import Dataset
from strathack.dataset.errors import InputError
from strathack.dataset.labels import PUBLISHED_STRATEGIES, count_by_name
from strathack.dataset.progress import progress
from strathack.models.cleaved import AnyConfig, CleavedConfig
from strathack.models.losses import action_table, strategy_table

GAMES_COUNTED = 512
"""The largest number of games of the train split whose steps are counted by strategy."""


@dataclass(frozen=True)
class LabelTables:
    """Tables from a dataset's codes to a policy's indices; see :mod:`strathack.models.losses`.

    Attributes:
        actions: i64 [256].
        strategies: i64 [256]; None for a flat policy.
        label: The label's name; None for a flat policy.
        class_weights: A weight for each strategy, f32; None for equal ones.
    """

    actions: np.ndarray
    strategies: np.ndarray | None = None
    label: str | None = None
    class_weights: np.ndarray | None = None


def check_observations(observations: Sequence[str], dataset: Dataset, path: Path, who: str = "the policy") -> None:
    """Checks that a dataset has the observations that a model needs, or can be replayed.

    Args:
        observations: Observation keys.
        dataset: The games.
        path: The dataset's path, for error messages.
        who: The model, for error messages.

    Raises:
        InputError: If it does not; the message names the path.
    """
    missing = [key for key in observations if key not in dataset.observations]
    if missing and not dataset.shows_by_replay:
        have = ", ".join(dataset.observations) or "none, only keys (strathack dataset expand replays them)"
        raise InputError(f"{path}: {who} needs {', '.join(missing)}; the dataset has {have}")


def dataset_names(dataset: Dataset, label: str) -> tuple[str, ...]:
    """Returns the names of a label in a dataset; a name's place is its code in streams."""
    return PUBLISHED_STRATEGIES if label == "hihack_strategy" else tuple(dataset.vocabularies[label])


def label_tables(
    policy: AnyConfig,
    dataset: Dataset,
    path: Path,
    *,
    label: str | None = None,
    balance: bool = False,
    quiet: bool = True,
) -> LabelTables:
    """Makes the tables from the dataset's codes to the policy's indices, and the strategies' weights.

    Args:
        policy: The policy.
        dataset: The games.
        path: The dataset's path, for error messages.
        label: The label to learn from; the policy's by default.
        balance: Whether to weight strategies; see :func:`balanced_weights`.
        quiet: Whether to show no progress.

    Raises:
        InputError: If dataset and policy do not fit together, or no step has the label.
    """
    actions = action_table(policy.actions)
    if policy.label is None and label is not None:
        raise InputError(f"label: a flat policy learns no {label}")
    if policy.label is None:
        return LabelTables(actions)
    label = label or policy.label
    names = dataset_names(dataset, label)
    if isinstance(policy, CleavedConfig):
        strategy_table(names, policy.high.strategies, label)
    table = strategy_table(names, policy.strategies, label)
    counts = strategy_counts(dataset.select(split="train"), label, table, len(policy.strategies), quiet)
    if not counts.any():
        raise InputError(
            f"{path}: no step of the train split has a {label} (of at most {GAMES_COUNTED} games looked into)"
        )
    return LabelTables(actions, table, label, balanced_weights(counts) if balance else None)


def strategy_counts(dataset: Dataset, label: str, table: np.ndarray, strategies: int, quiet: bool) -> np.ndarray:
    """Counts steps by strategy, in at most ``GAMES_COUNTED`` games spread over the dataset, i64 [strategies]."""
    places = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), GAMES_COUNTED)).astype(int))
    counts = np.zeros(strategies, dtype=np.int64)
    codes = {name: code for code, name in enumerate(dataset_names(dataset, label))}
    with progress("counting", int(dataset.rows["steps"][places].sum()), quiet=quiet) as advance:
        for place in places.tolist():
            array = dataset[place].arrays[label]
            own = codes if label == "hihack_strategy" else array.codes
            for name, steps in count_by_name(array[:].astype(np.uint8), own).items():
                if name in codes and table[codes[name]] >= 0:
                    counts[table[codes[name]]] += steps
            advance(len(array))
    return counts


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Returns weights inversely proportional to the square root of frequency, with mean 1 over the steps, f32.

    Args:
        counts: Steps of each strategy.
    """
    weights = 1 / np.sqrt(np.maximum(counts, 1))
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)
