"""On devices where no equal cells are looked for, encoders and heads compile to one graph each."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shrinking import SHRUNK, made_up_inputs  # noqa: E402

from strathack.models import distinct, encoders  # noqa: E402
from strathack.models.policy import Policy  # noqa: E402


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", ["lstm", "hier-lstm", "symbols-small", "symbols-events", "symbols-base"])
def test_encoders_and_heads_have_no_graph_break(monkeypatch, name, half):
    for module in (distinct, encoders):
        monkeypatch.setattr(module, "is_worth_finding", lambda device: False)
    policy = Policy(SHRUNK[name]).train()
    inputs = made_up_inputs(np.random.default_rng(0), 4, 3, np.zeros((4, 3), bool))
    for part, memory in policy.memories.items():
        inputs[part], _ = memory(inputs, policy.initial_state(3))
    frames = {key: value.flatten(0, 1) for key, value in inputs.items()}
    features = torch.zeros(4, 3, policy.core.size)
    for part, given in ((policy.encoders[0], frames), (policy.heads, features)):
        torch._dynamo.reset()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found = torch._dynamo.explain(part)(given)
        assert found.graph_count == 1, [str(one.reason) for one in found.break_reasons]
        assert found.graph_break_count == 0
