"""Every preset, shrunk, learns four windows by heart."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shrinking import SHRUNK, made_up_inputs  # noqa: E402

from strathack.models.losses import Targets, cloning_loss  # noqa: E402
from strathack.models.policy import Policy  # noqa: E402

T, B = 16, 4


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
    optimizer = torch.optim.AdamW(policy.parameters(), 3e-3, weight_decay=0)
    for _ in range(1500):
        output, _ = policy.unroll(inputs, policy.initial_state(B), targets.strategies)
        loss = cloning_loss(output, targets, 1.0)
        optimizer.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        if loss.action < 0.02 and loss.strategy < 0.02:
            break
    assert loss.action < 0.05
    assert loss.strategy < 0.05
    # And acting, without the labels, it still knows them.
    policy.eval()
    with torch.no_grad():
        output, _ = policy.unroll(inputs, policy.initial_state(B))
        assert cloning_loss(output, targets, 1.0).action < 0.05
