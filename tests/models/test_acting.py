"""Choosing actions, and holding strategies."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shrinking import SHRUNK, made_up_inputs  # noqa: E402

from strathack.dataset.errors import InputError  # noqa: E402
from strathack.dataset.schema import BLStat  # noqa: E402
from strathack.models.acting import WARMEST, ActingConfig, ActingPolicy, drawn, idle_steps  # noqa: E402
from strathack.models.heads import chosen  # noqa: E402
from strathack.models.policy import Policy  # noqa: E402

T, B = 20, 3


def acted(config, name="symbols-small", seed=0, starts=0.1, sampled=False):
    torch.manual_seed(0)
    policy = Policy(SHRUNK[name].changed(["heads.combine=sampled"] if sampled else [])).eval()
    # Far from even, so that strategies matter.
    if policy.config.strategies:
        policy.heads.strategy.weight.data *= 30
    rng = np.random.default_rng(0)
    first = rng.random((T, B)) < starts
    first[0] = True
    inputs = made_up_inputs(rng, T, B, first)
    actor = ActingPolicy(policy, config, torch.Generator().manual_seed(seed))
    state, acts = actor.initial_state(B), []
    for t in range(T):
        act, state = actor.act({key: value[t] for key, value in inputs.items()}, state)
        acts.append(act)
    return acts, first


def test_without_holding_the_probability_is_the_policy_s():
    acts, _ = acted(ActingConfig())
    for act in acts:
        expected = act.output.action_logits.log_softmax(-1).gather(-1, act.action[:, None])[:, 0]
        torch.testing.assert_close(act.log_prob, expected)
        joint = (
            act.output.strategy_logits.log_softmax(-1)
            + act.output.strategywise_logits.log_softmax(-1)[torch.arange(B), :, act.action]
        )
        assert torch.equal(act.strategy, joint.argmax(-1))
        assert act.chose is None


def test_greedy_takes_the_most_likely():
    acts, _ = acted(ActingConfig(greedy=True))
    assert all(torch.equal(act.action, act.output.action_logits.argmax(-1)) for act in acts)
    again, _ = acted(ActingConfig(greedy=True), seed=1)
    assert all(torch.equal(one.action, other.action) for one, other in zip(acts, again, strict=True))


@pytest.mark.parametrize("hold", [0, 2])
def test_a_temperature_sharpens_what_is_drawn_from(hold):
    acts, _ = acted(ActingConfig(min_strategy_steps=hold, temperature=0.25))
    for act in acts:
        output = act.output
        if not hold:
            expected = (4 * output.action_logits).log_softmax(-1)
        else:
            expected = (4 * chosen(output.strategywise_logits, act.strategy)).log_softmax(-1)
        expected = expected.gather(-1, act.action[:, None])[:, 0]
        if hold:
            strategy = (4 * output.strategy_logits).log_softmax(-1).gather(-1, act.strategy[:, None])[:, 0]
            expected = expected + torch.where(act.chose, strategy, 0.0)
        torch.testing.assert_close(act.log_prob, expected)
    cold, _ = acted(ActingConfig(temperature=1e-4))
    greedy, _ = acted(ActingConfig(greedy=True))
    assert all(torch.equal(one.action, other.action) for one, other in zip(cold, greedy, strict=True))
    for wrong in (0.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="temperature: .* is not above 0 and finite"):
            ActingConfig(temperature=wrong)


def test_idle_steps_count_up_and_turns_make_up_for_some():
    lanes = {"turns": [5, 5, 5, 6, 6, 7], "first": [True, False, False, False, False, False]}
    idle, before, counts = torch.tensor([30]), torch.tensor([5]), []
    for turn, first in zip(lanes["turns"], lanes["first"], strict=True):
        idle = idle_steps(torch.tensor([turn]), before, idle, torch.tensor([first]))
        before = torch.tensor([turn])
        counts.append(int(idle))
    assert counts == [0, 1, 2, 0, 1, 0]
    long = idle_steps(torch.tensor([9]), torch.tensor([8]), torch.tensor([25]), torch.tensor([False]))
    assert int(long) == 15
    # The first frame of a game is no idle step, whatever turn the game before ended with.
    assert int(idle_steps(torch.tensor([1]), torch.tensor([1]), torch.tensor([99]), torch.tensor([True]))) == 0


@pytest.mark.parametrize("hold", [0, 2])
def test_a_policy_whose_patience_ends_draws_from_flatter_distributions(hold):
    torch.manual_seed(0)
    policy = Policy(SHRUNK["symbols-small"]).eval()
    actor = ActingPolicy(policy, ActingConfig(min_strategy_steps=hold, temperature=0.5, patience=4))
    frame = made_up_inputs(np.random.default_rng(0), 1, 2, np.ones((1, 2), dtype=bool))
    inputs, state = {key: value[0] for key, value in frame.items()}, actor.initial_state(2)
    for step in range(30):
        if step == 24:  # a turn passes in the first lane, another game begins in the second
            inputs["blstats"][0, BLStat.TIME] += 1
        inputs["first"] = torch.tensor([step == 0, step in (0, 24)])
        act, state = actor.act(inputs, state)
        idle = [step, step] if step < 24 else [step - 11, step - 24]
        temperature = 0.5 * (torch.tensor(idle) / 4).clamp(1, WARMEST)[:, None]
        logits = act.output.action_logits if not hold else chosen(act.output.strategywise_logits, act.strategy)
        expected = (logits / temperature).log_softmax(-1).gather(-1, act.action[:, None])[:, 0]
        if hold:
            strategy = (act.output.strategy_logits / temperature).log_softmax(-1)
            strategy = strategy.gather(-1, act.strategy[:, None])[:, 0]
            expected = expected + torch.where(act.chose, strategy, 0.0)
        torch.testing.assert_close(act.log_prob, expected)


def test_patience_needs_turns_and_draws():
    with pytest.raises(InputError, match="patience: -1 is below 0"):
        ActingConfig(patience=-1)
    with pytest.raises(InputError, match="patience: with greedy there is nothing to draw"):
        ActingConfig(greedy=True, patience=50)
    with pytest.raises(InputError, match="patience: the policy does not see blstats"):
        ActingPolicy(Policy(SHRUNK["lstm"]), ActingConfig(patience=50))


@pytest.mark.parametrize("hold", [1, 4])
def test_a_strategy_is_held_for_its_steps_and_chosen_anew_in_a_new_game(hold):
    acts, first = acted(ActingConfig(min_strategy_steps=hold))
    for lane in range(B):
        held = 0
        for t, act in enumerate(acts):
            anew = first[t, lane] or held == hold
            assert bool(act.chose[lane]) == anew, (t, lane)
            held = 1 if anew else held + 1
            strategy, action = int(act.strategy[lane]), int(act.action[lane])
            if not anew:
                assert strategy == int(acts[t - 1].strategy[lane])
            expected = act.output.strategywise_logits[lane, strategy].log_softmax(0)[action]
            if anew:
                expected = expected + act.output.strategy_logits[lane].log_softmax(0)[strategy]
            torch.testing.assert_close(act.log_prob[lane], expected)
    assert len({int(act.strategy[0]) for act in acts}) > 1


def test_a_policy_that_samples_holds_each_strategy_for_a_step_and_is_greedy_if_asked():
    acts, _ = acted(ActingConfig(greedy=True), sampled=True)
    for act in acts:
        assert torch.equal(act.strategy, act.output.strategy_logits.argmax(-1))
        assert torch.equal(act.action, act.output.strategywise_logits[torch.arange(B), act.strategy].argmax(-1))
    drawn = [acted(ActingConfig(), seed=seed, sampled=True)[0] for seed in (0, 0, 1)]
    actions = [torch.stack([act.action for act in acts]) for acts in drawn]
    assert torch.equal(actions[0], actions[1])
    assert not torch.equal(actions[0], actions[2])
    assert all(act.chose.all() for act in drawn[0])


def test_a_flat_policy_acts_and_holds_nothing():
    acts, _ = acted(ActingConfig(), name="lstm")
    assert acts[0].strategy is None
    with pytest.raises(InputError, match="min_strategy_steps: a flat policy has no strategies to hold"):
        acted(ActingConfig(min_strategy_steps=2), name="lstm")
    with pytest.raises(InputError, match="min_strategy_steps: -1 is below 0"):
        ActingConfig(min_strategy_steps=-1)


def test_a_number_draws_each_choice_as_often_as_it_is_probable():
    logits = torch.tensor([[0.0, 1.0, -1e30, 2.0], [5.0, -1e30, -1e30, -1e30], [-1e30, -1e30, -1e30, 0.0]])
    # All that are given: multiples of 2⁻²³ below 1.
    numbers = torch.cat([torch.arange(0, 2**23, 97) / 2**23, torch.tensor([1 - 2.0**-23])])
    for row in logits:
        chosen = drawn(row.expand(len(numbers), -1), numbers)
        shares = torch.bincount(chosen, minlength=4) / len(numbers)
        torch.testing.assert_close(shares, row.softmax(-1), atol=1e-3, rtol=0)
        assert not shares[row == -1e30].any()


def test_numbers_that_are_given_decide_strategy_and_action():
    torch.manual_seed(0)
    policy = Policy(SHRUNK["symbols-small"]).eval()
    inputs = made_up_inputs(np.random.default_rng(0), 1, 2, np.ones((1, 2), bool))
    frame = {key: value[0] for key, value in inputs.items()}
    actor = ActingPolicy(policy, ActingConfig(min_strategy_steps=3))
    state = actor.initial_state(2)
    uniforms = torch.tensor([[0.2, 0.7], [0.9, 0.1]])
    act, _ = actor.act(frame, state, uniforms)
    again, _ = actor.act(frame, state, uniforms)
    assert act.action.tolist() == again.action.tolist()
    assert act.strategy.tolist() == drawn(act.output.strategy_logits, uniforms[:, 0]).tolist()
    of_strategy = act.output.strategywise_logits[torch.arange(2), act.strategy]
    assert act.action.tolist() == drawn(of_strategy, uniforms[:, 1]).tolist()


@pytest.mark.parametrize("name", ["symbols-events", "hier-lstm"])
def test_remembering_changes_nothing(name):
    torch.manual_seed(0)
    policy = Policy(SHRUNK[name]).eval()
    plain, remembering = ActingPolicy(policy), ActingPolicy(policy, remembers=True)
    inputs = made_up_inputs(np.random.default_rng(0), 6, 4, np.zeros((6, 4), dtype=bool))
    # What is seen changes little from step to step.
    for name in ("tty_chars", "tty_colors", "specials", "inv_strs", "inv_letters"):
        inputs[name][1:, :, 2:] = inputs[name][:1, :, 2:]
    states = [acting.initial_state(4) for acting in (plain, remembering)]
    for _ in range(2):
        for step in range(6):
            frame = {name: values[step] for name, values in inputs.items()}
            (one, states[0]), (other, states[1]) = plain.act(frame, states[0]), remembering.act(frame, states[1])
            torch.testing.assert_close(other.output.action_logits, one.output.action_logits, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(other.output.value, one.output.value, atol=1e-5, rtol=1e-5)
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.mul_(1.1).add_(0.01)  # marks weigh nothing at first
        remembering.forget(policy.modules())
