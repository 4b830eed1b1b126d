"""Two policies that act as one."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shrinking import SHRUNK, made_up_inputs  # noqa: E402

from strathack.dataset.errors import InputError  # noqa: E402
from strathack.models.cleaved import CleavedConfig, CleavedPolicy, config_from_values  # noqa: E402
from strathack.models.config import FlatConfig  # noqa: E402
from strathack.models.heads import mixture_log_probs  # noqa: E402

T, B = 6, 2
LOW = SHRUNK["symbols-small"]
HIGH = SHRUNK["hier-lstm"].with_strategies(("fight", "explore"))


def inputs():
    rng = np.random.default_rng(0)
    return made_up_inputs(rng, T, B, rng.random((T, B)) < 0.2)


def test_high_chooses_for_low():
    torch.manual_seed(0)
    policy = CleavedPolicy(CleavedConfig(HIGH, LOW)).eval()
    output, _ = policy.unroll(inputs(), policy.initial_state(B))
    high, _ = policy.high.unroll(inputs(), policy.high.initial_state(B))
    low, _ = policy.low.unroll(inputs(), policy.low.initial_state(B))
    fight, explore = (LOW.strategies.index(name) for name in ("fight", "explore"))
    chosen = low.strategywise_logits[:, :, [fight, explore]]
    torch.testing.assert_close(output.action_logits, mixture_log_probs(high.strategy_logits, chosen))
    assert set(output.strategy_logits.argmax(-1).flatten().tolist()) <= {fight, explore}
    torch.testing.assert_close(output.value, low.value)


def test_its_unrolls_are_its_steps():
    torch.manual_seed(0)
    policy, frames = CleavedPolicy(CleavedConfig(HIGH, LOW)).eval(), inputs()
    whole, _ = policy.unroll(frames, policy.initial_state(B))
    state, steps = policy.initial_state(B), []
    for t in range(T):
        output, state = policy.step({name: value[t] for name, value in frames.items()}, state)
        steps.append(output.action_logits)
    torch.testing.assert_close(whole.action_logits, torch.stack(steps), atol=1e-4, rtol=0)


def test_a_frozen_part_is_not_trained():
    policy = CleavedPolicy(CleavedConfig(HIGH, LOW, ("high",))).train()
    assert not any(parameter.requires_grad for parameter in policy.high.parameters())
    assert all(parameter.requires_grad for parameter in policy.low.parameters())
    assert not policy.high.training
    assert policy.low.training
    output, _ = policy(inputs(), policy.initial_state(B))
    output.action_logits.sum().backward()
    assert all(parameter.grad is None for parameter in policy.high.parameters())
    assert config_from_values(policy.config.to_values()) == policy.config


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="low: has no action head for dig, which high may choose"):
        CleavedConfig(HIGH.with_strategies(("fight", "dig")), LOW)
    with pytest.raises(InputError, match="high: a flat policy; expected one with strategies"):
        CleavedConfig(replace(HIGH, heads=FlatConfig()), LOW)
    with pytest.raises(InputError, match="freeze: 'hihg' is unknown; did you mean 'high'"):
        CleavedConfig(HIGH, LOW, ("hihg",))
    with pytest.raises(InputError, match="low: 2 actions, others than the 121 of high"):
        CleavedConfig(HIGH, replace(LOW, actions=("north", "south")))
