"""Sums and what follows from them."""

import math

import pytest

torch = pytest.importorskip("torch")

from strathack.models.heads import PolicyOutput  # noqa: E402
from strathack.models.losses import UNKNOWN, Targets  # noqa: E402
from strathack.models.metrics import Tally, result_of, tally  # noqa: E402

NAMES = ("explore", "fight", "pray")


def output_of(action_probs, strategy_probs):
    action, strategy = torch.tensor(action_probs).log()[:, None], torch.tensor(strategy_probs).log()[:, None]
    return PolicyOutput(action, torch.zeros(len(action), 1), strategy, action[:, :, None].expand(-1, -1, 3, -1))


def example():
    output = output_of(
        [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]],
        [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]],
    )
    targets = Targets(torch.tensor([[0], [1], [1], [UNKNOWN]]), torch.tensor([[0], [1], [1], [0]]))
    return output, targets


def test_shares_and_means():
    result = result_of(tally(*example()), NAMES)
    assert result.steps == 3
    assert result.action_nll == pytest.approx(-(torch.tensor([0.7, 0.8, 0.3]).log().mean()).item())
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.top5 == 1
    assert result.strategy_nll == pytest.approx(-torch.tensor([0.8, 0.3, 0.7, 0.5]).log().mean().item())
    assert result.strategy_accuracy == pytest.approx(3 / 4)
    assert result.majority == pytest.approx(1 / 2)
    # Of two strategies that occur, one is recognised always and the other every second time.
    assert result.macro_recall == pytest.approx(0.75)
    assert result.confusion == ((2, 0, 0), (1, 1, 0), (0, 0, 0))
    assert {row.name: (row.steps, row.recall, row.accuracy) for row in result.by_strategy} == {
        "explore": (2, 1.0, 1.0), "fight": (2, 0.5, 0.5)
    }  # fmt: skip
    assert result.scalars()["recall/fight"] == 0.5


def test_the_five_most_likely_are_five():
    logits = torch.arange(8.0).expand(8, 1, 8)
    targets = Targets(torch.arange(8)[:, None], None)
    assert result_of(tally(PolicyOutput(logits, torch.zeros(8, 1)), targets), ()).top5 == 5 / 8


def test_sums_add_up():
    output, targets = example()
    parts = [
        tally(
            PolicyOutput(*(value[rows] for value in (output.action_logits, output.value, output.strategy_logits))),
            Targets(targets.actions[rows], targets.strategies[rows]),
        )
        for rows in (slice(0, 1), slice(1, 4))
    ]
    whole, sums = tally(output, targets), Tally.empty(3) + parts[0] + parts[1]
    for one, other in zip(whole.sums(), sums.sums(), strict=True):
        torch.testing.assert_close(one, other)


def test_one_that_knows_nothing_is_never_right():
    action = torch.zeros(4, 1, 3)
    result = result_of(
        tally(PolicyOutput(action, torch.zeros(4, 1)), Targets(torch.tensor([[0], [1], [2], [0]]), None)), ()
    )
    assert result.accuracy == 0
    assert result.macro_recall is None
    assert "strategy_nll" not in result.scalars()


def test_nothing_is_no_division_by_zero():
    assert math.isnan(result_of(Tally.empty(3), NAMES).action_nll), "which is no perfect policy"
