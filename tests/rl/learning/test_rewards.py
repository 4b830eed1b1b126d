from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strathack.rl.config import RewardConfig
from strathack.rl.learning.rewards import Rewards


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(1, 29), max_size=4))
def test_stretches_of_games_scale_as_the_whole_does(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    rewards, ends = rng.normal(0, 3, (30, 4)), rng.random((30, 4)) < 0.2
    rewarder = Rewards(RewardConfig(), 0.9)
    bounds = [0, *sorted(set(cuts)), 30]
    for start, stop in itertools.pairwise(bounds):
        rewarder.take(7, rewards[start:stop], ends[start:stop], begins=start == 0)
        rewarder.settle()
    squares, total = 0.0, np.zeros(4)
    for step in range(30):
        total = 0.9 * total + rewards[step]
        squares += float((total**2).sum())
        total = np.where(ends[step], 0, total)
    wanted = np.sqrt(squares / 120)
    assert rewarder.scale.value == pytest.approx(wanted)
    np.testing.assert_allclose(rewarder.scaled(rewards), (rewards / wanted).clip(-10, 10), rtol=1e-5)


def test_a_slice_that_begins_anew_carries_nothing_over() -> None:
    rewarder = Rewards(RewardConfig(), 1.0)
    one, never = np.ones((1, 1)), np.zeros((1, 1), dtype=bool)
    rewarder.take(0, one, never, begins=True)
    rewarder.take(0, one, never, begins=True)
    rewarder.settle()
    assert rewarder.scale.value == 1
    rewarder.take(0, one, never, begins=False)
    rewarder.settle()
    assert rewarder.scale.value == pytest.approx(((1 + 1 + 4) / 3) ** 0.5)


def test_rewards_raw_scaled_and_clipped() -> None:
    rewards = np.array([[-50.0, 0.5, 3]])
    raw = Rewards(RewardConfig(normalise=False, clip=0), 0.9)
    assert raw.scaled(rewards).tolist() == rewards.tolist()
    scaled = Rewards(RewardConfig(normalise=False, clip=1, scale=0.5), 0.9)
    assert scaled.scaled(rewards).tolist() == [[-1, 0.25, 1]]
    nothing = Rewards(RewardConfig(), 0.9)
    assert nothing.scaled(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]


def test_learners_together_have_one_scale():
    totals = np.zeros(2)
    learners = [Rewards(RewardConfig(), 0.9, lambda new: totals) for _ in range(2)]
    returns = [np.full((1, 1), 3.0), np.full((1, 1), 4.0)]
    never = np.zeros((1, 1), dtype=bool)
    for learner, one in zip(learners, returns, strict=True):
        learner.take(0, one, never, begins=True)
        totals += [1, float(one[0, 0] ** 2)]
    for learner in learners:
        learner.settle()
    assert [learner.scale.value for learner in learners] == [(25 / 2) ** 0.5] * 2
