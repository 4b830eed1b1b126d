"""The cloning loss against sums written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from strathack.dataset.actions import ACTION_NAMES  # noqa: E402
from strathack.dataset.errors import InputError  # noqa: E402
from strathack.models.heads import PolicyOutput, combined  # noqa: E402
from strathack.models.losses import (  # noqa: E402
    UNKNOWN,
    Targets,
    action_table,
    cloning_loss,
    discounted_sums,
    inputs_of,
    nll_sum,
    strategy_table,
    targets_of,
)

T, B, K, A = 3, 2, 4, 5


def test_means_are_over_what_is_known():
    torch.manual_seed(0)
    logits, targets = torch.randn(T, B, A), torch.tensor([[0, 4], [UNKNOWN, 2], [1, UNKNOWN]])
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])
    known = [(t, b, int(targets[t, b])) for t in range(T) for b in range(B) if targets[t, b] >= 0]
    terms = [-float(logits[t, b].log_softmax(0)[a]) for t, b, a in known]
    total, count = nll_sum(logits, targets)
    assert float(total / count) == pytest.approx(np.mean(terms))
    weighted = np.average(terms, weights=[weights[a] for _, _, a in known])
    total, count = nll_sum(logits, targets, weights)
    assert float(total / count) == pytest.approx(weighted)
    nothing = Targets(torch.full((T, B), UNKNOWN), None)
    assert float(cloning_loss(PolicyOutput(logits, torch.zeros(T, B)), nothing, 1.0).total) == 0


def test_the_parts_sum_to_the_whole_and_padding_has_no_gradient():
    torch.manual_seed(0)
    action, strategy = torch.randn(T, B, A, requires_grad=True), torch.randn(T, B, K, requires_grad=True)
    output = PolicyOutput(action, torch.zeros(T, B), strategy, torch.zeros(T, B, K, A))
    targets = Targets(torch.tensor([[0, 1], [2, UNKNOWN], [3, 4]]), torch.tensor([[0, UNKNOWN], [1, UNKNOWN], [2, 3]]))
    loss = cloning_loss(output, targets, 0.5)
    assert loss.total.item() == pytest.approx(loss.action.item() + 0.5 * loss.strategy.item())
    with_heads = cloning_loss(output, targets, 0.5, head_weight=2.0)
    assert with_heads.head.item() == pytest.approx(np.log(A))  # the heads of this output say nothing
    assert with_heads.total.item() == pytest.approx(loss.total.item() + 2 * np.log(A))
    loss.total.backward()
    assert not action.grad[1, 1].any()
    assert not strategy.grad[:2, 1].any()
    assert action.grad[0, 1].any()
    flat = cloning_loss(PolicyOutput(action, torch.zeros(T, B)), Targets(targets.actions, None), 0.5)
    assert flat.strategy.item() == 0
    assert flat.total.item() == pytest.approx(loss.action.item())


def test_labels_go_by_name():
    table = strategy_table(("fight", "explore"), ("none", "explore", "fight"), "strategy")
    assert table[:3].tolist() == [2, 1, UNKNOWN]
    with pytest.raises(InputError, match="substrategy: the dataset has dig, for which the policy has no action head"):
        strategy_table(("dig",), ("fight",), "substrategy")
    reordered = tuple(reversed(ACTION_NAMES))
    assert action_table(reordered)[:121].tolist() == list(range(120, -1, -1))
    assert action_table(ACTION_NAMES)[255] == UNKNOWN
    with pytest.raises(InputError, match="actions: the policy has 118, without north, east, south;"):
        action_table(ACTION_NAMES[3:])


def test_targets_of_a_batch():
    batch = {
        "actions": torch.tensor([[3, 255], [5, 7]], dtype=torch.uint8),
        "hihack_strategy": torch.tensor([[1, -1], [0, 1]], dtype=torch.int8),
        "mask": torch.tensor([[True, True], [True, False]]),
    }
    actions = torch.from_numpy(action_table(ACTION_NAMES))
    strategies = torch.from_numpy(strategy_table(("explore", "fight"), ("none", "explore", "fight"), "hihack_strategy"))
    targets = targets_of(batch, actions, strategies, "hihack_strategy")
    assert targets.actions.tolist() == [[3, UNKNOWN], [5, UNKNOWN]]
    assert targets.strategies.tolist() == [[2, UNKNOWN], [1, UNKNOWN]]
    assert targets_of(batch, actions, None, None).strategies is None


def test_the_action_before_is_named_by_the_policys_own_indices():
    names = ("extra", *reversed(ACTION_NAMES))
    table = torch.from_numpy(action_table(names))
    batch = {"previous_action": torch.tensor([[0, 7, 255]], dtype=torch.uint8), "actions": torch.tensor([[0, 7, 120]]),
             "mask": torch.ones(1, 3, dtype=torch.bool)}  # fmt: skip
    before = inputs_of(batch, table)["previous_action"][0].tolist()
    assert before == [names.index(ACTION_NAMES[0]), names.index(ACTION_NAMES[7]), 255]
    assert targets_of(batch, table, None, None).actions[0, :2].tolist() == before[:2], "as the targets are"


def test_learners_together_weigh_every_step_as_one_alone_does():
    torch.manual_seed(0)
    actions, strategies = torch.randint(0, 5, (4, 8)), torch.randint(0, 3, (4, 8))
    actions[:, 4:] = torch.where(torch.rand(4, 4) < 0.9, UNKNOWN, actions[:, 4:])  # the second knows few
    strategies[:, :4] = UNKNOWN
    strategies[0, 0] = 2  # and the first one label
    weights = torch.tensor([1.0, 2.0, 5.0])
    parameters = [torch.randn(4, 8, 3, 5, requires_grad=True), torch.randn(4, 8, 3, requires_grad=True)]

    def loss(lanes, averaged):
        heads, chances = parameters[0][:, lanes], parameters[1][:, lanes]
        output = combined(chances, heads, torch.zeros(4, 1), "mixture", None)
        targets = Targets(actions[:, lanes], strategies[:, lanes])
        return cloning_loss(output, targets, 0.7, weights, 0.3, averaged)

    whole = torch.autograd.grad(loss(slice(0, 8), None).total, parameters)
    counts = []
    for lanes in (slice(0, 4), slice(4, 8)):
        loss(lanes, lambda count: counts.append(count) or count)
    mean = torch.stack(counts).mean(0)
    halves = [loss(lanes, lambda count: mean).total for lanes in (slice(0, 4), slice(4, 8))]
    together = torch.autograd.grad(sum(halves) / 2, parameters)
    for one, both in zip(whole, together, strict=True):
        torch.testing.assert_close(one, both)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.floats(0.1, 1))
def test_discounted_returns_begin_anew_with_each_game(seed, steps, discount):
    rng = np.random.default_rng(seed)
    rewards, first = rng.normal(size=(steps, 2)), rng.random((steps, 2)) < 0.2
    before = rng.normal(size=2)
    found = discounted_sums(*map(torch.from_numpy, (rewards, first, before)), discount)
    for lane in range(2):
        total = before[lane]
        for step in range(steps):
            total = discount * (0 if first[step, lane] else total) + rewards[step, lane]
            assert float(found[step, lane]) == pytest.approx(total)
