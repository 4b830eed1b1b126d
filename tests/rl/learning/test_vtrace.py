from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strathack.rl.learning.vtrace import vtrace

GAMMA = 0.97


def made_up(seed: int, steps: int, lanes: int, *, cut: bool = True) -> dict[str, torch.Tensor]:
    """Random inputs in float64, with games that end and games that are cut anywhere."""
    rng = np.random.default_rng(seed)
    ended = rng.random((steps, lanes)) < 0.15
    # A game that ended is not cut as well; a frame on which nobody acts follows one on which somebody did.
    acted = ~(cut & (rng.random((steps, lanes)) < 0.15))
    ended &= acted
    arrays = {
        "log_ratios": rng.normal(0, 0.7, (steps, lanes)),
        "rewards": np.where(acted, rng.normal(0, 1, (steps, lanes)), 0),
        "discounts": np.where(ended, 0, GAMMA),
        "values": rng.normal(0, 1, (steps + 1, lanes)),
        "acted": acted,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def recursive(inputs: dict[str, torch.Tensor], step: int, lane: int, clips: tuple[float, float, float]) -> float:
    """The target of one step as remark 1 of the paper defines it."""
    rewards, values, discounts = (inputs[name].numpy() for name in ("rewards", "values", "discounts"))
    clip_rho, clip_c, decay = clips
    if step == len(rewards):
        return float(values[step, lane])
    if not inputs["acted"][step, lane]:
        return float(values[step, lane])
    ratio = float(np.exp(inputs["log_ratios"][step, lane].item()))
    delta = rewards[step, lane] + discounts[step, lane] * values[step + 1, lane] - values[step, lane]
    after = recursive(inputs, step + 1, lane, clips) - values[step + 1, lane]
    traced = discounts[step, lane] * decay * min(clip_c, ratio) * after
    return float(values[step, lane] + min(clip_rho, ratio) * delta + traced)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 12),
    clips=st.tuples(st.floats(0.2, 3), st.floats(0.2, 3), st.floats(0, 1)),
)
def test_targets_are_those_of_the_recursive_definition(
    seed: int, steps: int, clips: tuple[float, float, float]
) -> None:
    inputs = made_up(seed, steps, 3)
    clip_rho, clip_c, decay = clips
    found = vtrace(**inputs, clip_rho=clip_rho, clip_c=clip_c, decay=decay)
    wanted = [[recursive(inputs, step, lane, clips) for lane in range(3)] for step in range(steps + 1)]
    np.testing.assert_allclose(found.values, wanted[:-1], rtol=1e-10, atol=1e-10)
    after = torch.tensor(wanted[1:], dtype=torch.float64)
    advantages = inputs["rewards"] + inputs["discounts"] * after - inputs["values"][:-1]
    np.testing.assert_allclose(found.advantages, advantages, rtol=1e-10, atol=1e-10)


def test_on_policy_and_without_clipping_targets_are_n_step_returns() -> None:
    inputs = made_up(0, 9, 4, cut=False)
    found = vtrace(**{**inputs, "log_ratios": torch.zeros(9, 4)}, clip_rho=torch.inf, clip_c=torch.inf)
    returns = inputs["values"][-1]
    for step in reversed(range(9)):
        returns = inputs["rewards"][step] + inputs["discounts"][step] * returns
        np.testing.assert_allclose(found.values[step], returns, rtol=1e-12)


def test_a_cut_game_is_bootstrapped_from_its_last_frame_and_one_that_ended_is_not() -> None:
    # Two lanes of three steps, of which the second is a game's last: cut in lane 0 (frame 2 shows what it came to),
    # ended in lane 1.
    values = torch.tensor([[1.0, 1], [2, 2], [5, 3], [7, 7]], dtype=torch.float64)
    rewards = torch.tensor([[0.5, 0.5], [1, 1], [0, 4]], dtype=torch.float64)
    discounts = torch.tensor([[GAMMA, GAMMA], [GAMMA, 0], [GAMMA, GAMMA]], dtype=torch.float64)
    acted = torch.tensor([[True, True], [True, True], [False, True]])
    found = vtrace(torch.zeros(3, 2), rewards, discounts, values, acted).values
    assert found[1].tolist() == pytest.approx([1 + GAMMA * 5, 1])
    assert found[0].tolist() == pytest.approx([0.5 + GAMMA * (1 + GAMMA * 5), 0.5 + GAMMA])
    assert found[2].tolist() == pytest.approx([5, 4 + GAMMA * 7])
