from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from cudnn import refuse_backward_in_evaluation
from shrinking import SHRUNK, made_up_inputs

from strathack.models.acting import ActingConfig, log_prob_of
from strathack.models.cleaved import CleavedConfig, CleavedPolicy
from strathack.models.losses import CloningLoss
from strathack.models.policy import Policy
from strathack.rl.acting.inference import InferencePolicy
from strathack.rl.config import APPOConfig, ImitationConfig
from strathack.rl.learning.batches import Batch
from strathack.rl.learning.learner import (
    LEARNING_NICENESS,
    BadNumbersError,
    Gradients,
    Learner,
    critic_parameters,
    learning_thread,
)
from strathack.rl.learning.losses import Weights
from strathack.rl.schedules import Schedule

weight = Schedule.parse


@pytest.fixture(autouse=True)
def lstms_as_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_backward_in_evaluation(monkeypatch)


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


@pytest.mark.parametrize("rate", [None, 1e-2])
def test_the_critic_has_a_learning_rate_of_its_own_if_asked(rate: float | None) -> None:
    policy = small_policy()
    learner = Learner(policy, APPOConfig(entropy=0.0, learning_rate=1e-4, critic_learning_rate=rate), ImitationConfig())
    value, core = policy.heads.value.weight, policy.core.lstm.weight_hh_l0
    before = value.detach().clone(), core.detach().clone()
    learner.update(made_up_batch(policy))
    # Adam's first step is as long as the learning rate, whatever the gradient.
    assert float((value.detach() - before[0]).abs().max()) == pytest.approx(rate or 1e-4, rel=1e-2)
    assert float((core.detach() - before[1]).abs().max()) == pytest.approx(1e-4, rel=1e-2)
    again = Learner(policy, learner.config, ImitationConfig())
    again.optimizer.load_state_dict(learner.optimizer.state_dict())
    assert [group["lr"] for group in again.optimizer.param_groups] == ([1e-4] if rate is None else [1e-4, rate])


def starts_of(first: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(first.any(1)).tolist())


def made_up_batch(policy: CleavedPolicy) -> Batch:
    steps, lanes = 4, 2
    rng = np.random.default_rng(0)
    first = rng.random((steps + 1, lanes)) < 0.1
    inputs = made_up_inputs(rng, steps + 1, lanes, first)
    known = torch.ones(steps, lanes, dtype=torch.bool)
    zeros = torch.zeros(steps, lanes)
    return Batch(
        inputs, policy.initial_state(lanes), torch.randint(0, 121, (steps, lanes)), zeros.long(), known,
        torch.full((steps, lanes), -4.8), zeros, zeros.long(), torch.rand(steps, lanes), ~known, known, ((0, True),),
        steps * lanes, starts_of(first),
    )  # fmt: skip


def test_after_two_passes_the_acting_copy_is_that_of_the_last() -> None:
    policy = Policy(SHRUNK["symbols-small"])
    inference = InferencePolicy(policy, ActingConfig(), version=7)
    assert inference.refresh() == 7, "a resumed run's first games are played with the weights it has"
    for _ in range(2):
        with inference.updating(8), torch.no_grad():
            policy.heads.value.bias += 1
        assert inference.refresh() == 8
        assert torch.equal(inference._copy.heads.value.bias, policy.heads.value.bias)


def test_means_over_unequal_steps_count_every_step_once() -> None:
    counts = [torch.tensor(6), torch.tensor(2)]
    mean = torch.tensor(4.0)
    shares = [Gradients(lambda count: mean).share_of(count) for count in counts]
    means = [torch.tensor(1.0), torch.tensor(5.0)]
    assert sum(share * one for share, one in zip(shares, means, strict=True)) / 2 == (6 * 1.0 + 2 * 5.0) / 8
    assert Gradients().share_of(counts[0]) == 1.0


SMALL = SHRUNK["symbols-small"].changed(["core.hidden=16", "heads.hidden=8"])
UPDATES = 5
"""Of the learner when it is given a ``played_batch``, so that lags are 0 to 3."""


def small_policy(*changes, seed=0):
    torch.manual_seed(seed)
    return Policy(SMALL.changed(changes))


