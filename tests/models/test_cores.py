"""Cores against plain loops over time."""

import pytest

torch = pytest.importorskip("torch")

from strathack.dataset.errors import InputError  # noqa: E402
from strathack.models.config import LSTMConfig, TransformerConfig  # noqa: E402
from strathack.models.cores import (  # noqa: E402
    LSTMCore,
    TransformerCore,
    attention_mask,
    rotated,
    sinusoids,
    steps_since,
)

T, B = 12, 3


def starts(share=0.2):
    torch.manual_seed(1)
    return torch.rand(T, B) < share


@pytest.mark.parametrize("layers", [1, 2])
def test_the_lstm_over_stretches_is_the_loop_over_steps(layers):
    torch.manual_seed(0)
    core, inputs, first = LSTMCore(LSTMConfig(8, layers), 5), torch.randn(T, B, 5), starts()
    state = {name: torch.randn(B, layers, 8) for name in ("h", "c")}
    outputs, after = core((inputs,), first, state)
    memory = tuple(state[name].transpose(0, 1) for name in ("h", "c"))
    plain = []
    for t in range(T):
        memory = tuple(part * ~first[t][None, :, None] for part in memory)
        output, memory = core.lstm(inputs[t : t + 1], memory)
        plain.append(output)
    torch.testing.assert_close(outputs, torch.cat(plain))
    for name, part in zip(("h", "c"), memory, strict=True):
        torch.testing.assert_close(after[name], part.transpose(0, 1))
    gradients = [
        torch.autograd.grad(value.square().sum(), list(core.parameters())) for value in (outputs, torch.cat(plain))
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("inputs", [6, 5])  # an odd number is padded
@pytest.mark.parametrize("layers", [1, 2])
def test_the_lstm_in_bf16_is_nearly_that_in_32_bits(layers, inputs):
    torch.manual_seed(0)
    core, values, first = LSTMCore(LSTMConfig(8, layers), inputs), torch.randn(T, B, inputs), starts()
    state = {name: torch.randn(B, layers, 8) for name in ("h", "c")}
    results = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output, after = core((values,), first, state)
        assert output.dtype is (torch.bfloat16 if half else torch.float32)
        assert after["c"].dtype is torch.float32
        results.append(
            [output.float(), *after.values(), *torch.autograd.grad(output.float().square().sum(), core.parameters())]
        )
    for one, other in zip(*results, strict=True):
        assert (one - other).norm() < 0.02 * one.norm()


def test_steps_since_a_start():
    first = torch.tensor([[0, 1], [0, 0], [1, 0], [0, 0]], dtype=torch.bool)
    assert steps_since(first, torch.tensor([7, 9])).tolist() == [[7, 0], [8, 1], [0, 2], [1, 3]]


def test_the_mask_against_the_rule_said_step_by_step():
    memory, context, first = 4, 5, starts(0.3)
    kept = torch.tensor([0, 2, 4])
    mask = attention_mask(first, kept, memory, context)
    assert mask.shape == (B, T, memory + T)
    for lane in range(B):
        for t in range(T):
            for place in range(memory + T):
                step = place - memory
                a_game = not first[max(step + 1, 0) : t + 1, lane].any()
                expected = step <= t and t - step < context and a_game and -step <= kept[lane]
                assert mask[lane, t, place] == expected, (lane, t, step)


def test_rotary_scores_depend_on_distance_alone():
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    scores = [float((rotated(q, 5 + shift) * rotated(k, 2 + shift)).sum()) for shift in (0, 3, 40)]
    assert scores == pytest.approx([scores[0]] * 3, abs=1e-4)
    assert float((rotated(q, 5) * rotated(k, 4)).sum()) != pytest.approx(scores[0], abs=1e-3)


def test_sinusoids_are_the_paper_s():
    table = sinusoids(torch.arange(10), 6)
    for place in range(10):
        for i in range(3):
            angle = torch.tensor(place / 10000 ** (2 * i / 6))
            assert table[place, 2 * i] == pytest.approx(float(angle.sin()), abs=1e-5)
            assert table[place, 2 * i + 1] == pytest.approx(float(angle.cos()), abs=1e-5)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_layer_is_pytorch_s(norm_first, activation):
    torch.manual_seed(0)
    config = TransformerConfig(
        layers=1, heads=2, feedforward=16, dropout=0.0, positions="sinusoidal", legacy=True,
        norm_first=norm_first, activation=activation,
    )  # fmt: skip
    core = TransformerCore(config, 8)
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation, norm_first=norm_first, batch_first=True)
    layer = core.layers[0]
    pairs = {
        "self_attn.in_proj_": layer.attention_in, "self_attn.out_proj.": layer.attention_out,
        "linear1.": layer.feedforward_in, "linear2.": layer.feedforward_out,
        "norm1.": layer.attention_norm, "norm2.": layer.feedforward_norm,
    }  # fmt: skip
    theirs.load_state_dict(
        {f"{name}{kind}": getattr(module, kind) for name, module in pairs.items() for kind in ("weight", "bias")}
    )
    inputs = torch.randn(T, B, 8)
    found, _ = core((inputs,), starts(), {})
    tokens = inputs.transpose(0, 1) + sinusoids(torch.arange(T), 8)
    expected = theirs(tokens, torch.nn.Transformer.generate_square_subsequent_mask(T))
    torch.testing.assert_close(found, expected.transpose(0, 1), atol=1e-5, rtol=1e-4)


def test_blocks_give_the_paper_s_weights_the_positions_they_know():
    torch.manual_seed(0)
    config = TransformerConfig(layers=1, heads=2, feedforward=16, dropout=0.0, positions="sinusoidal", context=4)
    core = TransformerCore(config, 8)
    legacy = TransformerCore(TransformerConfig(**{**vars(config), "legacy": True}), 8)
    legacy.load_state_dict(core.state_dict())
    inputs, first = torch.randn(8, 1, 8), torch.zeros(8, 1, dtype=torch.bool)
    found, _ = core((inputs,), first, core.initial_state(1))
    blocks = [legacy((inputs[i : i + 4],), first[:4], {})[0] for i in (0, 4)]
    torch.testing.assert_close(found, torch.cat(blocks))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(InputError, match="core: a width of 10 does not split into 4 heads of even size"):
        TransformerCore(TransformerConfig(heads=4), 10)
