"""Policies on the hub: there and back, what their cards say, and what loading never does."""

import json
import pickle
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("pytorch_lightning")
torch = pytest.importorskip("torch")

from hub import READER, WRITER  # noqa: E402
from huggingface_hub import HfApi  # noqa: E402
from made_up_games import write_games  # noqa: E402

from strathack.cli import main  # noqa: E402
from strathack.dataset.errors import FormatError, InputError, RunError  # noqa: E402
from strathack.models.cleaved import CleavedConfig, CleavedPolicy  # noqa: E402
from strathack.models.options import PublishConfig  # noqa: E402
from strathack.models.places import MODEL, checkpoint_at, is_policy  # noqa: E402
from strathack.models.policy import Policy  # noqa: E402
from strathack.models.presets import preset  # noqa: E402
from strathack.models.publishing import publish  # noqa: E402
from strathack.models.saving import load_policy, load_values, save_policy  # noqa: E402

NAME = "me/tiny"
SCREENS = ("tty_chars", "tty_colors", "tty_cursor", "blstats")
SMALL = "encoder.embedding=4; encoder.message=8; encoder.size=16; heads.hidden=8; core.hidden=16"
FIGURE = {"mean": {"value": 12.5, "low": 1.0, "high": 20.0}, "standard_error": 2.25,
          "median": {"value": 10.0, "low": 1.0, "high": 20.0},
          "interquartile_mean": {"value": 11.0, "low": 2.0, "high": 19.0}}  # fmt: skip
EVALUATION = {
    "seeds": "1:3", "clock": "seed", "max_steps": None, "greedy": False, "nle_version": "1.3.0", "temperature": 0.6,
    "patience": 50, "min_strategy_steps": 0, "games": 2, "ends": {"death": 2}, "created": "2026-01-02T03:04:05+00:00",
    "figures": {"score": FIGURE, "max_depth": FIGURE, "steps": FIGURE},
}  # fmt: skip


@pytest.fixture
def policy():
    torch.manual_seed(3)
    made = Policy(preset("symbols-small").changed(SMALL.split("; ")))
    made.about = {"frames": 123_456, "temperature": 0.6, "patience": 50, "evaluation": EVALUATION}
    return made.eval()