def played_batch(policy, *, holds=False, **changes):
    """Seven steps of three lanes by a policy a little different; games end in lane 0 and are cut in lane 1."""
    steps, lanes = 7, 3
    rng, draw = np.random.default_rng(1), torch.Generator().manual_seed(1)
    first = np.zeros((steps + 1, lanes), bool)
    ended, acted = torch.zeros(steps, lanes, dtype=torch.bool), torch.ones(steps, lanes, dtype=torch.bool)
    first[0, 2] = ended[2, 0] = first[3, 0] = first[5, 1] = True
    acted[4, 1] = False
    inputs, state = made_up_inputs(rng, steps + 1, lanes, first), policy.initial_state(lanes)
    actions = torch.randint(0, 121, (steps, lanes), generator=draw)
    strategy = torch.randint(0, 13, (steps, lanes), generator=draw)
    chose = torch.rand(steps, lanes, generator=draw) < 0.5
    held = (strategy, chose) if holds else ()
    with torch.no_grad():
        outputs, _ = policy.unroll(inputs, state)
    log_prob = log_prob_of(outputs.at(slice(0, steps)), actions, *held)
    version = torch.tensor([2, 2, 3, 3, 4, 4, 5])[:, None].expand(steps, lanes) + torch.tensor([0, 1, 0])
    batch = Batch(
        inputs, state, actions, strategy, chose, log_prob + 0.2 * torch.randn(steps, lanes, generator=draw),
        outputs.value[:-1] + 0.2 * torch.randn(steps, lanes, generator=draw), version.clamp(max=UPDATES),
        torch.randn(steps, lanes, generator=draw) * acted, ended, acted, ((0, True),),
        int(acted.sum()), starts_of(first),
    )  # fmt: skip
    return replace(batch, **changes)


def learner_of(policy, appo=None, *, updates=UPDATES, imitation=None, **others):
    settings = {"learning_rate": 1e-3, "entropy": 0.01} | (appo or {})
    learner = Learner(policy, APPOConfig(**settings), imitation or ImitationConfig(), **others)
    learner.updates = updates
    return learner


def weights_of(policy):
    return {name: parameter.detach().clone() for name, parameter in policy.named_parameters()}


def changed(policy, before):
    return {name for name, parameter in policy.named_parameters() if not torch.equal(parameter, before[name])}


def noting(versions):
    """A learner's ``changing`` that takes down what it is told."""

    @contextmanager
    def changing(version):
        versions.append(version)
        yield

    return changing


class Demos:
    """Stands in for demonstrations: what is to be learned of them is that values be 2, and 1 more each time."""

    def __init__(self):
        self.asked = 0

    def loss(self, policy, device, averaged):
        self.asked += 1
        total = (policy.heads.value.bias - (1 + self.asked)).square().sum()
        return CloningLoss(total, total, total, total)


class Elder:
    """Stands in for a teacher."""

    def __init__(self, policy):
        self.policy, self.asked = policy, 0

    def outputs(self, batch):
        self.asked += 1
        with torch.no_grad():
            return self.policy.unroll(batch.inputs, batch.state)[0].at(slice(0, -1))


def distributions(output):
    """p(strategy) and p(action | strategy), f64; a flat policy has one strategy."""
    if output.strategy_logits is None:
        actions = output.action_logits.double().softmax(-1)
        return torch.ones(*actions.shape[:-1], 1, dtype=torch.float64), actions[..., None, :]
    return output.strategy_logits.double().softmax(-1), output.strategywise_logits.double().softmax(-1)


def places_of(batch):
    steps, lanes = batch.actions.shape
    return [(t, b) for t in range(steps) for b in range(lanes)]


def drawn_by_hand(output, batch, place, holds):
    """The distributions out of which a step was drawn, and what was drawn of each."""
    strategies, actions = (part[place] for part in distributions(output))
    strategy, action = batch.strategy[place], batch.actions[place]
    if not holds:
        return [(strategies @ actions, action)]
    return [(strategies, strategy)] * bool(batch.chose[place]) + [(actions[strategy], action)]


