"""One contract for every preset: an unroll is its steps, whatever games start where."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from shrinking import SHRUNK, made_up_inputs  # noqa: E402

from strathack.models.policy import Policy  # noqa: E402
from strathack.models.presets import PRESETS  # noqa: E402

T, B = 9, 3
TOLERANCE = 1e-4


def outputs_of(output):
    return {name: value for name, value in vars(output).items() if value is not None and value.dtype.is_floating_point}


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(
            left[name], right[name], atol=TOLERANCE, rtol=0, msg=lambda text, n=name: f"{n}: {text}"
        )


def stepped(policy, inputs, state):
    outputs = []
    for t in range(len(inputs["first"])):
        output, state = policy.step({name: value[t] for name, value in inputs.items()}, state)
        outputs.append(outputs_of(output))
    return {name: torch.stack([output[name] for output in outputs]) for name in outputs[0]}, state


@pytest.fixture(scope="module")
def policies():
    torch.manual_seed(0)
    return {name: Policy(config).eval() for name, config in SHRUNK.items()}


def test_there_is_a_small_one_of_each_preset():
    assert set(SHRUNK) == set(PRESETS)
    for name, config in SHRUNK.items():
        kinds = [type(getattr(config, part)) for part in ("encoder", "core", "heads")]
        assert kinds == [type(getattr(PRESETS[name], part)) for part in ("encoder", "core", "heads")]


@pytest.mark.parametrize("name", SHRUNK)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 0.1, 0.5, 1.0]), cut=st.integers(1, T - 1))
def test_an_unroll_is_its_steps_with_games_starting_anywhere(policies, name, seed, share, cut):
    policy = policies[name]
    rng = np.random.default_rng(seed)
    inputs = made_up_inputs(rng, 2 * T, B, rng.random((2 * T, B)) < share)
    with torch.no_grad():
        whole, end = policy.unroll(inputs, policy.initial_state(B))
        steps, step_end = stepped(policy, inputs, policy.initial_state(B))
        # And memory may be carried over a cut anywhere.
        one, state = policy.unroll({key: value[:cut] for key, value in inputs.items()}, policy.initial_state(B))
        other, cut_end = policy.unroll({key: value[cut:] for key, value in inputs.items()}, state)
    assert_equal(outputs_of(whole), steps)
    halves = {key: torch.cat([value, outputs_of(other)[key]]) for key, value in outputs_of(one).items()}
    assert_equal(outputs_of(whole), halves)
    # What is left in a memory that no later step may look at does not matter, so states are held against each
    # other by what comes after them.
    after = made_up_inputs(rng, 2, B, np.zeros((2, B), dtype=bool))
    with torch.no_grad():
        expected = outputs_of(policy.unroll(after, end)[0])
        assert_equal(expected, outputs_of(policy.unroll(after, step_end)[0]))
        assert_equal(expected, outputs_of(policy.unroll(after, cut_end)[0]))


@pytest.mark.parametrize("name", SHRUNK)
def test_nothing_of_an_earlier_game_or_another_lane_is_seen(policies, name):
    policy = policies[name]
    rng = np.random.default_rng(1)
    first = np.zeros((T, B), dtype=bool)
    first[4, 0] = True
    inputs = made_up_inputs(rng, T, B, first)
    other = made_up_inputs(rng, T, B, first)
    changed = {key: value.clone() for key, value in inputs.items()}
    for key in changed:
        if key != "first":
            changed[key][:4, 0], changed[key][:, 2] = other[key][:4, 0], other[key][:, 2]
    with torch.no_grad():
        before, after = (outputs_of(policy.unroll(these, policy.initial_state(B))[0]) for these in (inputs, changed))
    for key, values in before.items():
        torch.testing.assert_close(values[4:, 0], after[key][4:, 0])
        torch.testing.assert_close(values[:, 1], after[key][:, 1])
        assert not torch.allclose(values[3, 0], after[key][3, 0])
        assert not torch.allclose(values[:, 2], after[key][:, 2])


@pytest.mark.parametrize("name", ["transformer", "transformer-lstm", "symbols-base"])
def test_attention_reaches_as_far_in_steps_as_in_unrolls_and_no_further(name):
    torch.manual_seed(0)
    config = SHRUNK[name]
    narrow = {"layers": 1, "context": 4}
    core = config.core
    core = (
        replace(core, transformer=replace(core.transformer, **narrow))
        if "lstm" in core.kind
        else replace(core, **narrow)
    )
    policy = Policy(replace(config, core=core)).eval()
    if "lstm" in config.core.kind:
        # Of the two ways into the past, this leaves attention.
        torch.nn.init.zeros_(policy.core.lstm.lstm.weight_hh_l0)
        torch.nn.init.constant_(policy.core.lstm.lstm.bias_ih_l0[core.lstm.hidden : 2 * core.lstm.hidden], -100.0)
    inputs = made_up_inputs(np.random.default_rng(0), T, 1, np.zeros((T, 1), dtype=bool))
    changed = {key: value.clone() for key, value in inputs.items()}
    changed["tty_chars"][2] = 65
    with torch.no_grad():
        before, after = (stepped(policy, these, policy.initial_state(1))[0] for these in (inputs, changed))
    differs = (before["value"] - after["value"]).abs()[:, 0] > 1e-7
    assert differs.tolist() == [2 <= t < 6 for t in range(T)]
