"""A policy that gains parts plays as before until they learn; what would do more than add is refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shrinking import SHRUNK, made_up_inputs  # noqa: E402

from strathack.dataset.errors import InputError  # noqa: E402
from strathack.models.cleaved import CleavedConfig, CleavedPolicy  # noqa: E402
from strathack.models.growing import grown  # noqa: E402
from strathack.models.policy import Policy  # noqa: E402

INVENTORY, CORPSES = "encoder.inventory=8", "encoder.corpses=8"
EVENTS, MARKS = "encoder.events=8", "encoder.marks=true"


@pytest.mark.parametrize(
    ("preset", "changes"),
    [("symbols-small", [INVENTORY]), ("symbols-small", [CORPSES]), ("symbols-small", [INVENTORY, CORPSES]),
     ("symbols-small", [CORPSES, MARKS]), ("symbols-marks", [EVENTS])],
)  # fmt: skip
def test_a_grown_policy_plays_as_before_and_its_new_part_learns(preset, changes):
    torch.manual_seed(0)
    policy = Policy(SHRUNK[preset]).eval()
    new = grown(policy, changes).eval()
    assert new.config == policy.config.changed(changes)
    inputs = made_up_inputs(np.random.default_rng(0), 5, 2, np.zeros((5, 2), dtype=bool))
    before, after = (one.unroll(inputs, one.initial_state(2))[0].action_logits for one in (policy, new))
    torch.testing.assert_close(before, after, atol=0, rtol=0)
    after.square().sum().backward()
    columns = new.encoders[0].out.weight.grad[:, policy.encoders[0].out.in_features :]
    assert columns.abs().sum() > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("core.hidden=64", r"set: core.* is \[\d+, \d+\] in the weights, \[\d+, \d+\] once changed"),
        ("encoder.blstats=0", "set: the weights have encoders.0.blstats.weight, which the changed policy lacks"),
        ("encoder.crop=11", r"set: encoders.0.crop_out.weight is \[\d+, \d+\] in the weights"),
        ("encoder.embedding=8", r"set: encoders.0.\S+ is \["),
        (
            "core.layers=2",
            r"set: core\.\S+ cannot be added to a policy; encoder.inventory, .*, encoder.marks and heads.offered can",
        ),
        ("encoder.inventry=8", "set: 'encoder.inventry=8': 'inventry' is unknown; did you mean 'inventory'"),
    ],
)
def test_what_does_more_than_add_is_refused(change, said):
    with pytest.raises(InputError, match=said):
        grown(Policy(SHRUNK["symbols-small"]), [change])


def test_what_would_come_before_a_part_that_is_there_is_refused():
    policy = grown(Policy(SHRUNK["symbols-small"]), [CORPSES])
    with pytest.raises(
        InputError, match="encoder.inventory cannot be added to a policy that has encoder.corpses already"
    ):
        grown(policy, [INVENTORY])


def test_a_cleaved_policy_is_refused():
    config = SHRUNK["symbols-small"]
    with pytest.raises(InputError, match="set: a cleaved policy cannot be changed"):
        grown(CleavedPolicy(CleavedConfig(config, config)), [INVENTORY])