def divergence_by_hand(student, teacher, batch, place, holds, direction):
    def compared(output):
        strategies, actions = (part[place] for part in distributions(output))
        # Strategies are compared on every step, also where none was chosen.
        return [strategies, actions[batch.strategy[place]]] if holds else [strategies @ actions]

    pairs = zip(compared(teacher), compared(student), strict=True)
    pairs = pairs if direction == "forward" else [(q, p) for p, q in pairs]
    return sum((p * (p / q).log()).sum() for p, q in pairs)


def targets_by_hand(batch, config, values, ratios):
    """V-trace from the last step to the first: targets and advantages."""
    targets, advantages = {}, {}
    for b in range(batch.actions.shape[1]):
        correction, target = 0.0, values[-1, b].item()
        for t in reversed(range(len(batch.actions))):
            discount = 0.0 if batch.ended[t, b] else config.discount
            reward, value, after = batch.rewards[t, b].item(), values[t, b].item(), values[t + 1, b].item()
            ratio = ratios[t, b].item() if batch.acted[t, b] else 0.0
            advantages[t, b] = reward + discount * target - value
            delta = min(config.clip_rho, ratio) * (reward + discount * after - value)
            correction = delta + discount * config.trace_decay * min(config.clip_c, ratio) * correction
            target = targets[t, b] = value + correction
    return targets, advantages


def policy_loss_by_hand(ratio, advantage, bound):
    if advantage > 0:
        return -advantage * (bound if ratio > bound else ratio)
    return -advantage * (1 / bound if ratio < 1 / bound else ratio)


def value_loss_by_hand(value, before, target, clip):
    errors = [(value - target) ** 2]
    if clip:
        errors.append((before + torch.clamp(value - before, -clip, clip) - target) ** 2)
    return max(errors) / 2


def by_hand(policy, batch, config, *, teacher=None, direction="forward"):
    """The parts of the loss, f64, and what else is told of an update, one step after the other."""
    outputs, _ = policy.unroll(batch.inputs, batch.state)
    holds, values, before = config.min_strategy_steps > 0, outputs.value.double(), batch.value.double()
    log_probs, entropies = {}, {}
    for place in places_of(batch):
        drawn = drawn_by_hand(outputs, batch, place, holds)
        log_probs[place] = sum(p[choice].log() for p, choice in drawn)
        entropies[place] = -sum((p * p.log()).sum() for p, _ in drawn)
    ratios = {place: (own - batch.log_prob[place].double()).exp() for place, own in log_probs.items()}
    targets, advantages = targets_by_hand(batch, config, values, ratios)

    lags = {place: UPDATES - batch.version[place].item() for place in places_of(batch)}
    acted = [place for place in places_of(batch) if batch.acted[place]]
    fresh = [place for place in acted if config.max_lag is None or lags[place] <= config.max_lag]
    if config.normalise_advantages:
        known = np.array([advantages[place] for place in fresh])
        advantages = {place: (value - known.mean()) / known.std() for place, value in advantages.items()}

    def mean(one):
        return torch.stack([torch.as_tensor(one(place), dtype=torch.float64) for place in fresh]).mean()

    bound = 1 + config.clip_policy
    parts = {
        "policy": mean(lambda place: policy_loss_by_hand(ratios[place], advantages[place], bound)),
        "value": mean(lambda p: value_loss_by_hand(values[p], before[p], targets[p], config.clip_value)),
        "entropy": mean(entropies.get),
    }
    if teacher is not None:
        parts["kickstart"] = mean(lambda p: divergence_by_hand(outputs, teacher, batch, p, holds, direction))
    wrong = mean(lambda place: (targets[place] - values[place].item()) ** 2).item()
    seen = {
        "lag/mean": np.mean([lags[place] for place in acted]),
        "lag/max": max(lags[place] for place in acted),
        "lag/stale": 1 - len(fresh) / len(acted),
        "ratio/clipped": mean(lambda place: not 1 / bound <= ratios[place] <= bound).item(),
        "value/mean": mean(lambda place: values[place].item()).item(),
        "value/explained": 1 - wrong / np.var([targets[place] for place in fresh]),
        "reward": np.mean([batch.rewards[place].item() for place in acted]),
    }
    return parts, seen


