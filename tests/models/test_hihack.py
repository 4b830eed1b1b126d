"""The paper's policies: what the reference implementation puts out, on weights and inputs made by rule."""

import json
import zlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from strathack.dataset.errors import InputError  # noqa: E402
from strathack.models.commands import import_hihack  # noqa: E402
from strathack.models.hihack import imported_policy  # noqa: E402
from strathack.models.options import ImportHihackConfig  # noqa: E402
from strathack.models.saving import load_policy  # noqa: E402

CASES = (
    "cdgpt5",
    "cdgpt5_linear_decoder",
    "cdgpt5_xxl_policy",
    "hierarchical_lstm",
    "transformer_lstm",
    "hierarchical_transformer_lstm",
    "flat_transformer",
)
T, B = 6, 2


def sinusoidal(length, size):
    places, rates = np.arange(length)[:, None], 10000.0 ** (-np.arange(0, size, 2) / size)
    table = np.zeros((length, 1, size), dtype=np.float32)
    table[:, 0, 0::2], table[:, 0, 1::2] = np.sin(places * rates), np.cos(places * rates)
    return table


def made_by_rule(name, shape):
    if name.endswith(".pe"):
        return sinusoidal(shape[0], shape[2])
    fan = np.prod(shape[1:]) if len(shape) > 1 else shape[0]
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape) / np.sqrt(fan)
    return values.astype(np.float32)


def reference_inputs():
    g = np.random.default_rng(0)
    image = g.integers(0, 256, (T, B, 3, 108, 108), dtype=np.uint8)
    chars = g.integers(32, 127, (T, B, 24, 80), dtype=np.uint8)
    action = g.integers(0, 121, (T, B))
    done = g.random((T, B)) < 0.1
    done[0], done[3, 0] = False, True
    inputs = {"screen_image": image, "tty_chars": chars, "previous_action": action, "first": done}
    return {name: torch.from_numpy(value) for name, value in inputs.items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Writes a checkpoint of a case as the published code does."""

    def write(shared, case):
        spec = json.loads((shared / "fixtures" / "reference_policies.json").read_text())[case]
        model = {name: torch.from_numpy(made_by_rule(name, shape)) for name, shape in spec["state_dict"].items()}
        path = tmp_path_factory.mktemp(case) / "checkpoint.tar"
        torch.save({"learner_state": {"model": model, "optimizer": {}}, "flags": spec["flags"]}, path)
        return path, spec

    return write


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if "transformer" in case else case for case in CASES]
)
def test_the_reference_outputs(shared, checkpoint, case):
    path, spec = checkpoint(shared, case)
    policy = imported_policy(path)
    path.unlink()
    assert policy.config.encoder.crop == 18
    assert sum(parameter.numel() for parameter in policy.parameters()) == spec["parameters"]
    expected = np.load(shared / "fixtures" / "reference_policies.npz")
    inputs = reference_inputs()
    policy.eval()
    with torch.no_grad():
        unrolled, _ = policy.unroll(inputs, policy.initial_state(B))
        state, steps = policy.initial_state(B), []
        for t in range(T):
            output, state = policy.step({name: value[t] for name, value in inputs.items()}, state)
            steps.append(output)
    hierarchical = f"{case}/unroll/strategy_logits" in expected
    for mode, outputs in (("unroll", [unrolled.at(t) for t in range(T)]), ("step", steps)):
        ours = {"baseline": torch.stack([output.value for output in outputs])}
        if hierarchical:
            ours["strategy_logits"] = torch.stack([output.strategy_logits for output in outputs])
            by_strategy = torch.stack([output.strategywise_logits for output in outputs])
            ours["strategywise_policy_logits"] = by_strategy.permute(2, 0, 1, 3)
        else:
            ours["policy_logits"] = torch.stack([output.action_logits for output in outputs])
        assert {f"{case}/{mode}/{name}" for name in ours} == {
            key for key in expected if key.startswith(f"{case}/{mode}/")
        }
        for name, values in ours.items():
            np.testing.assert_allclose(values.numpy(), expected[f"{case}/{mode}/{name}"], atol=1e-4, rtol=0)


def without(path, key):
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["learner_state"]["model"][key]
    torch.save(checkpoint, path)


def test_other_files_are_refused_in_one_line_and_nothing_in_them_is_run(shared, checkpoint, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    path = tmp_path / "x.tar"
    with pytest.raises(InputError, match="x.tar: No such file"):
        imported_policy(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="x.tar: not a checkpoint of tensors and plain values"):
        imported_policy(path)
    torch.save({"learner_state": {"model": {}, "optimizer": Evil()}, "flags": {}}, path)
    with pytest.raises(InputError, match="x.tar: not a checkpoint of tensors and plain values"):
        imported_policy(path)
    assert "ran" not in capsys.readouterr().out
    named = {"learner_state": {"model": {1: torch.zeros(2)}}}
    for values in ({"learner_state": {}}, {"model": {}}, [1, 2], torch.zeros(()), torch.zeros(2), named):
        torch.save(values, path)
        with pytest.raises(InputError, match="x.tar: no learner_state.model in it"):
            imported_policy(path)
    torch.save({"learner_state": {"model": {"a": torch.zeros(1)}}, "flags": {}}, path)
    with pytest.raises(InputError, match="parameter 'screen_encoder.fc_head.0.weight' is missing; expected one of the"):
        imported_policy(path)
    for model, flags in ((3, {}), ({"a": 1}, {}), ({"screen_encoder.fc_head.0.weight": torch.tensor(1.0)}, [1])):
        torch.save({"learner_state": {"model": model}, "flags": flags}, path)
        with pytest.raises(InputError, match="x.tar: "):
            imported_policy(path)
    real, _ = checkpoint(shared, "cdgpt5_linear_decoder")
    without(real, "bottomline_encoder.conv_net.2.bias")
    with pytest.raises(InputError, match="parameter 'bottomline_encoder.conv_net.2.bias' is missing"):
        imported_policy(real)


def test_the_command_makes_a_checkpoint_that_loads(shared, checkpoint, tmp_path, capsys):
    path, _ = checkpoint(shared, "hierarchical_lstm")
    out = tmp_path / "policy.safetensors"
    assert import_hihack(ImportHihackConfig(path, out)) == 0
    assert "pixels, lstm 512, action heads: 13, sampled; 8,276,979 parameters" in capsys.readouterr().out
    policy = load_policy(out)
    assert policy.config.strategies[:2] == ("none", "explore")
    assert policy.config.label == "hihack_strategy"
    with pytest.raises(InputError, match="policy.safetensors: exists already"):
        import_hihack(ImportHihackConfig(path, out))
