"""How much of what a player goes on to score a critic could tell: returns of its games, by what a policy has seen.

    python benchmarks/critic.py symbols-flat-1k data/autoascend-1k evaluation --games 60

A policy looks at the first steps of each game, and ridge regressions and networks of one hidden layer predict the
discounted returns (of the rewards, differences of the score) from what its heads are given: those of every third game
from the others'. Returns are cut at five deviations above their mean, since a few of them would decide otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from strathack.dataset import Dataset, streams
from strathack.models.losses import action_table, inputs_of
from strathack.models.policy import Policy
from strathack.models.saving import load_policy
from strathack.rl.learning.learner import explained

DISCOUNTS = (0.9, 0.99, 0.999)
LARGEST = 5.0
"""Standard deviations above the mean at which returns are cut."""
UNROLL = 128


@dataclass(frozen=True)
class Seen:
    """What was seen of a game.

    Attributes:
        features: What the policy's heads are given, f32 [T, F].
        rewards: Of all steps of the game, f32 [≥ T].
    """

    features: np.ndarray
    rewards: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("data", nargs="+", type=Path, help="datasets, each of a player")
    parser.add_argument("--games", type=int, default=60)
    parser.add_argument("--steps", type=int, default=4000, help="first steps of a game that are looked at")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    policy = load_policy(arguments.policy).eval()
    for data in arguments.data:
        games = Dataset(data)
        seen = [see(policy, games.take([place]), arguments.steps) for place in range(min(len(games), arguments.games))]
        print(f"{data}: {len(seen)} games, {sum(len(one.features) for one in seen):,} steps")
        for discount in DISCOUNTS:
            told = shares(seen, discount)
            print(f"  discount {discount}: " + ", ".join(f"{name} {share:.1%}" for name, share in told.items()))


@torch.inference_mode()
def see(policy: Policy, game: Dataset, steps: int) -> Seen:
    """Lets a policy look at the first steps of a game."""
    table, state = torch.from_numpy(action_table(policy.config.actions)), policy.initial_state(1)
    features: list[Tensor] = []
    rewards = []
    stream = streams.unrolls(game, lanes=1, steps=UNROLL, observations=policy.config.observations, epochs=1)
    with closing(stream):
        for batch in stream:
            rewards.append(batch["rewards"][:, 0])
            if len(features) * UNROLL < steps:
                inputs = {name: torch.from_numpy(values) for name, values in batch.items()}
                seen, _, state = policy.features(inputs_of(inputs, table), state)
                features.append(seen[:, 0].float())
    steps = min(steps, len(game[0]))
    return Seen(torch.cat(features)[:steps].numpy(), np.concatenate(rewards)[: len(game[0])])


def returns(rewards: np.ndarray, discount: float) -> np.ndarray:
    """Returns the sums of later rewards, each discounted by how much later it is, f64 [T]."""
    sums, later = np.zeros(len(rewards)), 0.0
    for step in range(len(rewards) - 1, -1, -1):
        later = sums[step] = rewards[step] + discount * later
    return sums


def shares(seen: Sequence[Seen], discount: float) -> dict[str, float]:
    """Returns the share of the variance of held-out games' returns that each kind of critic explains."""
    features = [torch.from_numpy(one.features) for one in seen]
    targets = [torch.from_numpy(returns(one.rewards, discount)[: len(one.features)]).float() for one in seen]
    learned = [place for place in range(len(seen)) if place % 3]
    told = torch.cat([features[place] for place in learned]), torch.cat([targets[place] for place in learned])
    asked = torch.cat(features[::3]), torch.cat(targets[::3])
    centre, width = told[0].mean(0), told[0].std(0) + 1e-3
    mean, deviation = told[1].mean(), told[1].std()
    (inputs, values), (held_inputs, held_values) = (
        ((x - centre) / width, ((y - mean) / deviation).clamp(max=LARGEST)) for x, y in (told, asked)
    )
    critics = {"linear": linear(inputs, values), "a hidden layer": network(inputs, values)}
    every = torch.ones_like(held_values, dtype=torch.bool)
    with torch.no_grad():
        told_by = {name: critic(held_inputs)[:, 0] for name, critic in critics.items()}
    return {name: float(explained(values, held_values, every)) for name, values in told_by.items()}


def linear(inputs: Tensor, values: Tensor) -> nn.Module:
    """Returns a ridge regression."""
    critic = nn.Linear(inputs.shape[1], 1)
    square = inputs.T @ inputs + 1e-2 * len(inputs) * torch.eye(inputs.shape[1])
    with torch.no_grad():
        critic.weight[0] = torch.linalg.solve(square, inputs.T @ (values - values.mean()))
        critic.bias[0] = values.mean()
    return critic


def network(inputs: Tensor, values: Tensor, steps: int = 3000) -> nn.Module:
    """Returns a network of one hidden layer, trained by AdamW."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(inputs.shape[1], 128), nn.ELU(), nn.Linear(128, 1))
    optimizer = torch.optim.AdamW(critic.parameters(), 1e-3)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (512,))
        loss = (critic(inputs[rows])[:, 0] - values[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return critic


if __name__ == "__main__":
    main()
