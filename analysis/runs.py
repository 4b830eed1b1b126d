"""Runs of one label, and the label that is most frequent in each stretch of a game."""

from __future__ import annotations

import numpy as np


def starts_of(labels: np.ndarray) -> np.ndarray:
    """Returns the steps at which runs of one label begin.

    Args:
        labels: Codes, [T].

    Returns:
        i64 [runs]; the first is 0 if there is any step.
    """
    changed = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    return np.concatenate([np.zeros(min(len(labels), 1), np.int64), changed])


def runs_of(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the runs of one label, in order.

    Args:
        labels: Codes, [T].

    Returns:
        The label of each run, and its length in steps, i64 [runs].
    """
    starts = starts_of(labels)
    return labels[starts], np.diff(starts, append=len(labels))


def columns_of(labels: np.ndarray, count: int) -> np.ndarray:
    """Returns the most frequent label of each of ``count`` equal stretches, or of fewer if there are fewer steps.

    Args:
        labels: Codes, [T].
        count: How many stretches.
    """
    count = min(count, len(labels))
    stretches = np.array_split(labels, count) if count else []
    return np.array([np.bincount(stretch).argmax() for stretch in stretches], labels.dtype)
