"""Checkpoints of earlier releases are read as what they were."""

import pytest

torch = pytest.importorskip("torch")

import safetensors  # noqa: E402
from old_checkpoints import make_version_1  # noqa: E402
from shrinking import SHRUNK  # noqa: E402

from strathack.models.cleaved import CleavedConfig, CleavedPolicy  # noqa: E402
from strathack.models.labelling.labeller import Labeller, LabellerConfig, load_labeller  # noqa: E402
from strathack.models.places import published  # noqa: E402
from strathack.models.policy import Policy  # noqa: E402
from strathack.models.pretraining.networks import Pretrained, PretrainedConfig, load_pretrained, screen_alone  # noqa: E402
from strathack.models.saving import load_policy, load_values, save_policy, save_values  # noqa: E402

OTHERS = 95
"""The place of all characters but the printable ones, which are left out."""


def test_a_published_policy_of_version_1_keeps_its_weights_of_all_that_messages_have():
    path, name = published()["symbols-inventory-1k"], "encoders.0.message.weight"
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata()["version"] == "1"
        there = file.get_tensor(f"state_dict.policy.{name}").view(80, 256, -1)
    read = load_policy(path).state_dict()[name].view(80, 96, -1)
    assert torch.equal(read[:, :OTHERS], there[:, ord(" ") : ord("~") + 1].float())
    assert not read[:, OTHERS].any()


def policy(config):
    made = CleavedPolicy(config) if isinstance(config, CleavedConfig) else Policy(config)
    return made, lambda path: save_policy(path, made), load_policy


def network(name, made, load):
    def save(path):
        weights = {f"{name}.{key}": value for key, value in made.state_dict().items()}
        save_values(path, {name: made.config.to_values(), "state_dict": weights})

    return made, save, load


MADE = {
    "symbols": lambda: policy(SHRUNK["symbols-events"]),
    "pixels": lambda: policy(SHRUNK["lstm"]),
    "cleaved": lambda: policy(CleavedConfig(SHRUNK["hier-lstm"], SHRUNK["symbols-small"])),
    "labeller": lambda: network(
        "labeller", Labeller(LabellerConfig(SHRUNK["symbols-small"].encoder, names=("eat", "fight"))), load_labeller
    ),
    "pretrained": lambda: network(
        "pretrained", Pretrained(PretrainedConfig(screen_alone(SHRUNK["symbols-small"].encoder))), load_pretrained
    ),
}


@pytest.mark.parametrize("kind", MADE)
def test_networks_of_version_1_are_what_they_were(kind, tmp_path):
    torch.manual_seed(0)
    made, save, load = MADE[kind]()
    save(tmp_path / "x.safetensors")
    make_version_1(tmp_path / "x.safetensors")
    loaded, compared = load(tmp_path / "x.safetensors").state_dict(), 0
    for name, value in made.state_dict().items():
        if len(value.shape) == 2 and len(value) == 80 * 96:
            assert not loaded[name].view(80, 96, -1)[:, OTHERS].any()
            value.view(80, 96, -1)[:, OTHERS] = 0
            compared += 1
        assert torch.equal(loaded[name], value), name
    assert compared == {"pixels": 0, "pretrained": 2}.get(kind, 1)


def test_moments_are_those_of_the_weights_that_are_kept(tmp_path):
    small = Policy(SHRUNK["symbols-small"])
    weight = small.state_dict()["encoders.0.message.weight"]
    moments = torch.arange(float(weight.numel())).view_as(weight)
    values = {"state_dict": {f"policy.{name}": value for name, value in small.state_dict().items()}}
    values["optimizer_states"] = [{"state": {0: {"step": torch.tensor(3.0), "exp_avg": moments}}, "param_groups": (1,)}]
    save_values(tmp_path / "x", values)
    make_version_1(tmp_path / "x")
    (read,) = load_values(tmp_path / "x")["optimizer_states"]
    found = read["state"][0]["exp_avg"].view(80, 96, -1)
    assert torch.equal(found[:, :OTHERS], moments.view(80, 96, -1)[:, :OTHERS])
    assert not found[:, OTHERS].any()
    assert read["state"][0]["step"] == 3
    assert read["param_groups"] == (1,)
