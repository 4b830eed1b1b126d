from __future__ import annotations

import os
import sys
import threading

import numpy as np
import pytest
import torch
from shrinking import SHRUNK, made_up_inputs

from strathack.models.acting import ActingConfig
from strathack.models.cleaved import CleavedConfig, CleavedPolicy
from strathack.models.policy import Policy
from strathack.rl.batches import Batch
from strathack.rl.config import APPOConfig, ImitationConfig
from strathack.rl.learner import LEARNING_NICENESS, Gradients, Learner, critic_parameters, learning_thread
from strathack.rl.rollouts import Follower


@pytest.mark.skipif(sys.platform != "linux", reason="threads are as nice as their process elsewhere")
def test_learning_gives_way_and_nobody_else_does() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own, threads = niceness(), torch.get_num_threads()
    with learning_thread(torch.device("cpu"), 3) as learning:
        assert learning.submit(niceness).result() == min(own + LEARNING_NICENESS, 19)
        assert learning.submit(torch.get_num_threads).result() == 3
    assert niceness() == own
    torch.set_num_threads(threads)


def test_what_goes_wrong_in_learning_is_raised_where_it_is_waited_for() -> None:
    with learning_thread(torch.device("cpu"), 1) as learning, pytest.raises(ZeroDivisionError):
        learning.submit(lambda: 1 / 0).result()


def test_of_a_cleaved_policy_the_value_head_in_use_is_trained_whatever_is_frozen() -> None:
    low = SHRUNK["symbols-small"]
    policy = CleavedPolicy(CleavedConfig(low, low, ("low",)))
    learner = Learner(policy, APPOConfig(entropy=0.0, freeze="encoder", critic_warmup=1), ImitationConfig())
    value, other = policy.low.heads.value.weight, policy.high.heads.value.weight
    assert critic_parameters(policy) == [value, policy.low.heads.value.bias]
    before = [value.clone(), other.clone(), policy.low.heads.strategy.weight.clone()]
    learner.update(made_up_batch(policy))  # the critic alone
    assert not torch.equal(value, before[0])
    assert torch.equal(other, before[1])
    learner.update(made_up_batch(policy))
    assert torch.equal(policy.low.heads.strategy.weight, before[2])
    assert not policy.low.training
    assert policy.high.training


def made_up_batch(policy: CleavedPolicy) -> Batch:
    steps, lanes = 4, 2
    rng = np.random.default_rng(0)
    inputs = made_up_inputs(rng, steps + 1, lanes, rng.random((steps + 1, lanes)) < 0.1)
    known = torch.ones(steps, lanes, dtype=torch.bool)
    zeros = torch.zeros(steps, lanes)
    return Batch(
        inputs, policy.initial_state(lanes), torch.randint(0, 121, (steps, lanes)), zeros.long(), known,
        torch.full((steps, lanes), -4.8), zeros, zeros.long(), torch.rand(steps, lanes), ~known, known, ((0, True),),
    )  # fmt: skip


def test_after_two_passes_the_acting_copy_is_that_of_the_last() -> None:
    policy = Policy(SHRUNK["symbols-small"])
    follower = Follower(policy, ActingConfig(), version=7)
    assert follower.refresh() == 7, "a resumed run's first games are played with the weights it has"
    for _ in range(2):
        with follower.updating(8), torch.no_grad():
            policy.heads.value.bias += 1
        assert follower.refresh() == 8
        assert torch.equal(follower._copy.heads.value.bias, policy.heads.value.bias)


def test_means_over_unequal_steps_count_every_step_once() -> None:
    counts = [torch.tensor(6), torch.tensor(2)]
    mean = torch.tensor(4.0)
    shares = [Gradients(lambda count: mean).share_of(count) for count in counts]
    means = [torch.tensor(1.0), torch.tensor(5.0)]
    assert sum(share * one for share, one in zip(shares, means, strict=True)) / 2 == (6 * 1.0 + 2 * 5.0) / 8
    assert Gradients().share_of(counts[0]) == 1.0
