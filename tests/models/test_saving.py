"""Checkpoints that run nothing when they are loaded."""

import json
import pickle

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from shrinking import SHRUNK  # noqa: E402

from strathack.dataset.errors import FormatError, InputError  # noqa: E402
from strathack.models.cleaved import CleavedConfig, CleavedPolicy  # noqa: E402
from strathack.models.places import BEST, LAST  # noqa: E402
from strathack.models.policy import Policy  # noqa: E402
from strathack.models.saving import load_plain_values, load_policy, load_values, save_policy, save_values  # noqa: E402


def same(left, right):
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right) and left.dtype == right.dtype
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return left == right and type(left) is type(right)


def test_nested_values_come_back_as_they_were(tmp_path):
    shared = torch.arange(6.0).view(2, 3)
    values = {
        "a": [1, 2.5, None, True, "text", (3, [shared])],
        "b": {0: shared.t(), "1": torch.tensor(7), "dict": {}, "tensor": "no tensor"},
        "c": {"b": {"0": shared}, "infinite": float("inf")},
        "d": torch.zeros(0, dtype=torch.uint8),
    }
    save_values(tmp_path / "x", values)
    assert same(load_values(tmp_path / "x"), values)
    plain = {"a": [1, 2.5, None, True, "text", (3, [None])], "b": values["b"] | {0: None, "1": None}}
    assert same(
        load_plain_values(tmp_path / "x"),
        values | plain | {"c": {"b": {"0": None}, "infinite": float("inf")}, "d": None},
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_cannot_be_told_as_plain_values_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"a\.1: a set cannot be saved"):
        save_values(tmp_path / "x", {"a": [1, {2}]})
    with pytest.raises(TypeError, match="a key of type tuple cannot be saved"):
        save_values(tmp_path / "x", {"a": {(1, 2): 3}})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*SHRUNK, "cleaved"])
def test_policies_come_back(tmp_path, name):
    torch.manual_seed(0)
    config = SHRUNK.get(name) or CleavedConfig(SHRUNK["hier-lstm"], SHRUNK["symbols-small"], ("high",))
    policy = CleavedPolicy(config) if name == "cleaved" else Policy(config)
    save_policy(tmp_path / LAST, policy)
    loaded = load_policy(tmp_path)
    assert loaded.config == policy.config
    assert same(dict(loaded.state_dict()), dict(policy.state_dict()))
    assert not loaded.training


def test_a_run_s_best_checkpoint_goes_before_its_last(tmp_path):
    policy = Policy(SHRUNK["lstm"])
    with pytest.raises(InputError, match=r"no checkpoint in it; expected best\.safetensors, last\.safetensors or"):
        load_policy(tmp_path)
    save_policy(tmp_path / BEST, policy)
    (tmp_path / LAST).write_bytes(b"")
    load_policy(tmp_path)


def test_other_files_are_refused_in_one_line(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    path = tmp_path / "x"
    with pytest.raises(InputError, match="x: no such checkpoint"):
        load_policy(path)
    for content in (b"", b"nonsense" * 10, pickle.dumps(Evil())):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="x: no checkpoint, or not whole"):
            load_policy(path)
    safetensors.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(FormatError, match="a safetensors file, but no checkpoint of strathack"):
        load_policy(path)
    metadata = {"format": "strathack-checkpoint", "version": "9", "values": json.dumps({"dict": []})}
    safetensors.save_file({"a": torch.zeros(1)}, path, metadata)
    with pytest.raises(FormatError, match="checkpoint version 9; this release reads 2 and 1"):
        load_policy(path)
    safetensors.save_file({"a": torch.zeros(1)}, path, metadata | {"version": "2", "values": "{"})
    with pytest.raises(FormatError, match="x: its header is damaged"):
        load_policy(path)
    save_values(path, {"a": 1})
    with pytest.raises(FormatError, match="x: no policy in it; strathack train makes such runs"):
        load_policy(path)
    policy = Policy(SHRUNK["lstm"])
    weights = {f"policy.{name}": value for name, value in policy.state_dict().items()}
    del weights["policy.heads.value.bias"]
    save_values(path, {"state_dict": weights, "policy": policy.config.to_values()})
    with pytest.raises(FormatError, match=r"no policy in it: .*heads\.value\.bias"):
        load_policy(path)
    save_policy(path, policy)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(FormatError, match="no checkpoint, or not whole"):
        load_policy(path)
