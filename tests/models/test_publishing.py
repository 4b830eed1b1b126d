"""Policies as single files: what is told of them, and their names in place of runs."""

import json
import shutil
import zlib
from pathlib import Path

import pytest

pytest.importorskip("pytorch_lightning")
torch = pytest.importorskip("torch")

from made_up_games import write_games  # noqa: E402

from strathack.cli import main  # noqa: E402
from strathack.dataset.errors import FormatError, InputError  # noqa: E402
from strathack.models import places  # noqa: E402
from strathack.models.options import PublishConfig, TrainConfig  # noqa: E402
from strathack.models.places import checkpoint_at  # noqa: E402
from strathack.models.publishing import publish  # noqa: E402
from strathack.models.running import with_absolute_paths  # noqa: E402
from strathack.models.saving import load_policy, load_values, save_values, weights_digest  # noqa: E402
from strathack.models.training import train_policy  # noqa: E402

SMALL = "encoder.embedding=4; encoder.message=8; encoder.size=16; heads.hidden=8; core.hidden=16"
FIGURES = {"score": {"mean": {"value": 12.0, "low": 1.0, "high": 20.0}, "standard_error": 2.0,
                     "median": {"value": 10.0, "low": 1.0, "high": 20.0}}}  # fmt: skip


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("publishing")
    write_games(folder / "games", [40, 80, 33, 120, 60, 77, 90, 45, 130, 50, 61, 88],
                keys=("tty_chars", "tty_colors", "tty_cursor", "blstats"))  # fmt: skip
    train_policy(TrainConfig(data=[folder / "games"], out=folder / "run", set=SMALL, lanes=3, unroll=8, steps=4,
                      validate_every=4, device="cpu", quiet=True))  # fmt: skip
    return folder / "run"


@pytest.fixture
def evaluation(tmp_path):
    settings = {"seeds": "1:3", "clock": "seed", "max_steps": 10, "greedy": False, "hold": 0, "nle_version": "1.3.0"}
    summary = {"games": 2, "ends": {"death": 2}, "figures": FIGURES}
    (tmp_path / "evaluation.json").write_text(json.dumps({"settings": settings, "summary": summary}))
    return tmp_path


def test_a_published_policy_is_the_run_s_in_bf16_and_tells_how_it_was_made(run_of, evaluation, tmp_path, capsys):
    out = tmp_path / "policy.safetensors"
    words = ["models", "publish", run_of, out, "--evaluation", evaluation]
    assert main(list(map(str, words))) == 0
    assert f"bytes in {out}" in capsys.readouterr().out
    about = load_values(out)["about"]
    assert about["frames"] == 4 * 3 * 8
    assert about["options"]["lanes"] == 3
    assert about["validation"]["action_nll"] > 0
    assert about["evaluation"]["figures"]["score"]["mean"]["value"] == 12.0
    assert about["evaluation"]["seeds"] == "1:3"
    mine, theirs = load_policy(run_of).state_dict(), load_policy(out).state_dict()
    assert all(torch.equal(theirs[name], value.to(torch.bfloat16).float()) for name, value in mine.items())
    assert not {"temperature", "patience"} & set(about)
    out_of_32 = tmp_path / "exact.safetensors"
    exact = publish(PublishConfig(run=run_of, out=out_of_32, precision="32", temperature=0.8, patience=50))
    assert [load_values(exact)["about"][name] for name in ("temperature", "patience")] == [0.8, 50]
    assert all(torch.equal(load_policy(exact).state_dict()[name], value) for name, value in mine.items())
    assert out.stat().st_size < exact.stat().st_size