@pytest.fixture
def run(policy, tmp_path):
    save_policy(tmp_path / "run.safetensors", policy, policy.about)
    return tmp_path / "run.safetensors"


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_folder_brings_the_policy_back(policy, tmp_path):
    policy.save_pretrained(tmp_path / "out")
    again = Policy.from_pretrained(tmp_path / "out")
    assert same(policy, again)
    assert again.config == policy.config
    assert again.about == policy.about
    assert not again.training
    assert same(policy, load_policy(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["policy"] == policy.config.to_values()


def test_a_cleaved_policy_comes_back_too_and_not_as_the_other_class(policy, tmp_path):
    cleaved = CleavedPolicy(CleavedConfig(policy.config, policy.config, frozen=("high",)))
    cleaved.save_pretrained(tmp_path / "out")
    assert same(cleaved, CleavedPolicy.from_pretrained(tmp_path / "out"))
    with pytest.raises(InputError, match="a CleavedPolicy; expected a Policy"):
        Policy.from_pretrained(tmp_path / "out")


def test_push_and_the_ways_back(hub, policy, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    first = policy.push_to_hub(NAME).oid
    monkeypatch.delenv("HF_TOKEN")
    assert same(policy, Policy.from_pretrained(NAME))
    assert same(policy, load_policy(Path(f"hf://{NAME}")))
    with torch.no_grad():
        next(policy.parameters()).add_(1)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    policy.push_to_hub(NAME)
    assert same(policy, Policy.from_pretrained(NAME))
    assert not same(policy, Policy.from_pretrained(NAME, revision=first))
    assert not same(policy, load_policy(Path(f"hf://{NAME}@{first}")))


def test_commands_take_an_address_where_they_take_a_run(hub, run, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    words = ["models", "publish", run, tmp_path / "out", "--push", NAME, "--precision", "32", "--dataset", "me/games"]
    assert main(list(map(str, words))) == 0
    assert f"uploaded: {hub.url}/{NAME}/commit/" in capfd.readouterr().out
    assert is_policy(Path(f"hf://{NAME}"))
    assert not is_policy(Path("hf://datasets/me/games"))
    words = (
        f"evaluate hf://{NAME} --out {tmp_path / 'played'} --games 1 --max-steps 20 --workers 0 --clock seed --quiet"
    )
    assert main(words.split()) == 0
    settings = json.loads((tmp_path / "played" / "evaluation.json").read_text())["settings"]
    assert settings["demonstrator"] == f"policy {NAME}"
    assert (settings["temperature"], settings["patience"]) == (0.6, 50)
    # Published again from the hub: what is known goes along.
    publish(PublishConfig(run=Path(f"hf://{NAME}"), out=tmp_path / "again.safetensors"))
    assert load_policy(tmp_path / "again.safetensors").about["frames"] == 123_456


def test_a_card_s_figures_are_those_of_the_evaluation(run, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"film")
    (tmp_path / "notes.md").write_text("Mind the gap.")
    out = publish(
        PublishConfig(run=run, out=tmp_path / "tiny", dataset="me/games", replay=tmp_path / "film.mp4",
                      notes=tmp_path / "notes.md", push=NAME)
    )  # fmt: skip
    card = (out / "README.md").read_text()
    head = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)[1])
    assert head["library_name"] == "strathack"
    assert head["datasets"] == ["me/games"]
    ((result,),) = (model["results"] for model in head["model-index"])
    assert [(one["type"], one["value"]) for one in result["metrics"]] == [
        ("mean_reward", "12.5 +/- 2.25"), ("max_depth", "12.5 +/- 2.25"),
    ]  # fmt: skip
    assert "| score | 12 ± 2 | 10 (1 to 20) | 11 (2 to 19) |" in card
    assert "2 games: seeds 1:3, each to its end; clock seed; temperature 0.6, patience 50; NLE 1.3.0." in card
    for told in ("123,456", "Mind the gap.", 'src="replay.mp4"', f"strathack evaluate hf://{NAME}", "me/games"):
        assert told in card
    results = yaml.safe_load((out / ".eval_results" / "nethack.yaml").read_text())
    assert [(one["dataset"]["task_id"], one["value"]) for one in results] == [
        ("score_seeds_1_3", 12.5), ("max_depth_seeds_1_3", 12.5),
    ]  # fmt: skip
    assert (out / "replay.mp4").read_bytes() == b"film"


def test_without_an_evaluation_no_figure_is_claimed(policy, tmp_path):
    policy.about = {}
    policy.save_pretrained(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "It was not evaluated." in card
    assert "model-index" not in card
    assert not (tmp_path / "out" / ".eval_results").exists()


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("whole", [True, False])
def test_loading_never_runs_code(policy, tmp_path, whole):
    out = tmp_path / "out"
    policy.save_pretrained(out)
    for name in ("pytorch_model.bin", "policy.pkl", "model.pt", "last.ckpt"):
        (out / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    torch.save(Trap(tmp_path / "sprung"), out / "pytorch_model.bin")
    if whole:
        assert same(policy, Policy.from_pretrained(out))
    else:
        (out / MODEL).write_bytes((out / "policy.pkl").read_bytes())
        with pytest.raises(FormatError, match="no checkpoint, or not whole"):
            Policy.from_pretrained(out)
        (out / MODEL).unlink()
        with pytest.raises(InputError, match="no such checkpoint"):
            Policy.from_pretrained(out)
    assert not (tmp_path / "sprung").exists()
    pickle.loads((out / "policy.pkl").read_bytes())
    assert (tmp_path / "sprung").exists(), "the trap works"


def test_what_the_hub_does_not_have_is_told(hub, policy, monkeypatch):
    for address, message in (
        (f"hf://{NAME}", "there is no such policy, or the token may not read it"),
        ("hf://datasets/me/games", "no address of a policy; expected hf://user/name@revision"),
        ("hf://tiny", "no address of a policy"),
    ):
        with pytest.raises(InputError, match=message):
            checkpoint_at(Path(address))
    monkeypatch.setenv("HF_TOKEN", WRITER)
    policy.push_to_hub(NAME)
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(InputError, match=f"hf://{NAME}@nope: there is no such revision"):
        load_policy(Path(f"hf://{NAME}@nope"))


def test_without_the_hub_what_was_loaded_before_is_loaded(hub, policy, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    policy.push_to_hub(NAME)
    assert same(policy, load_policy(Path(f"hf://{NAME}")))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert same(policy, load_policy(Path(f"hf://{NAME}")))
    assert same(policy, Policy.from_pretrained(NAME))
    with pytest.raises(RunError, match=r"hf://me/other: cannot be reached, and model.safetensors of it is not in"):
        load_policy(Path("hf://me/other"))


def test_a_download_with_a_wrong_checksum_is_fetched_again_and_then_refused(hub, policy, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    policy.push_to_hub(NAME)
    hub.faults.corrupt(r"/resolve/.*safetensors")
    assert same(policy, load_policy(Path(f"hf://{NAME}")))
    with torch.no_grad():
        next(policy.parameters()).add_(1)
    policy.push_to_hub(NAME)
    hub.faults.corrupt(r"/resolve/.*safetensors", times=2)
    with pytest.raises(RunError, match=r"the checksum of model.safetensors differs, twice"):
        load_policy(Path(f"hf://{NAME}"))


def test_a_folder_that_was_made_otherwise_is_not_uploaded(hub, run, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    words = ["models", "publish", str(run), str(tmp_path / "out"), "--push", NAME]
    hub.faults.fail(r"/commit/", 500, times=1)
    with pytest.raises(SystemExit):
        main(words)
    made = tmp_path / "out" / ".published.json"
    told = json.loads(made.read_text())
    del told["mantissa"]
    made.write_text(json.dumps(told))
    assert main(words) == 0, "the same command goes on, also from a release without one of its options"
    with pytest.raises(SystemExit) as ended:
        main([*words, "--precision", "32"])
    assert ended.value.code == 2
    assert "exists already, made otherwise" in capfd.readouterr().err
    assert ".published.json" not in {item.rfilename for item in HfApi(endpoint=hub.url).model_info(NAME).siblings}


def test_how_it_acts_can_be_set_back(run, tmp_path):
    for given, expected in (({}, 0.6), ({"temperature": 1.0}, None), ({"temperature": 0.9}, 0.9)):
        out = tmp_path / f"{expected}.safetensors"
        publish(PublishConfig(run=run, out=out, **given))
        assert load_policy(out).about.get("temperature") == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("file.safetensors", "--push", NAME), "push: is for a folder, and file.safetensors is a file"),
        (("folder", "--push", "tiny"), "push: 'tiny'; expected user/name"),
        (("folder", "--dataset", "games"), "dataset: 'games'; expected user/name"),
        (("folder", "--private"), "private: nothing is uploaded"),
        (("folder", "--replay", "none.mp4"), "replay: none.mp4: no such file"),
    ],
)
def test_what_does_not_go_together_is_refused(run, tmp_path, monkeypatch, capfd, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["models", "publish", str(run), *words])
    assert ended.value.code == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / words[0]).exists()


def test_a_run_on_data_elsewhere_is_resumed(hub, tmp_path, monkeypatch):
    write_games(tmp_path / "data", [40, 80, 33, 120, 60, 77, 90, 45], keys=SCREENS)
    words = ["dataset", "publish", tmp_path / "data", hub.plain, "--observations", "--quiet"]
    hub.plain.rmdir()
    assert main(list(map(str, words))) == 0
    address = f"{hub.url}/plain"
    words = f"--lanes 3 --unroll 8 --steps 2 --validate-every 2 --device cpu --quiet --out {tmp_path / 'run'}"
    assert main(["train", address, "--set", SMALL, *words.split()]) == 0
    assert main(["train", "--resume", str(tmp_path / "run"), "--steps", "4", "--quiet"]) == 0
    assert load_values(tmp_path / "run" / "last.safetensors")["global_step"] == 4
