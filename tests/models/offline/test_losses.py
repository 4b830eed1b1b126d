"""The losses of offline reinforcement learning against plain loops in double precision, on random trees of outcomes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from strathack.dataset.errors import InputError  # noqa: E402
from strathack.models.offline.losses import (  # noqa: E402
    advantage_weights,
    awac_advantages,
    conservative_gap,
    expectile_loss,
    mixed,
    td_targets,
)
from strathack.models.offline.options import OfflineConfig  # noqa: E402

SEEDS = st.integers(0, 10_000)
SIZES = st.tuples(st.integers(1, 5), st.integers(2, 4))


def tree(seed, size):
    """States that each have actions, of which one was taken and led on or ended: arrays of doubles."""
    rng = np.random.default_rng(seed)
    states, actions = size
    return {
        "values": rng.normal(size=(states, actions)) * 3,
        "logits": rng.normal(size=(states, actions)) * 2,
        "actions": rng.integers(0, actions, states),
        "rewards": rng.normal(size=states),
        "terminated": rng.random(states) < 0.4,
        "next": rng.normal(size=states),
    }


def tensors(arrays):
    return {name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}


@given(SEEDS, SIZES, st.floats(0.1, 1))
def test_targets(seed, size, discount):
    arrays = tree(seed, size)
    t = tensors(arrays)
    found = td_targets(t["rewards"], t["terminated"], t["next"], discount)
    for place in range(size[0]):
        expected = arrays["rewards"][place]
        if not arrays["terminated"][place]:
            expected += discount * arrays["next"][place]
        assert float(found[place]) == pytest.approx(expected)


@settings(deadline=None)
@given(SEEDS, SIZES, st.floats(0.1, 5), st.floats(1, 100))
def test_awac(seed, size, temperature, largest):
    arrays = tree(seed, size)
    t = tensors(arrays)
    advantages = awac_advantages(t["values"], t["logits"].log_softmax(-1), t["actions"])
    weights = advantage_weights(advantages, 1 / temperature, largest)
    for place in range(size[0]):
        odds = [math.exp(one) for one in arrays["logits"][place]]
        mean = sum(odd / sum(odds) * value for odd, value in zip(odds, arrays["values"][place], strict=True))
        advantage = arrays["values"][place][arrays["actions"][place]] - mean
        assert float(advantages[place]) == pytest.approx(advantage)
        assert float(weights[place]) == pytest.approx(min(math.exp(advantage / temperature), largest))


def test_weights_of_huge_advantages_are_finite():
    weights = advantage_weights(torch.tensor([1e9, -1e9, 0.0]), 1.0, 100.0)
    assert weights.tolist() == pytest.approx([100, 0, 1], rel=1e-5)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=9), st.floats(0.05, 0.95))
def test_expectiles(errors, expectile):
    found = expectile_loss(torch.tensor(errors, dtype=torch.float64), expectile)
    for value, error in zip(found.tolist(), errors, strict=True):
        assert value == pytest.approx(abs(expectile - (error < 0)) * error**2)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(-3, 3), min_size=3, max_size=30), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_least_expectile_loss_is_at_the_expectile(values, expectile):
    """Where τ · Σ of what is above equals (1 − τ) · Σ of what is below."""
    values = torch.tensor(values, dtype=torch.float64)
    grid = torch.linspace(-3, 3, 1201, dtype=torch.float64)
    best = grid[expectile_loss(values - grid[:, None], expectile).sum(1).argmin()]
    above, below = (values - best).clamp(min=0).sum(), (best - values).clamp(min=0).sum()
    assert float(expectile * above - (1 - expectile) * below) == pytest.approx(0, abs=0.01 * len(values))


@settings(deadline=None)
@given(SEEDS, SIZES)
def test_the_conservative_gap(seed, size):
    arrays = tree(seed, size)
    t = tensors(arrays)
    found = conservative_gap(t["values"], t["actions"])
    for place in range(size[0]):
        values = arrays["values"][place]
        expected = math.log(sum(math.exp(value) for value in values)) - values[arrays["actions"][place]]
        assert float(found[place]) == pytest.approx(expected)
        assert float(found[place]) >= 0


@given(SEEDS, st.integers(1, 4), st.integers(1, 6), st.integers(2, 5))
def test_mixtures_of_values(seed, states, heads, actions):
    rng = np.random.default_rng(seed)
    values, weights = rng.normal(size=(states, heads, actions)), rng.random(heads)
    weights /= weights.sum()
    found = mixed(torch.from_numpy(values), torch.from_numpy(weights))
    for state in range(states):
        for action in range(actions):
            expected = sum(weights[head] * values[state, head, action] for head in range(heads))
            assert float(found[state, action]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"discount": 0.0}, "discount: 0.0; expected above 0"),
        ({"target_rate": 2.0}, "target_rate: 2.0; expected above 0 and at most 1"),
        ({"expectile": 1.0}, "expectile: 1.0; expected a number between 0 and 1"),
        ({"temperature": -1.0}, "temperature: -1.0 is not above 0"),
        ({"heads": 1}, "heads: 1 is below 2"),
        ({"td_weight": -0.1}, "td_weight: -0.1 is below 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        OfflineConfig(**options)
