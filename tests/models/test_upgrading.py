"""Checkpoints of earlier releases are read as what they were."""

import pytest

torch = pytest.importorskip("torch")

import safetensors  # noqa: E402
from shrinking import SHRUNK  # noqa: E402

from strathack.models.places import published  # noqa: E402
from strathack.models.policy import Policy  # noqa: E402
from strathack.models.saving import load_policy, policy_values  # noqa: E402
from strathack.models.upgrading import with_printable_messages  # noqa: E402

MESSAGE = "encoders.0.message.weight"


def test_a_published_policy_of_version_1_keeps_its_weights_of_all_that_messages_have():
    path = published()["symbols-inventory-1k"]
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata()["version"] == "1", "take another file of that version"
        there = file.get_tensor(f"state_dict.policy.{MESSAGE}").view(80, 256, -1)
    read = load_policy(path).state_dict()[MESSAGE].view(80, 96, -1)
    for byte in range(256):
        expected = there[:, byte].float()
        if 32 <= byte < 127:
            assert torch.equal(read[:, byte - 32], expected)
    assert not read[:, 95].any()


def test_what_an_optimizer_knows_of_weights_is_kept_with_them():
    policy = Policy(SHRUNK["symbols-small"])
    units = policy.state_dict()[MESSAGE].shape[1]
    old = torch.arange(80.0 * 256).repeat(units, 1).T.contiguous()
    values = policy_values(policy, {})
    values["state_dict"][f"policy.{MESSAGE}"] = old
    values["optimizer_states"] = [
        {"state": {0: {"step": torch.tensor(3.0), "exp_avg": old}}, "param_groups": (1, None)}
    ]
    new = with_printable_messages(values)
    moments = new["optimizer_states"][0]["state"][0]
    expected = [0.0 if place == 95 else 256 * column + 32 + place for column in range(80) for place in range(96)]
    assert moments["exp_avg"][:, -1].tolist() == new["state_dict"][f"policy.{MESSAGE}"][:, 0].tolist() == expected
    assert moments["step"] == 3
    assert new["optimizer_states"][0]["param_groups"] == (1, None)
    assert new["policy"] == values["policy"]
    assert new["state_dict"].keys() == values["state_dict"].keys()


def test_the_papers_encoder_has_weights_for_every_byte():
    values = policy_values(Policy(SHRUNK["lstm"]), {})
    assert (
        with_printable_messages(values)["state_dict"][f"policy.{MESSAGE}"] is values["state_dict"][f"policy.{MESSAGE}"]
    )
    assert len(values["state_dict"][f"policy.{MESSAGE}"]) == 80 * 256