HOWS = {
    "as_by_default": ((), {}),
    "without_strategies": (("heads.kind=flat",), {"clip_rho": 0.9, "clip_c": 0.8, "discount": 0.9}),
    "with_strategies_held_and_advantages_normalised": (
        (),
        {"min_strategy_steps": 3, "normalise_advantages": True, "max_lag": 2},
    ),
    "with_values_kept_near": ((), {"clip_value": 0.05, "trace_decay": 0.9, "value_weight": 0.25, "max_lag": 2}),
    "with_values_going_anywhere": ((), {"clip_value": 0.0, "clip_policy": 0.02, "discount": 0.5, "entropy": 0.3}),
}


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("how", HOWS)
def test_the_parts_of_the_loss_are_those_counted_by_hand_step_by_step(how, direction):
    changes, appo = HOWS[how]
    policy, teacher, demonstrations = small_policy(*changes), Elder(small_policy(*changes, seed=1)), Demos()
    batch = played_batch(policy, holds="min_strategy_steps" in appo)
    imitation = ImitationConfig(
        demos_weight=weight("0.25"), kickstart_weight=weight("linear:1:0:10"), direction=direction
    )
    learner = learner_of(policy, appo, imitation=imitation, demonstrations=demonstrations, teacher=teacher)
    with torch.no_grad():
        wanted, seen = by_hand(policy, batch, learner.config, teacher=teacher.outputs(batch), direction=direction)
        wanted["demos"] = (policy.heads.value.bias.double() - 2).square().sum()
    assert 0 < seen["ratio/clipped"] < 1, "the batch is one that PPO clips some steps of"
    weights = learner.weights()
    assert weights == Weights(1.0, learner.config.value_weight, learner.config.entropy, 0.25, 0.5)
    metrics = {name: value.item() for name, value in learner.update(batch).items()}
    found = {name.removeprefix("loss/"): value for name, value in metrics.items() if "loss/" in name}
    total = sum(getattr(weights, name) * part for name, part in wanted.items() if name != "entropy")
    wanted["total"] = total - weights.entropy * wanted["entropy"]
    assert found == pytest.approx({name: part.item() for name, part in wanted.items()}, rel=1e-4, abs=1e-5)
    assert {name: metrics[name] for name in seen} == pytest.approx(seen, rel=1e-4, abs=1e-5)


def test_what_is_not_there_is_no_part_of_the_loss():
    policy = small_policy()
    learner = learner_of(policy, imitation=ImitationConfig(demos_weight=weight("1"), kickstart_weight=weight("1")))
    assert learner.weights() == Weights(policy=1.0, value=0.5, entropy=0.01)
    metrics = learner.update(played_batch(policy))
    assert metrics["loss/demos"] == metrics["loss/kickstart"] == 0
    total = metrics["loss/policy"] + 0.5 * metrics["loss/value"] - 0.01 * metrics["loss/entropy"]
    assert metrics["loss/total"].item() == pytest.approx(total.item(), rel=1e-5)


def learned(batch, appo):
    """The weights after an update, with a teacher, and what it was like."""
    policy = small_policy()
    imitation = ImitationConfig(kickstart_weight=weight("0.5"))
    metrics = learner_of(policy, appo, imitation=imitation, teacher=Elder(small_policy(seed=1))).update(batch)
    return weights_of(policy), metrics


@pytest.mark.parametrize("normalise", [False, True])
def test_what_was_done_and_earned_on_steps_that_are_too_old_teaches_nothing(normalise):
    appo = {"max_lag": 1, "normalise_advantages": normalise}
    batch = played_batch(small_policy())
    stale = batch.acted & (UPDATES - batch.version > 1)
    assert 0 < stale.sum() < batch.acted.sum()
    others = {
        "actions": torch.where(stale, (batch.actions + 7) % 121, batch.actions),
        "rewards": torch.where(stale, batch.rewards + 3, batch.rewards),
        "log_prob": torch.where(stale, batch.log_prob - 1, batch.log_prob),
        "value": torch.where(stale, batch.value + 2, batch.value),
    }
    weights, metrics = learned(batch, appo)
    assert metrics["lag/stale"].item() == pytest.approx((stale.sum() / batch.acted.sum()).item())
    assert metrics["lag/max"] == 3
    assert metrics["loss/policy"] != 0
    for name, other in others.items():
        again, _ = learned(replace(batch, **{name: other}), appo)
        assert all(torch.equal(again[part], weights[part]) for part in weights), name
    # The same changes matter where the steps are not too old, the one at the limit included.
    for max_lag in (None, 3):
        weights, metrics = learned(batch, appo | {"max_lag": max_lag})
        assert metrics["lag/stale"] == 0
        oldest = batch.acted & (UPDATES - batch.version == 3)
        again, _ = learned(replace(batch, rewards=batch.rewards + 3 * oldest), appo | {"max_lag": max_lag})
        assert any(not torch.equal(again[part], weights[part]) for part in weights)