def test_weights_of_fewer_bits_pack_better_and_are_those_that_an_evaluation_knows(run_of, evaluation, tmp_path):
    whole = publish(PublishConfig(run=run_of, out=tmp_path / "whole.safetensors"))
    short = publish(PublishConfig(run=run_of, out=tmp_path / "short.safetensors", mantissa=4))
    sizes = [len(zlib.compress(path.read_bytes())) for path in (whole, short)]
    assert sizes[1] < 0.9 * sizes[0]
    before, after = (load_policy(path).state_dict() for path in (whole, short))
    assert all(torch.allclose(after[name], value, rtol=2**-4, atol=0) for name, value in before.items())
    path = evaluation / "evaluation.json"
    told = json.loads(path.read_text())
    told["settings"]["weights_sha256"] = weights_digest(load_policy(short))
    path.write_text(json.dumps(told))
    publish(PublishConfig(run=run_of, out=tmp_path / "again.safetensors", mantissa=4, evaluation=evaluation))
    with pytest.raises(InputError, match="other weights played, or weights of other bits"):
        publish(PublishConfig(run=run_of, out=tmp_path / "other.safetensors", mantissa=5, evaluation=evaluation))
    card = (publish(PublishConfig(run=run_of, out=tmp_path / "folder", mantissa=4)) / "README.md").read_text()
    assert "on the validation split, before the weights were rounded to 4 bits of mantissa: " in card


@pytest.mark.parametrize(("options", "said"), [
    ({"mantissa": 0}, "mantissa: 0 bits; 1 to 7 are possible"),
    ({"mantissa": 8}, "mantissa: 8 bits; 1 to 7 are possible"),
    ({"mantissa": 5, "precision": "32"}, "mantissa: is for weights in bf16, and precision is 32"),
])  # fmt: skip
def test_bits_that_bf16_has_not_are_refused(options, said, tmp_path):
    with pytest.raises(InputError, match=said):
        PublishConfig(run=tmp_path, out=tmp_path / "policy.safetensors", **options)


def test_what_an_evaluation_says_of_weights_is_not_said_of_rounded_ones(run_of, evaluation, tmp_path):
    whole = publish(PublishConfig(run=run_of, out=tmp_path / "whole.safetensors", evaluation=evaluation))
    assert "evaluation" in load_values(whole)["about"]
    again = publish(PublishConfig(run=whole, out=tmp_path / "again.safetensors"))
    assert "evaluation" in load_values(again)["about"]
    rounded = publish(PublishConfig(run=whole, out=tmp_path / "rounded.safetensors", mantissa=2))
    assert "evaluation" not in load_values(rounded)["about"]


def test_what_is_no_policy_is_refused_by_its_path(tmp_path, capsys):
    save_values(tmp_path / "labeller.safetensors", {"state_dict": {}, "about": {}, "labeller": {}})
    with pytest.raises(SystemExit, match="2"):
        main(["models", "publish", str(tmp_path / "labeller.safetensors"), str(tmp_path / "out")])
    assert "labeller.safetensors: no policy in it; strathack train makes such runs" in capsys.readouterr().err


def test_the_validation_told_is_that_of_the_very_weights(run_of, tmp_path):
    """A run that got worse after its best validation, one whose validation is not known, and one without any."""
    folder = tmp_path / "run"
    shutil.copytree(run_of, folder)
    (folder / "validation.json").write_text(json.dumps({"action_nll": 99.0}))
    best = publish(PublishConfig(run=folder, out=tmp_path / "best.safetensors"))
    told = load_values(best)["about"]["validation"]
    assert told["action_nll"] == json.loads((run_of / "validation.json").read_text())["action_nll"]
    values = load_values(folder / "best.safetensors")
    del values["validated"]
    save_values(folder / "best.safetensors", values)
    former = publish(PublishConfig(run=folder, out=tmp_path / "former.safetensors"))
    assert load_values(former)["about"]["validation"]["action_nll"] == 99.0, "the last validation is of its step"
    save_values(folder / "best.safetensors", {**values, "global_step": 2})
    unknown = publish(PublishConfig(run=folder, out=tmp_path / "unknown.safetensors"))
    assert "validation" not in load_values(unknown)["about"]


