"""Speed of acting when parts of what was seen are remembered from step to step, relative to computing them anew.

    python benchmarks/remembering.py symbols-flat-1k data/autoascend-1k

A policy acts on the frames of recorded games. Anew: each part is computed once for every distinct one in a batch. Kept:
also once for all steps, as in evaluation, or for the 32 steps between updates, as in fine-tuning. Rounds of the three
alternate; each acts on all frames.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import closing
from pathlib import Path

import torch

from strathack.dataset import Dataset, streams
from strathack.models.acting import ActingConfig, ActingPolicy
from strathack.models.saving import load_policy

UNROLL = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("data")
    parser.add_argument("--lanes", type=int, default=32)
    parser.add_argument("--unrolls", type=int, default=40, help="unrolls of 32 steps, after as many that are skipped")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    policy = load_policy(arguments.policy).eval().requires_grad_(False)
    frames = recorded(arguments, policy.config.observations)
    ratios: dict[str, list[float]] = {"evaluation": [], "fine-tuning": []}
    for number in range(arguments.rounds):
        anew = seconds(ActingPolicy(policy, ActingConfig()), frames, forget=False)
        said = [f"round {number}: anew {speed(frames, anew):,.0f} steps/s"]
        for name, of in ratios.items():
            kept = seconds(ActingPolicy(policy, ActingConfig(), remembers=True), frames, forget=name == "fine-tuning")
            of.append(anew / kept)
            said.append(f"kept as in {name} {speed(frames, kept):,.0f}, {of[-1]:.2f}")
        print("; ".join(said), flush=True)
    for name, of in ratios.items():
        print(f"kept as in {name} / anew, median: {statistics.median(of):.2f}")


def recorded(arguments: argparse.Namespace, observations: tuple[str, ...]) -> list[dict[str, torch.Tensor]]:
    """Returns unrolls of games that are well under way, name → [T, B, …]."""
    stream = streams.unrolls(
        Dataset(arguments.data), lanes=arguments.lanes, steps=UNROLL, epochs=None, observations=observations
    )
    with closing(stream):
        taken = [next(stream) for _ in range(2 * arguments.unrolls)][arguments.unrolls :]
    names = (*observations, "previous_action", "first")
    return [{name: torch.as_tensor(batch[name]) for name in names} for batch in taken]


def seconds(acting: ActingPolicy, frames: list[dict[str, torch.Tensor]], *, forget: bool) -> float:
    """Returns how long acting on all frames takes."""
    began, state = time.perf_counter(), acting.initial_state(frames[0]["first"].shape[1])
    for unroll in frames:
        if forget:
            acting.forget(acting.policy.modules())
        for step in range(UNROLL):
            _, state = acting.act({name: values[step] for name, values in unroll.items()}, state)
    return time.perf_counter() - began


def speed(frames: list[dict[str, torch.Tensor]], seconds: float) -> float:
    """Returns steps a second."""
    return len(frames) * frames[0]["first"].numel() / seconds


if __name__ == "__main__":
    main()
