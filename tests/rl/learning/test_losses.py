from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from shrinking import SHRUNK, made_up_inputs
from torch import Tensor

from strathack.models.acting import ActingConfig, ActingPolicy, entropy_of, log_prob_of
from strathack.models.heads import PolicyOutput, combined
from strathack.models.losses import masked_mean
from strathack.models.policy import Policy
from strathack.rl.learning.losses import (
    Parts,
    Weights,
    normalised,
    ppo_loss,
    teacher_divergence,
    value_loss,
)

STRATEGIES, ACTIONS = 4, 6


def hierarchical(seed: int) -> PolicyOutput:
    generator = torch.Generator().manual_seed(seed)
    strategy = torch.randn(3, 2, STRATEGIES, generator=generator, dtype=torch.float64)
    strategywise = torch.randn(3, 2, STRATEGIES, ACTIONS, generator=generator, dtype=torch.float64)
    return combined(strategy, strategywise, torch.zeros(3, 2), "mixture", None)


def joint(output: PolicyOutput) -> Tensor:
    """p(strategy, action), enumerated one by one in float64, [..., strategies, actions]."""
    assert output.strategy_logits is not None
    assert output.strategywise_logits is not None
    result = torch.zeros(*output.strategywise_logits.shape, dtype=torch.float64)
    for place in itertools.product(*map(range, result.shape)):
        *where, strategy, action = place
        of_strategies = output.strategy_logits[tuple(where)]
        of_actions = output.strategywise_logits[(*where, strategy)]
        share = of_strategies[strategy].exp() / of_strategies.exp().sum()
        result[place] = share * of_actions[action].exp() / of_actions.exp().sum()
    return result


def test_log_probabilities_and_entropies_equal_enumeration() -> None:
    output = hierarchical(0)
    together = joint(output)
    action, strategy = torch.randint(ACTIONS, (3, 2)), torch.randint(STRATEGIES, (3, 2))
    marginal = together.sum(-2)
    at = marginal.gather(-1, action[..., None]).squeeze(-1)
    np.testing.assert_allclose(log_prob_of(output, action), at.log(), atol=1e-6)
    np.testing.assert_allclose(entropy_of(output), -(marginal * marginal.log()).sum(-1), atol=1e-5)

    chose = torch.tensor([[True, False]] * 3)
    both = together.flatten(-2).gather(-1, (strategy * ACTIONS + action)[..., None]).squeeze(-1)
    chances = together.sum(-1).gather(-1, strategy[..., None]).squeeze(-1)
    wanted = torch.where(chose, both.log(), (both / chances).log())
    np.testing.assert_allclose(log_prob_of(output, action, strategy, chose), wanted, atol=1e-6)
    given = together / together.sum(-1, keepdim=True)
    given = given.gather(-2, strategy[..., None, None].expand(3, 2, 1, ACTIONS)).squeeze(-2)
    alone = together.sum(-1)
    wanted = -(given * given.log()).sum(-1) + torch.where(chose, -(alone * alone.log()).sum(-1), 0)
    np.testing.assert_allclose(entropy_of(output, strategy, chose), wanted, atol=1e-5)


@pytest.mark.parametrize("hold", [0, 3])
def test_what_an_actor_says_of_its_steps_is_what_a_learner_finds_in_the_unroll(hold: int) -> None:
    torch.manual_seed(0)
    policy = Policy(SHRUNK["symbols-small"]).eval()
    first = np.zeros((9, 4), dtype=bool)
    first[0], first[5, 1] = True, True
    inputs = made_up_inputs(np.random.default_rng(0), 9, 4, first)
    worker = ActingPolicy(policy, ActingConfig(min_strategy_steps=hold))
    state = worker.initial_state(4)
    acts = []
    for step in range(9):
        act, state = worker.act({name: value[step] for name, value in inputs.items()}, state)
        acts.append(act)
    output, _ = policy.unroll(inputs, policy.initial_state(4))
    held = [torch.stack([getattr(act, name) for act in acts]) for name in ("strategy", "chose")] if hold else []
    found = log_prob_of(output, torch.stack([act.action for act in acts]), *held)
    torch.testing.assert_close(found, torch.stack([act.log_prob for act in acts]), atol=1e-4, rtol=0)