def test_a_batch_of_nothing_but_steps_that_are_too_old_changes_nothing():
    before = weights_of(small_policy())
    batch = played_batch(small_policy(), version=torch.zeros(7, 3, dtype=torch.long))
    after, metrics = learned(batch, {"max_lag": UPDATES - 1, "normalise_advantages": True})
    assert metrics["lag/stale"] == 1
    assert metrics["lag/mean"] == UPDATES
    parts = ("policy", "value", "entropy", "kickstart", "total")
    assert [metrics[f"loss/{name}"].item() for name in parts] == [0] * 5
    assert metrics["gradient_norm"] == 0
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_two_passes_are_two_steps_of_adam_and_one_update():
    policy, plain, demonstrations = small_policy(), small_policy(), Demos()
    teacher, changes = Elder(small_policy(seed=1)), []

    batch, before = played_batch(policy), weights_of(policy)
    imitation = ImitationConfig(demos_weight=weight("0.25"), kickstart_weight=weight("0.5"))
    learner = learner_of(
        policy, {"passes": 2, "clip": 0.5}, imitation=imitation,
        demonstrations=demonstrations, teacher=teacher, changing=noting(changes),
    )  # fmt: skip
    metrics = learner.update(batch)
    assert learner.updates == UPDATES + 1
    assert changes == [UPDATES + 1] * 2
    assert (teacher.asked, demonstrations.asked) == (1, 2), "what a teacher would do is the same in every pass"
    assert {state["step"].item() for state in learner.optimizer.state.values()} == {2}

    optimizer = torch.optim.Adam(plain.parameters(), 1e-3, eps=1e-7)
    for step in range(2):
        parts, _ = by_hand(plain, batch, learner.config, teacher=teacher.outputs(batch))
        demos = (plain.heads.value.bias.double() - (2 + step)).square().sum()
        total = parts["policy"] + 0.5 * parts["value"] - 0.01 * parts["entropy"] + 0.5 * parts["kickstart"]
        total = total + 0.25 * demos
        optimizer.zero_grad()
        total.backward()
        norm = torch.stack([parameter.grad.square().sum() for parameter in plain.parameters()]).sum().sqrt()
        assert norm > 0.5, "the gradient is one that is clipped"
        for parameter in plain.parameters():
            parameter.grad *= 0.5 / norm
        optimizer.step()
    assert metrics["loss/total"].item() == pytest.approx(total.item(), rel=1e-4), "of the last pass"
    assert metrics["gradient_norm"].item() == pytest.approx(norm.item(), rel=1e-3)
    moved = torch.cat([(parameter - before[name]).flatten() for name, parameter in plain.named_parameters()])
    apart = torch.cat([(a - b).flatten() for a, b in zip(policy.parameters(), plain.parameters(), strict=True)])
    assert apart.norm() < 0.01 * moved.norm()


