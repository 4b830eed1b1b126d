"""What a labeller finds on held-out games, beside a policy's strategy head, which sees the past alone, and a constant.

    python benchmarks/labelling.py data/full --labeller labeller --policy clone --steps 20000

All are held against the strategies that the demonstrator reported, on the same steps of the validation's games. Prints
a line each, the recall by strategy, and the ratio of the macro recalls.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from strathack.dataset import Dataset
from strathack.dataset.streams import unrolls
from strathack.models.label_tables import dataset_names
from strathack.models.labelling.applying import label_blocks
from strathack.models.labelling.labeller import Labeller, load_labeller
from strathack.models.labelling.metrics import LabelResult, LabelSums, label_result, label_sums
from strathack.models.losses import UNKNOWN, action_table, inputs_of, strategy_table
from strathack.models.policy import Policy
from strathack.models.saving import load_policy

LANES, UNROLL = 16, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--labeller", type=Path, required=True)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20_000, help="steps of each game, from its beginning")
    parser.add_argument("--games", type=int, default=32)
    parser.add_argument("--ahead", type=int, default=64)
    options = parser.parse_args()
    dataset = Dataset(options.data).select(split="validation")
    dataset = dataset.take(range(min(options.games, len(dataset))))
    labeller, policy = load_labeller(options.labeller), load_policy(options.policy)
    assert isinstance(policy, Policy)
    results = {"labeller": by_labeller(labeller, dataset, options.ahead, options.steps)}
    results["strategy head of a policy"] = by_policy(policy, dataset, options.steps)
    for name, result in results.items():
        print(
            f"{name}: accuracy {result.accuracy:.2%}, macro recall {result.macro_recall:.1%}, "
            f"NLL {result.nll:.4f}, calibration error {result.calibration_error:.2%}"
        )
    first = next(iter(results.values()))
    constant = f"accuracy {first.majority:.2%}, macro recall {1 / len(first.by_name):.1%}"
    print(f"a constant: {constant}; {first.steps:,} steps")
    recalls = {name: {row.name: row.recall for row in result.by_name} for name, result in results.items()}
    for row in first.by_name:
        print(
            f"  {row.name:16}{row.steps:>9,}" + "".join(f"  {by_name[row.name]:7.1%}" for by_name in recalls.values())
        )
    last = results["strategy head of a policy"]
    print(f"labeller / strategy head, macro recall: {first.macro_recall / last.macro_recall:.2f}")


def by_labeller(labeller: Labeller, dataset: Dataset, ahead: int, steps: int) -> LabelResult:
    """Returns how good a labeller is."""
    names = labeller.config.names
    table = torch.from_numpy(strategy_table(dataset_names(dataset, "strategy"), names, "strategy"))
    sums = LabelSums.empty(len(names))
    with torch.inference_mode():
        for batch, logits in label_blocks(labeller, dataset, LANES, ahead, ("strategy",)):
            counts = batch["mask"] & (batch["step"] < steps)
            sums = sums + label_sums(logits, torch.where(counts, table[batch["strategy"].long()], UNKNOWN))
    return label_result(sums, names)


def by_policy(policy: Policy, dataset: Dataset, steps: int) -> LabelResult:
    """Returns how good a policy's strategy head is at the demonstrator's own play."""
    names = policy.config.strategies
    table = torch.from_numpy(strategy_table(dataset_names(dataset, "strategy"), names, "strategy"))
    sums = LabelSums.empty(len(names))
    actions, state = torch.from_numpy(action_table(policy.config.actions)), policy.initial_state(LANES)
    with torch.inference_mode():
        for arrays in batches(dataset, policy.config.observations):
            batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
            output, state = policy.unroll(inputs_of(batch, actions), state)
            counts = batch["mask"] & (batch["step"] < steps)
            assert output.strategy_logits is not None
            labels = torch.where(counts, table[batch["strategy"].long()], UNKNOWN)
            sums = sums + label_sums(output.strategy_logits, labels)
    return label_result(sums, names)


def batches(dataset: Dataset, observations: tuple[str, ...]) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches of all games, each from its beginning."""
    stream = unrolls(
        dataset, lanes=LANES, steps=UNROLL, observations=observations, columns=("strategy", "actions"), places=True,
        seed=None,
    )  # fmt: skip
    with closing(stream):
        yield from stream


if __name__ == "__main__":
    main()