def test_at_ratio_1_the_gradient_is_that_of_the_policy_gradient() -> None:
    logits = torch.randn(5, 3, ACTIONS, dtype=torch.float64, requires_grad=True)
    action, advantages = torch.randint(ACTIONS, (5, 3, 1)), torch.randn(5, 3, dtype=torch.float64)
    mask = torch.rand(5, 3) < 0.7
    log_prob = logits.log_softmax(-1).gather(-1, action).squeeze(-1)
    (found,) = torch.autograd.grad(
        ppo_loss(log_prob - log_prob.detach(), advantages, 0.1, mask), logits, retain_graph=True
    )
    (wanted,) = torch.autograd.grad(-(advantages * log_prob)[mask].mean(), logits)
    torch.testing.assert_close(found, wanted)


def test_beyond_the_clip_nothing_more_is_earned() -> None:
    log_ratios = torch.tensor([0.2, -0.2, 0.2, -0.2], dtype=torch.float64, requires_grad=True)
    advantages = torch.tensor([1.0, 1, -1, -1], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(ppo_loss(log_ratios, advantages, 0.1, torch.ones(4, dtype=bool)), log_ratios)
    assert (gradient != 0).tolist() == [False, True, True, False]


def test_a_value_kept_near_what_it_was_counts_where_it_is_farther_off() -> None:
    values, before = torch.tensor([3.0, 0.5]), torch.tensor([0.0, 0.0])
    loss = value_loss(values, before, torch.tensor([3.0, 0.5]), 1.0, torch.tensor([True, True]))
    assert loss.item() == pytest.approx((1 - 3) ** 2 / 2 / 2)
    assert value_loss(values, before, values, None, torch.tensor([True, True])).item() == 0


def test_steps_that_are_left_out_count_for_nothing() -> None:
    values, mask = torch.tensor([1.0, torch.nan, 3.0]), torch.tensor([True, False, True])
    assert masked_mean(values, mask).item() == 2
    assert masked_mean(values, torch.zeros(3, dtype=bool)).item() == 0
    advantages = normalised(torch.tensor([1.0, 99, 3]), mask)
    assert advantages[mask].tolist() == pytest.approx([-1, 1])


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_divergences_equal_enumeration(direction: str) -> None:
    student, teacher = hierarchical(1), hierarchical(2)
    p, q = (joint(output).sum(-2) for output in ((teacher, student) if direction == "forward" else (student, teacher)))
    found = teacher_divergence(student, teacher, direction)
    np.testing.assert_allclose(found, (p * (p / q).log()).sum(-1), atol=1e-5)
    assert teacher_divergence(student, student, direction).abs().max() < 1e-6
    # Over all strategies, in the first's proportions: the divergence of the joint distributions.
    p, q = (joint(output) for output in ((teacher, student) if direction == "forward" else (student, teacher)))
    shares = p.sum(-1)
    by_strategy = torch.stack(
        [teacher_divergence(student, teacher, direction, torch.full((3, 2), k)) for k in range(STRATEGIES)], -1
    )
    np.testing.assert_allclose((shares * by_strategy).sum(-1), (p * (p / q).log()).sum((-1, -2)), atol=1e-5)


def test_the_parts_sum_to_the_total() -> None:
    parts = Parts(*(torch.tensor(float(value)) for value in (1, 2, 3, 4, 5)))
    weights = Weights(policy=0.5, value=0.25, entropy=0.1, demos=2, kickstart=3)
    assert parts.total(weights).item() == pytest.approx(0.5 * 1 + 0.25 * 2 - 0.1 * 3 + 2 * 4 + 3 * 5)
    broken = Parts(torch.tensor(torch.nan), *(torch.tensor(1.0) for _ in range(4)))
    assert broken.total(Weights(policy=0, value=1)).item() == 1


def test_a_flat_teacher_of_a_student_that_holds_strategies_is_compared_by_actions() -> None:
    student = hierarchical(0)
    assert student.strategy_logits is not None
    assert student.strategywise_logits is not None
    drawing = combined(student.strategy_logits, student.strategywise_logits, torch.zeros(3, 2), "sampled", None)
    flat = PolicyOutput(torch.randn(3, 2, ACTIONS, dtype=torch.float64), torch.zeros(3, 2))
    marginal, wanted = joint(student).sum(-2), flat.action_logits.softmax(-1)
    held = torch.randint(STRATEGIES, (3, 2))
    found = teacher_divergence(drawing, flat, "forward", held)
    np.testing.assert_allclose(found, (wanted * (wanted / marginal).log()).sum(-1), atol=1e-5)