@pytest.mark.parametrize("gradients", [Gradients(), Gradients(lambda mine: mine)], ids=["alone", "of_several"])
def test_while_the_critic_warms_up_nothing_else_is_touched_and_schedules_begin_after_it(gradients):
    policy, demonstrations = small_policy(), Demos()
    imitation = ImitationConfig(demos_weight=weight("exponential:0.5:0.5"), kickstart_weight=weight("linear:1:0:4"))
    learner = learner_of(
        policy, {"critic_warmup": 2, "passes": 2}, updates=0, imitation=imitation, demonstrations=demonstrations,
        teacher=Elder(small_policy(seed=1)), gradients=gradients,
    )  # fmt: skip
    batch, critic = played_batch(policy), {"heads.value.weight", "heads.value.bias"}
    for update in range(2):
        assert learner.updates == update
        assert learner.weights() == Weights(policy=0.0, value=0.5)
        before = weights_of(policy)
        metrics = learner.update(batch)
        assert changed(policy, before) == critic
        assert metrics["loss/total"].item() == pytest.approx(0.5 * metrics["loss/value"].item())
        norm = sum(parameter.grad.square().sum() for parameter in policy.heads.value.parameters()).sqrt()
        assert metrics["gradient_norm"].item() == pytest.approx(norm.item()), "of what is trained"
    assert demonstrations.asked == 0, "none is used up"
    assert len(learner.optimizer.state) == 2, "Adam has seen no gradient of the others"
    for demos, kickstart in ((0.5, 1.0), (0.25, 0.75), (0.125, 0.5)):
        assert learner.weights() == Weights(policy=1.0, value=0.5, entropy=0.01, demos=demos, kickstart=kickstart)
        before = weights_of(policy)
        learner.update(batch)
        assert changed(policy, before) == set(before)
    assert demonstrations.asked == 6


@pytest.mark.parametrize(
    ("freeze", "changes", "stays"),
    [
        ("encoder", (), ("encoders.",)),
        ("core", (), ("core.",)),
        ("strategy", (), ("heads.strategy.",)),
        ("actions", (), ("heads.hidden.", "heads.weight", "heads.bias", "offered.")),
        ("actions", ("heads.kind=flat", "heads.hidden=[8]"), ("heads.actions.",)),
        ("strategy", ("heads.kind=flat",), ()),
        ("encoder,core,strategy,actions", (), ("encoders.", "core.", "heads.strategy.", "heads.hidden.", "heads.weight",
                                               "heads.bias", "offered.")),
    ],
)  # fmt: skip
def test_parts_that_are_frozen_stay_bit_for_bit_and_all_others_learn(freeze, changes, stays):
    policy = small_policy(*changes)
    learner = learner_of(policy, {"freeze": freeze, "passes": 2})
    before = weights_of(policy)
    frozen = {name for name in before if name.startswith(stays)}
    assert bool(frozen) == bool(stays)
    learner.update(played_batch(policy))
    assert changed(policy, before) == set(before) - frozen


@pytest.mark.parametrize(
    ("bad", "warmup"),
    [
        ({"rewards": torch.nan}, 0),
        ({"rewards": torch.nan}, 9),
        ({"rewards": torch.inf}, 0),
        ({"log_prob": torch.nan}, 0),
    ],
)
def test_a_batch_of_bad_numbers_is_handed_back_and_leaves_the_learner_as_it_was(bad, warmup):
    policy = small_policy()
    learner = learner_of(policy, {"critic_warmup": warmup, "passes": 2}, updates=0)
    batch = played_batch(policy)
    learner.update(batch)
    before, adam = weights_of(policy), deepcopy(learner.optimizer.state_dict())
    ((name, number),) = bad.items()
    spoiled = getattr(batch, name).clone()
    spoiled[3, 1] = number
    spoiled = replace(batch, **{name: spoiled})
    learner.update(spoiled)
    assert changed(policy, before) == set()
    torch.testing.assert_close(learner.optimizer.state_dict(), adam, rtol=0, atol=0)
    # The numbers are looked at when the next update begins, or before anything is saved.
    with pytest.raises(BadNumbersError, match=r"^loss: (nan|inf), gradient: nan at update 1$") as error:
        learner.update(batch)
    assert error.value.batch is spoiled
    assert changed(policy, before) == set()
    learner.check()
    learner.update(batch)
    assert changed(policy, before)
    assert all(parameter.isfinite().all() for parameter in policy.parameters())


def test_a_policy_that_learns_drops_nothing_out_for_it_is_to_be_the_one_that_acted():
    torch.manual_seed(0)
    policy = Policy(SHRUNK["symbols-base"].changed(["core.transformer.dropout=0.5"]))
    batch = played_batch(policy)
    learner_of(policy)
    assert policy.training
    with torch.no_grad():
        learning, _ = policy.unroll(batch.inputs, batch.state)
        acting, _ = policy.eval().unroll(batch.inputs, batch.state)
    torch.testing.assert_close(learning.value, acting.value)
