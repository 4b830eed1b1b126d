"""How well runs clone, compared with n-gram models, which use only the previous actions.

    python benchmarks/clone_learning.py DATA RUN [RUN ...]

Counts n-grams of actions in the train split of DATA and evaluates them on the validation split of DATA. The runs (of
`strathack train DATA`) were validated on the same split. An n-gram that was not seen falls back to the n-gram that is
shorter by one action.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.reading import Dataset

ALPHA = 0.1
"""Weight of the shorter model's prediction, in counts, per action."""


def ngram_nll(train: list[np.ndarray], validation: list[np.ndarray], order: int) -> float:
    """Mean NLL of the next action given the ``order`` − 1 before it, in nats.

    Each order's counts are mixed with the prediction of the next lower order. The weight of that prediction, as a
    number of observations, is ``ALPHA`` times the number of actions.
    """
    counts: list[dict[tuple[int, ...], Counter[int]]] = [defaultdict(Counter) for _ in range(order)]
    for actions in train:
        values = actions.tolist()
        for place, action in enumerate(values):
            for before in range(min(order, place + 1)):
                counts[before][tuple(values[place - before : place])][action] += 1
    total, steps = 0.0, 0
    for actions in validation:
        values = actions.tolist()
        for place, action in enumerate(values):
            p = 1 / len(ACTION_NAMES)
            for before in range(min(order, place + 1)):
                seen = counts[before].get(tuple(values[place - before : place]))
                if seen is None:
                    break
                weight = ALPHA * len(ACTION_NAMES)
                p = (seen[action] + weight * p) / (seen.total() + weight)
            total -= float(np.log(p))
        steps += len(values)
    return total / steps


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()
    dataset = Dataset(arguments.data)
    splits = [[game.actions[:] for game in dataset.select(split=split)] for split in ("train", "validation")]
    print(f"{len(splits[0])} games to train on, {len(splits[1])} to validate on, {sum(map(len, splits[1])):,} steps")
    bigram = ngram_nll(*splits, order=2)
    print(f"bigram {bigram:.3f} nats, four-gram {ngram_nll(*splits, order=4):.3f}")
    for run in arguments.runs:
        result = json.loads((run / "validation.json").read_text())
        line = f"{run.name}: action NLL {result['action_nll']:.3f}, {result['action_nll'] / bigram:.2f} of the bigram's"
        line += f", accuracy {result['accuracy']:.1%}"
        if result["macro_recall"] is not None:
            constant = 1 / len(result["by_strategy"])
            line += f"; strategy accuracy {result['strategy_accuracy']:.1%} (majority {result['majority']:.1%})"
            times = result["macro_recall"] / constant
            line += f", macro recall {result['macro_recall']:.1%}, {times:.1f} times a constant's"
        print(line)


if __name__ == "__main__":
    main()