def test_an_evaluation_is_told_with_who_played_which_games(run_of, evaluation, tmp_path):
    told = json.loads((evaluation / "evaluation.json").read_text())
    told["settings"] |= {"character": "val-dwa-law-fem", "roles": "val", "hold": 8, "seeds": "1:129"}
    (evaluation / "evaluation.json").write_text(json.dumps({**told, "seeds": "1:3"}))
    publish(PublishConfig(run=run_of, out=tmp_path / "folder", evaluation=evaluation))
    card = (tmp_path / "folder" / "README.md").read_text()
    assert "2 games: character val-dwa-law-fem, roles val, strategies held for 8 steps, seeds 1:3, " in card


def test_an_evaluation_of_other_weights_is_refused(run_of, evaluation, tmp_path):
    path = evaluation / "evaluation.json"
    told = json.loads(path.read_text())
    publish(PublishConfig(run=run_of, out=tmp_path / "policy.safetensors"))
    digests = {weights_digest(load_policy(place)) for place in (run_of, tmp_path / "policy.safetensors")}
    assert len(digests) == 1, "the same in 32 bits and in bf16"
    path.write_text(json.dumps({**told, "settings": {**told["settings"], "weights_sha256": digests.pop()}}))
    publish(PublishConfig(run=run_of, out=tmp_path / "folder", evaluation=evaluation))
    path.write_text(json.dumps({**told, "settings": {**told["settings"], "weights_sha256": "00" * 32}}))
    with pytest.raises(InputError, match="evaluation: .* is of games that other weights played"):
        publish(PublishConfig(run=run_of, out=tmp_path / "other", evaluation=evaluation))
    assert not (tmp_path / "other").exists()


def test_what_is_there_or_is_no_evaluation_is_refused(run_of, tmp_path):
    (tmp_path / "there").touch()
    with pytest.raises(InputError, match="there: exists already"):
        publish(PublishConfig(run=run_of, out=tmp_path / "there"))
    with pytest.raises(InputError, match=r"evaluation: .*evaluation\.json: no such file"):
        publish(PublishConfig(run=run_of, out=tmp_path / "new", evaluation=tmp_path))
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(FormatError, match=r"evaluation\.json: no result of strathack evaluate"):
        publish(PublishConfig(run=run_of, out=tmp_path / "new", evaluation=tmp_path))
    assert not (tmp_path / "new").exists()


def test_a_name_stands_where_a_run_does(run_of, tmp_path, monkeypatch):
    publish(PublishConfig(run=run_of, out=tmp_path / "tiny-1k.safetensors"))
    monkeypatch.setattr(places, "PRETRAINED", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert checkpoint_at(Path("tiny-1k")) == tmp_path / "tiny-1k.safetensors"
    # Options keep the name, and other paths become absolute.
    options = TrainConfig(data=[run_of.parent / "games"], out=Path("other"), weights=Path("tiny-1k"))
    kept = with_absolute_paths(options)
    assert str(kept.weights) == "tiny-1k"
    assert kept.out == tmp_path / "other"
    words = (
        f"--weights tiny-1k --out {tmp_path / 'other'} --lanes 3 --unroll 8 --steps 2 --validation-batches 1 --quiet"
    )
    assert main(["train", str(run_of.parent / "games"), *words.split(), "--device", "cpu"]) == 0
    after = publish(PublishConfig(run=tmp_path / "other", out=tmp_path / "after.safetensors"))
    assert load_values(after)["about"]["frames"] == (4 + 2) * 3 * 8, "those before count, too"
    with pytest.raises(InputError, match="tiny-2k: no such checkpoint"):
        load_policy(Path("tiny-2k"))
    # A folder of this name comes first.
    shutil.copytree(run_of, tmp_path / "tiny-1k")
    assert checkpoint_at(Path("tiny-1k")) == Path("tiny-1k/best.safetensors")
