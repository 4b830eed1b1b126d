"""Every preset, shrunk, learns four windows by heart."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shrinking import SHRUNK, made_up_inputs  # noqa: E402

from strathack.models.heads import combined  # noqa: E402
from strathack.models.losses import Targets, cloning_loss  # noqa: E402
from strathack.models.policy import Policy  # noqa: E402

T, B = 16, 4
STEPS = 1500


def test_each_head_is_trained_on_the_steps_of_its_strategy():
    # One strategy's head knows the action, another strategy it was: without the last term, the head of that one
    # hardly learns, and the strategy's probability is pulled both ways.
    strategy = torch.zeros(1, 1, 2, requires_grad=True)
    actions = torch.tensor([[[[9.0, 0.0], [0.0, 9.0]]]], requires_grad=True)
    targets = Targets(torch.tensor([[0]]), torch.tensor([[1]]))
    moved = []
    for weight in (0.0, 1.0):
        output = combined(strategy, actions, torch.zeros(1, 1), "mixture", None)
        loss = cloning_loss(output, targets, 1.0, head_weight=weight)
        (gradient,) = torch.autograd.grad(loss.total, actions)
        moved.append(float(gradient[0, 0, 1].norm()))
    assert moved[0] < 1e-3
    assert moved[1] > 1


@pytest.mark.slow
@pytest.mark.parametrize("combine", ["mixture", "label", "sampled"])
@pytest.mark.parametrize("name", SHRUNK)
def test_four_windows_by_heart(name, combine):
    config = SHRUNK[name]
    if not config.strategies and combine != "mixture":
        pytest.skip("a flat policy combines nothing")
    if config.strategies:
        config = config.changed([f"heads.combine={combine}"])
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    inputs = made_up_inputs(rng, T, B, rng.random((T, B)) < 0.1)
    actions = torch.from_numpy(rng.integers(0, 121, (T, B)))
    targets = Targets(actions, torch.from_numpy(rng.integers(0, len(config.strategies) or 1, (T, B))))
    policy = Policy(config)
    optimizer = torch.optim.AdamW(policy.parameters(), 2e-3, weight_decay=0)
    for _ in range(STEPS):
        output, _ = policy.unroll(inputs, policy.initial_state(B), targets.strategies)
        loss = cloning_loss(output, targets, 1.0, head_weight=1.0)
        optimizer.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        if loss.action < 0.03 and loss.strategy < 0.03:
            break
    assert loss.action < 0.05
    assert loss.strategy < 0.05
    if combine == "sampled":
        return  # Which head acts is drawn.
    # And acting, without the labels, it still knows them.
    policy.eval()
    with torch.no_grad():
        output, _ = policy.unroll(inputs, policy.initial_state(B))
        assert cloning_loss(output, targets, 1.0).action < 0.05
