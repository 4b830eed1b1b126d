"""From strategies to one distribution over actions."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from strathack.models.config import FlatConfig, HierarchicalConfig  # noqa: E402
from strathack.models.heads import FlatHeads, HierarchicalHeads, combined, mixture_log_probs  # noqa: E402

T, B, K, A = 4, 3, 5, 7


def logits(scale=3.0):
    torch.manual_seed(0)
    return torch.randn(T, B, K) * scale, torch.randn(T, B, K, A) * scale


def test_the_mixture_is_the_sum_over_strategies():
    strategy, actions = logits()
    found = mixture_log_probs(strategy, actions)
    for t, b, a in itertools.product(range(T), range(B), range(A)):
        p = sum(strategy[t, b].softmax(0)[k] * actions[t, b, k].softmax(0)[a] for k in range(K))
        assert found[t, b, a] == pytest.approx(float(p.log()), abs=1e-5)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(T, B))


def test_values_are_expected_over_strategies():
    strategy, actions = logits()
    found = combined(strategy, actions, torch.zeros(T, B), "values", None).action_logits
    for t, b, a in itertools.product(range(T), range(B), range(A)):
        expected = sum(strategy[t, b].softmax(0)[k] * actions[t, b, k, a] for k in range(K))
        assert found[t, b, a] == pytest.approx(float(expected), abs=1e-5)


def test_the_mixture_has_the_gradients_of_the_plain_formula():
    strategy, actions = (value.requires_grad_() for value in logits())
    plain = (strategy.softmax(-1)[..., None] * actions.softmax(-1)).sum(-2).log()
    found = mixture_log_probs(strategy, actions)
    weights = torch.randn(T, B, A)
    for one, other in zip(
        torch.autograd.grad(found, (strategy, actions), weights),
        torch.autograd.grad(plain, (strategy, actions), weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_mixture_of_the_nearly_impossible_is_finite():
    least = -126 * math.log(2)
    actions = torch.tensor([[0.0, -80.0], [0.0, 0.0]], requires_grad=True)
    # A strategy that is never chosen adds nothing, whatever it does.
    for unlikely in (-1000.0, -torch.inf):
        found = mixture_log_probs(torch.tensor([0.0, unlikely]), actions)
        assert found.tolist() == pytest.approx([0.0, -80.0])
    found = mixture_log_probs(torch.tensor([0.0, -1000.0]), actions - torch.tensor([[0.0, 420.0], [0.0, 0.0]]))
    assert found.tolist() == pytest.approx([0.0, least])
    (gradient,) = torch.autograd.grad(found.sum(), actions)
    assert gradient.isfinite().all()


def test_heads_kept_together_are_heads():
    torch.manual_seed(0)
    heads = HierarchicalHeads(HierarchicalConfig(strategies=tuple("abcde"), hidden=6), 8, A)
    features = torch.randn(T, B, 8)
    output = heads(features)
    assert output.strategywise_logits.shape == (T, B, K, A)
    for k in range(K):
        first = torch.nn.functional.linear(
            features, heads.hidden.weight[6 * k : 6 * k + 6], heads.hidden.bias[6 * k : 6 * k + 6]
        )
        expected = torch.nn.functional.elu(first) @ heads.weight[k] + heads.bias[k]
        torch.testing.assert_close(output.strategywise_logits[:, :, k], expected)
    torch.testing.assert_close(output.at(2).strategywise_logits, output.strategywise_logits[2])


def test_labels_choose_the_head_in_training_and_likelihood_otherwise():
    strategy, actions = logits()
    labels = torch.tensor([[0, 1, -1], [2, 3, 4], [0, 0, 0], [-1, -1, 1]])
    value = torch.zeros(T, B)
    taught = combined(strategy, actions, value, "label", labels)
    free = combined(strategy, actions, value, "label", None)
    for t, b in itertools.product(range(T), range(B)):
        likely = int(strategy[t, b].argmax())
        assert free.strategy[t, b] == likely
        expected = likely if labels[t, b] < 0 else int(labels[t, b])
        assert taught.strategy[t, b] == expected
        torch.testing.assert_close(taught.action_logits[t, b], actions[t, b, expected])
    heads = HierarchicalHeads(HierarchicalConfig(strategies=tuple("abcde"), hidden=6, combine="label"), 8, A)
    features = torch.randn(T, B, 8)
    assert torch.equal(heads.train()(features, labels.clamp(min=0)).strategy, labels.clamp(min=0))
    assert torch.equal(heads.eval()(features, labels).strategy, heads(features).strategy_logits.argmax(-1))


def test_sampling_takes_one_head_as_often_as_it_is_likely():
    torch.manual_seed(0)
    strategy = torch.tensor([0.5, 0.3, 0.2]).log().expand(20_000, 3).clone().requires_grad_()
    actions = torch.eye(3).expand(20_000, 3, 3)
    output = combined(strategy, actions, torch.zeros(20_000), "sampled", None)
    torch.testing.assert_close(output.action_logits, torch.eye(3)[output.strategy], atol=1e-5, rtol=0)
    shares = torch.bincount(output.strategy, minlength=3) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.02, rtol=0)
    # The gradient goes straight through the choice.
    output.action_logits[:, 0].sum().backward()
    assert strategy.grad.abs().sum() > 0


def test_flat_heads():
    output = FlatHeads(FlatConfig((6, 6)), 8, A)(torch.randn(T, B, 8))
    assert output.action_logits.shape == (T, B, A)
    assert output.value.shape == (T, B)
    assert output.strategy_logits is None
    assert output.at(0).action_logits.shape == (B, A)


@pytest.mark.parametrize("config", [FlatConfig(), HierarchicalConfig(hidden=4)])
def test_values_are_of_32_bits_under_autocast(config):
    torch.manual_seed(0)
    heads = (FlatHeads if isinstance(config, FlatConfig) else HierarchicalHeads)(config, 16, A)
    features = torch.randn(T, B, 16).bfloat16().float()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = heads(features.bfloat16())
    assert rounded.action_logits.dtype == torch.bfloat16 or isinstance(config, HierarchicalConfig)
    assert torch.equal(rounded.value, heads(features).value)
