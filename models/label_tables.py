"""Tables from a dataset's codes to a policy's indices, and checks that dataset and policy fit together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strathack.dataset import Dataset
from strathack.dataset.errors import InputError
from strathack.dataset.labels import PUBLISHED_STRATEGIES, count_by_name
from strathack.dataset.progress import progress
from strathack.dataset.schema import INFERRED
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
    return PUBLISHED_STRATEGIES if label == "hihack_strategy" else tuple(dataset.vocabularies.get(label, ()))


def held_names(dataset: Dataset, label: str) -> tuple[str, ...]:
    """Returns those names of a label that the games may hold, of which a policy for them has action heads."""
    return PUBLISHED_STRATEGIES if label == "hihack_strategy" else dataset.names_of(label)


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
    names, held = dataset_names(dataset, label), held_names(dataset, label)
    if isinstance(policy, CleavedConfig):
        strategy_table(names, policy.high.strategies, label, held)
    table = strategy_table(names, policy.strategies, label, held)
    check_labelled(dataset, path, label, table)
    if not balance:
        return LabelTables(actions, table, label)
    games = _spread(dataset)
    counts = np.zeros(len(policy.strategies), dtype=np.int64)
    with progress("counting", games.steps, quiet=quiet) as advance:
        by_game = strategy_counts(games, label, table, len(counts))
        for steps, of_game in zip(games.rows["steps"].tolist(), by_game, strict=True):
            counts += of_game
            advance(steps)
    return LabelTables(actions, table, label, balanced_weights(counts))


def check_labelled(dataset: Dataset, path: Path, label: str, table: np.ndarray) -> None:
    """Checks that there are steps to learn strategies from.

    Args:
        dataset: The games.
        path: The dataset's path, for error messages.
        label: The label that tells strategies.
        table: See :func:`strategy_counts`.

    Raises:
        InputError: If no game of the train split has such a step, or one of those looked into lacks an inferred label.
    """
    games = _spread(dataset)
    if label in INFERRED.values():
        for game in games:
            game.stored(label)
    if not any(counts.any() for counts in strategy_counts(games, label, table, int(table.max()) + 1)):
        raise InputError(
            f"{path}: no step of the train split has a {label} (of at most {GAMES_COUNTED} games looked into)"
        )


def _spread(dataset: Dataset) -> Dataset:
    """Returns at most ``GAMES_COUNTED`` games of the train split, spread over all of it."""
    games = dataset.select(split="train")
    return games.take(np.unique(np.linspace(0, len(games) - 1, min(len(games), GAMES_COUNTED)).astype(int)))


def strategy_counts(dataset: Dataset, label: str, table: np.ndarray, strategies: int) -> Iterator[np.ndarray]:
    """Counts the steps of each strategy, game by game.

    Args:
        dataset: The games.
        label: The label that tells strategies.
        table: From the label's codes in the dataset to the policy's strategies, below 0 for none, i64 [256].
        strategies: How many strategies the policy has.

    Yields:
        i64 [strategies].

    Raises:
        InputError: If a game does not have the label.
    """
    codes = {name: code for code, name in enumerate(dataset_names(dataset, label))}
    for game in dataset:
        array = game.stored(label)
        own = codes if label == "hihack_strategy" else array.codes
        counts = np.zeros(strategies, dtype=np.int64)
        for name, steps in count_by_name(array[:].astype(np.uint8), own).items():
            if name in codes and table[codes[name]] >= 0:
                counts[table[codes[name]]] += steps
        yield counts


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Returns weights inversely proportional to the square root of frequency, with mean 1 over the steps, f32.

    Args:
        counts: Steps of each strategy.
    """
    weights = 1 / np.sqrt(np.maximum(counts, 1))
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)
