"""Training runs: learning, exact resumption, signals, several processes, and what they refuse."""

import csv
import json
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from made_up_games import write_games

pytest.importorskip("pytorch_lightning")
torch = pytest.importorskip("torch")

from cudnn import refuse_backward_in_evaluation  # noqa: E402
from old_checkpoints import make_version_1  # noqa: E402

from strathack import cli  # noqa: E402
from strathack.dataset import Dataset  # noqa: E402
from strathack.dataset.copying import shard_with_inferred  # noqa: E402
from strathack.dataset.errors import InputError, RunError  # noqa: E402
from strathack.dataset.folder import DatasetFolder  # noqa: E402
from strathack.dataset.labels import PUBLISHED_STRATEGIES  # noqa: E402
from strathack.dataset.shard import InferredLabels  # noqa: E402
from strathack.dataset.splits import Fractions  # noqa: E402
from strathack.models import cloning  # noqa: E402
from strathack.models.commands import train as train_command  # noqa: E402
from strathack.models.fitting import TRAINING, VALIDATION  # noqa: E402
from strathack.models.label_tables import balanced_weights  # noqa: E402
from strathack.models.learning import rate_at  # noqa: E402
from strathack.models.options import TrainConfig  # noqa: E402
from strathack.models.predicting import predictions  # noqa: E402
from strathack.models.running import METRICS, quieten  # noqa: E402
from strathack.models.saving import load_policy, load_values  # noqa: E402
from strathack.models.training import train_policy  # noqa: E402

# Lightning remarks on things that are meant.
pytestmark = pytest.mark.filterwarnings("ignore")

SCREEN = ("tty_chars", "tty_colors", "tty_cursor", "blstats")
LENGTHS = [40, 80, 33, 120, 60, 77, 90, 45, 130, 50, 61, 88]
SMALL = (
    "encoder.embedding=4; encoder.crop_channels=[8]; encoder.crop_units=8; encoder.screen_channels=[8];"
    "encoder.screen_units=8; encoder.message=8; encoder.size=16; heads.hidden=8;"
)
# Everything that draws random numbers and remembers: dropout, sampled strategies, an LSTM and a transformer.
DRAWING = SMALL + (
    "core.kind=lstm-transformer; core.lstm.hidden=16; core.transformer.width=16; core.transformer.heads=2;"
    "core.transformer.layers=1; core.transformer.feedforward=16; heads.combine=sampled"
)
SMALL_LSTM = SMALL + "core.hidden=16"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    quieten()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", autouse=True)
def lstms_as_on_gpus():
    with pytest.MonkeyPatch.context() as patch:
        refuse_backward_in_evaluation(patch)
        yield


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    folder = tmp_path_factory.mktemp("games")
    write_games(folder, LENGTHS, keys=SCREEN)
    return folder


def config_of(games, out, **options):
    chosen = {
        "set": SMALL_LSTM, "lanes": 3, "unroll": 8, "steps": 20, "validate_every": 7, "checkpoint_every": 4,
        "log_every": 5, "device": "cpu", "quiet": True,
    }  # fmt: skip
    return TrainConfig(data=[games], out=out, **{**chosen, **options})


def rows_of(folder):
    with (folder / METRICS).open() as file:
        return list(csv.DictReader(file))


def timeless(row):
    return {name: value for name, value in row.items() if name not in ("frames_per_second", "waiting", "memory_mb")}


def weights_of(ended):
    return ended.module.policy.state_dict()


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(games, tmp_path):
    options = {"steps": 4, "validate_every": 4}
    whole = train_policy(config_of(games, tmp_path / "whole", **options))
    killed = train_policy(config_of(games, tmp_path / "killed", **options)).folder
    for path in killed.iterdir():
        if path.name not in ("options.json", METRICS):
            path.unlink()
    resumed = train_policy(TrainConfig(resume=killed, quiet=True))
    assert_same_weights(weights_of(resumed), weights_of(whole))
    assert [timeless(row) for row in rows_of(killed)] == [timeless(row) for row in rows_of(whole.folder)]


# Lightning's epochs are of 7 steps here: in the midst of one, and at its end.
@pytest.mark.parametrize(
    ("ema", "accumulate", "cuts", "precision"),
    [
        pytest.param(0.0, 2, (5,), "32", marks=pytest.mark.slow),
        pytest.param(0.0, 2, (7,), "bf16", marks=pytest.mark.slow),
        (0.9, 1, (7,), "32"),
        (0.9, 1, (5,), "bf16"),
    ],
)
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(
    games, tmp_path, monkeypatch, ema, accumulate, cuts, precision
):
    options = {"set": DRAWING, "ema": ema, "accumulate": accumulate, "precision": precision}
    whole = train_policy(config_of(games, tmp_path / "whole", **options))
    end_batch = cloning.CloningModule.end_batch
    for cut in cuts:

        def interrupting(self, *arguments, at=cut):
            end_batch(self, *arguments)
            if self.trainer.global_step == at:
                signal.raise_signal(signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(cloning.CloningModule, "end_batch", interrupting)
            cut_short = train_policy(config_of(games, tmp_path / str(cut), **options))
        assert cut_short.interrupted == signal.SIGTERM
        assert load_values(cut_short.folder / "last.safetensors")["global_step"] == cut
        resumed = train_policy(TrainConfig(resume=cut_short.folder, quiet=True))
        assert resumed.interrupted is None
        assert_same_weights(weights_of(resumed), weights_of(whole))
        assert resumed.module.validated == whole.module.validated
        assert resumed.module.frames == whole.module.frames
        expected = [timeless(row) for row in rows_of(whole.folder)]
        again = train_policy(TrainConfig(resume=cut_short.folder, quiet=True))  # at its end, it takes no further step
        if not ema:  # what is averaged is the last checkpoint's, and not the module's
            assert_same_weights(weights_of(again), weights_of(whole))
        assert again.module.trainer.global_step == 20
        assert [timeless(row) for row in rows_of(resumed.folder)] == expected


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_that_was_interrupted_in_its_last_validation_is_validated_when_it_goes_on(
    games, tmp_path, monkeypatch, ema
):
    options = {"steps": 4, "validate_every": 2, "validation_batches": 2, "ema": ema, "set": DRAWING, "unroll": 3}
    whole = train_policy(config_of(games, tmp_path / "whole", **options))
    validation_step = cloning.CloningModule.validation_step

    def interrupting(self, *arguments):
        validation_step(self, *arguments)
        if self.trainer.global_step == 4:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(cloning.CloningModule, "validation_step", interrupting)
        cut = train_policy(config_of(games, tmp_path / "cut", **options))
    assert cut.interrupted == signal.SIGTERM
    resumed = train_policy(TrainConfig(resume=cut.folder, quiet=True))
    assert resumed.module.validated == whole.module.validated
    assert json.loads((cut.folder / VALIDATION).read_text()) == json.loads((whole.folder / VALIDATION).read_text())
    assert_same_weights(*(dict(load_policy(one.folder / "best.safetensors").state_dict()) for one in (resumed, whole)))
    again = train_policy(TrainConfig(resume=cut.folder, quiet=True))
    assert again.module.validated is None, "which is done once"
    further, expected = (train_policy(TrainConfig(resume=one.folder, steps=8, quiet=True)) for one in (cut, whole))
    assert_same_weights(weights_of(further), weights_of(expected))


def test_a_run_that_has_stopped_early_stays_at_its_end(games, tmp_path):
    options = {"early_stop": 1, "learning_rate": 1e-9, "steps": 40, "validate_every": 2, "validation_batches": 2}
    ended = train_policy(config_of(games, tmp_path / "run", set=DRAWING, **options))
    stopped = ended.module.trainer.global_step
    assert stopped < 40
    again = train_policy(TrainConfig(resume=ended.folder, quiet=True))
    assert again.module.trainer.global_step == stopped
    assert any(
        name.startswith("EarlyStopping{") for name in load_values(ended.folder / "last.safetensors")["callbacks"]
    )
    spent = train_policy(TrainConfig(resume=ended.folder, steps=stopped, quiet=True))
    assert spent.module.trainer.global_step == stopped, "a new end that is reached already"
    further = train_policy(TrainConfig(resume=ended.folder, steps=stopped + 1, quiet=True))
    assert further.module.trainer.global_step == stopped + 1


def test_a_new_end_holds_until_another_is_given(games, tmp_path):
    run = train_policy(config_of(games, tmp_path / "run", set=DRAWING, steps=2, validate_every=2)).folder
    train_policy(TrainConfig(resume=run, steps=4, quiet=True))
    assert json.loads((run / "options.json").read_text())["steps"] == 4


def test_a_run_that_was_killed_while_it_wrote_its_first_checkpoint_begins_anew(games, tmp_path):
    run = train_policy(config_of(games, tmp_path / "run", set=DRAWING, steps=2, validate_every=2)).folder
    for path in run.glob("*.safetensors"):
        path.rename(run / f".tmp-1234-{path.name}")
    assert train_policy(TrainConfig(resume=run, quiet=True)).module.trainer.global_step == 2


def test_where_strategies_are_drawn_all_of_them_are_validated_together(games, tmp_path):
    ended = train_policy(config_of(games, tmp_path / "run", set=f"{SMALL_LSTM}; heads.combine=sampled", steps=5))
    held_out = Dataset(games).select(split="validation")
    nll = predictions(load_policy(ended.folder / "last.safetensors"), held_out)["nll"]
    assert ended.module.validated.action_nll == pytest.approx(nll.mean(), rel=1e-4)


def without_others(values, name=""):
    """Yields the names and values of tensors; what message encoders have for unprintable characters is 0."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, (dict, list, tuple)):
            yield from without_others(value, f"{name}.{key}")
        elif isinstance(value, torch.Tensor):
            if value.ndim == 2 and len(value) == 80 * 96:
                value.view(80, 96, -1)[:, 95] = 0
            yield f"{name}.{key}", value


def test_a_run_of_version_1_goes_on_from_what_it_was(games, tmp_path):
    begun = train_policy(config_of(games, tmp_path / "run", steps=8, ema=0.9))
    last = begun.folder / "last.safetensors"
    new = dict(without_others(load_values(last)))
    make_version_1(last)
    old = dict(without_others(load_values(last)))
    assert sum(len(value.shape) == 2 and len(value) == 80 * 96 for value in old.values()) == 4  # average and moments
    assert_same_weights(new, old)
    resumed = train_policy(TrainConfig(resume=begun.folder, steps=16, quiet=True))
    assert resumed.module.trainer.global_step == 16
    assert all(torch.isfinite(value).all() for value in weights_of(resumed).values())


def test_what_a_run_leaves_behind(games, tmp_path):
    ended = train_policy(
        config_of(
            games, tmp_path / "run", early_stop=50, accumulate=2, balance=True, minutes=5.0, label="hihack_strategy"
        )
    )
    assert ended.module.policy.config.strategies == PUBLISHED_STRATEGIES
    assert {path.name for path in ended.folder.iterdir()} == {
        "best.safetensors", "last.safetensors", "options.json", METRICS, TRAINING, VALIDATION
    }  # fmt: skip
    rows = rows_of(ended.folder)
    assert [row["step"] for row in rows] == ["5", "7", "10", "14", "15", "20", "20"]
    for row in rows:
        kind = "train" if row["train/action_nll"] else "validation"
        for name in ("action_nll", "accuracy", "top5", "strategy_nll", "strategy_accuracy", "majority", "macro_recall"):
            assert np.isfinite(float(row[f"{kind}/{name}"]))
    assert float(rows[0]["frames"]) == 5 * 2 * 3 * 8
    result = json.loads((ended.folder / VALIDATION).read_text())
    # Some steps of these games have an action and no published label.
    assert 0 < sum(sum(row) for row in result["confusion"]) < result["steps"]
    values = load_values(ended.folder / "best.safetensors")
    assert values["policy"]["heads"]["strategies"] == list(ended.module.policy.config.strategies)
    assert len(values["about"]["dataset"]) == 64
    assert values.keys() == {"state_dict", "policy", "about", "cloning", "validated", "global_step"}
    last = load_values(ended.folder / "last.safetensors")
    assert {"optimizer_states", "lr_schedulers", "DemonstrationModule"} <= last.keys()
    best = min(float(row["validation/action_nll"]) for row in rows if row["validation/action_nll"])
    assert last["callbacks"]["Checkpoints"]["best"] == pytest.approx(best, abs=1e-5)
    assert values["validated"]["action_nll"] == pytest.approx(best, abs=1e-5)
    assert_same_weights(dict(load_policy(ended.folder).state_dict()), {
        name.removeprefix("policy."): value for name, value in values["state_dict"].items()
    })  # fmt: skip


def test_bf16_with_an_average_and_a_progress_line(games, tmp_path, capsys):
    ended = train_policy(
        config_of(games, tmp_path / "run", set=DRAWING, precision="bf16", ema=0.5, quiet=False, steps=8)
    )
    assert np.isfinite(ended.module.validated.action_nll)
    assert all(parameter.dtype == torch.float32 for parameter in ended.module.policy.parameters())
    assert "8 steps" in capsys.readouterr().err


def test_training_stops_early_and_begins_with_given_weights(games, tmp_path):
    first = train_policy(config_of(games, tmp_path / "first", steps=7))
    # With a rate of next to nothing, no validation is better than the one before.
    ended = train_policy(
        config_of(
            games,
            tmp_path / "run",
            set="",
            weights=first.folder,
            steps=100,
            early_stop=1,
            learning_rate=1e-30,
            weight_decay=0.0,
        )
    )
    assert ended.module.trainer.global_step < 100
    assert_same_weights(weights_of(ended), dict(load_policy(first.folder).state_dict()))


def test_a_cleaved_policy_s_encoders_are_not_frozen_by_the_way(games, tmp_path):
    high, low = (train_policy(config_of(games, tmp_path / name, steps=1)).folder for name in ("high", "low"))
    cleaved = train_policy(config_of(games, tmp_path / "both", set="", high=high, low=low, steps=1)).folder
    with pytest.raises(InputError, match="freeze: .*both holds a cleaved policy, which has no encoder of its own"):
        train_policy(config_of(games, tmp_path / "run", set="", weights=cleaved, freeze="encoder"))


def test_labels_that_no_game_or_not_all_games_have_are_refused(games, tmp_path):
    with pytest.raises(InputError, match="no step .*has a strategy_inferred"):
        train_policy(config_of(games, tmp_path / "run", label="strategy_inferred"))
    labelled = tmp_path / "labelled"
    labelled.mkdir()
    for game in Dataset(games).select(split="train").take([0]):
        found = InferredLabels(np.zeros(len(game), "u1"), np.ones(len(game), "<f2"), {"explore": 0})
        (labelled / "one.h5").write_bytes(shard_with_inferred(game, {"strategy": found}))
    some = config_of(games, tmp_path / "run", label="strategy_inferred")
    with pytest.raises(InputError, match="has no 'strategy_inferred'.*label apply"):
        train_policy(replace(some, data=[labelled, games]))
    assert not (tmp_path / "run").exists()


def test_nan_is_refused(games, tmp_path):
    for name in ("weight_decay", "strategy_weight", "final_rate"):
        with pytest.raises(InputError, match=f"{name}: nan"):
            config_of(games, tmp_path / "run", **{name: float("nan")})


def test_a_cleaved_policy_trains_what_is_not_frozen(games, tmp_path):
    high = train_policy(config_of(games, tmp_path / "high", steps=3))
    low = train_policy(config_of(games, tmp_path / "low", steps=3, seed=1))
    ended = train_policy(
        config_of(games, tmp_path / "run", set="", high=high.folder, low=low.folder, freeze="high", steps=5)
    )
    weights = dict(load_policy(ended.folder / "last.safetensors").state_dict())
    before = {
        f"{part}.{name}": value
        for part, run in (("high", high), ("low", low))
        for name, value in load_policy(run.folder).state_dict().items()
    }
    changed = {name for name, value in weights.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("low.") for name in changed)
    assert train_policy(TrainConfig(resume=ended.folder, steps=6, quiet=True)).module.trainer.global_step == 6


def test_a_loss_that_is_no_number_stops_before_the_weights_are_spoilt(games, tmp_path):
    with pytest.raises(RunError, match=r"(loss|gradient): (nan|inf) at step \d+.*; stopped, and the checkpoints"):
        train_policy(config_of(games, tmp_path / "run", learning_rate=1e35, warmup=0, checkpoint_every=1))
    for parameter in load_policy(tmp_path / "run" / "last.safetensors").parameters():
        assert torch.isfinite(parameter).all()


def test_the_games_of_a_bad_batch_are_named(games, tmp_path, monkeypatch):
    learn = cloning.CloningModule.learn

    def poisoned(self, batch, memory):
        learned = learn(self, batch, memory)
        learned.scores[:, 1] = torch.nan
        return replace(learned, loss=learned.loss * torch.nan)

    monkeypatch.setattr(cloning.CloningModule, "learn", poisoned)
    with pytest.raises(RunError, match=r"loss: nan at step 0, in game_\d+; stopped"):
        train_policy(config_of(games, tmp_path / "run"))


def test_checkpoints_on_the_way_are_kept_and_can_be_begun_from(games, tmp_path):
    run = train_policy(config_of(games, tmp_path / "run", steps=9, keep_every=4)).folder
    kept = sorted(path.name for path in run.glob("step-*"))
    assert kept == ["step-4.safetensors", "step-8.safetensors"]
    assert [load_values(run / name)["global_step"] for name in kept] == [4, 8]
    assert not torch.equal(*(load_policy(run / name).encoders[0].out.weight for name in kept))


def test_a_bad_gradient_leaves_weights_and_optimiser_as_they_were(games, tmp_path, monkeypatch):
    training_step, modules = cloning.CloningModule.training_step, []

    def poisoned(self, batch, batch_idx):
        modules.append(self)
        return training_step(self, batch, batch_idx) * (torch.nan if self.trainer.global_step == 2 else 1)

    monkeypatch.setattr(cloning.CloningModule, "training_step", poisoned)
    with pytest.raises(RunError, match=r"gradient: nan at step 2, in game_\d+"):
        train_policy(config_of(games, tmp_path / "run", checkpoint_every=1))
    last = load_values(tmp_path / "run" / "last.safetensors")
    assert last["global_step"] == 2
    assert_same_weights(dict(modules[0].policy.state_dict()), dict(load_policy(tmp_path / "run").state_dict()))
    for mine, saved in zip(
        modules[0].optimizers().optimizer.state_dict()["state"].values(),
        last["optimizer_states"][0]["state"].values(),
        strict=True,
    ):
        assert_same_weights(mine, saved)


@pytest.mark.slow
def test_a_signal_saves_and_the_run_can_be_resumed(games, tmp_path, start, capsys, nothing_left):
    out = tmp_path / "run"
    words = ["train", games, "--out", out, "--set", SMALL_LSTM, "--lanes", 3, "--unroll", 8, "--minutes", 10]
    process = start(*words, "--checkpoint-every", 1_000_000, "--validate-every", 1_000_000, "--log-every", 1)
    deadline = time.monotonic() + 60
    while not (out / METRICS).exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"interrupted; strathack train --resume {out} goes on" in said
    step = load_values(out / "last.safetensors")["global_step"]
    assert step > 0
    assert cli.main(["train", "--resume", str(out), "--steps", str(step + 5), "--quiet"]) == 0
    assert "action accuracy" in capsys.readouterr().out
    assert load_values(out / "last.safetensors")["global_step"] == step + 5
    steps = [int(row["step"]) for row in rows_of(out)]
    assert steps == sorted(steps)


@pytest.mark.slow
def test_two_processes_are_one_with_the_same_batches(games, tmp_path, run, nothing_left):
    words = ["--set", SMALL_LSTM, "--lanes", 3, "--unroll", 8, "--steps", 8, "--validate-every", 4, "--log-every", 2]
    words += ["--device", "cpu", "--quiet"]
    two = run("train", games, "--out", tmp_path / "two", "--devices", 2, *words)
    assert two.status == 0, two.err
    # Two loader workers give the streams of two processes in turn.
    one = train_policy(
        config_of(games, tmp_path / "one", loader_workers=2, accumulate=2, steps=8, validate_every=4, log_every=2)
    )
    values = load_values(tmp_path / "two" / "last.safetensors")
    assert len(values["cloning"]["processes"]) == 2
    for name, value in weights_of(one).items():
        torch.testing.assert_close(values["state_dict"][f"policy.{name}"], value, atol=1e-6, rtol=1e-5)
    for ours, theirs in zip(rows_of(one.folder), rows_of(tmp_path / "two"), strict=True):
        assert {name: float(value or 0) for name, value in timeless(ours).items()} == pytest.approx(
            {name: float(value or 0) for name, value in timeless(theirs).items()}, rel=1e-3, abs=1e-5
        )


def test_more_lanes_than_games_are_not_used(games, tmp_path, capsys):
    ended = train_policy(config_of(games, tmp_path / "run", lanes=50, steps=1))
    lanes = ended.module.trainer.datamodule.lanes
    assert lanes < 12
    assert f"50 lanes are more than there are games; using {lanes}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"data": []}, "data: no dataset is given, and no run to resume"),
        ({"out": None}, "out: no folder is given for the run"),
        ({"policy": "symbols-smal"}, "policy: 'symbols-smal' is unknown; did you mean 'symbols-small'"),
        ({"set": "core.hiden=3"}, "'hiden' is unknown; did you mean 'hidden'"),
        ({"label": "strateg"}, "label: 'strateg' is unknown; did you mean 'strategy'"),
        ({"label": "substrategy"}, "no step has a substrategy"),
        ({"select": "score < 0"}, "no game in the train split of 0 games"),
        ({"unroll": 1000}, "unroll: 1000 steps are more than the longest game has, 130"),
        ({"devices": 40}, "games to train on for 40 streams of them"),
        ({"learning_rate": float("nan")}, "learning_rate: nan is not above 0 and finite"),
        ({"seed": 2**40}, "seed: 1099511627776 is not below 2 ** 32"),
        ({"ema": 1.0}, "ema: 1.0 is no decay"),
        ({"steps": 0}, "steps: 0 is not above 0"),
        ({"high": "somewhere"}, "high, low: a cleaved policy needs both"),
        ({"freeze": "high"}, "freeze: 'high'; expected encoder; high and low are parts of a cleaved policy"),
        ({"weights": "nowhere", "set": ""}, "nowhere: no such checkpoint"),
        ({"high": "here", "low": "there"}, "high: the policy is what the checkpoints hold; leave set out"),
        ({"resume": "somewhere"}, "out: a resumed run keeps its own; only steps, minutes, passes, data may be given"),
        ({"set": f"{SMALL_LSTM}; heads.kind=flat", "balance": True}, "balance: is of policies with strategies"),
        ({"set": f"{SMALL_LSTM}; heads.kind=flat", "head_weight": 0.5}, "head_weight: is of policies with strategies"),
        ({"wandb": "project"}, "wandb: the package is not installed"),
        ({"device": "cuda"}, "device: cuda was asked for, and PyTorch finds no GPU here"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_made(games, tmp_path, options, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("weights", "high", "low", "resume"):
        if name in options:
            options = {**options, name: tmp_path / options[name]}
    with pytest.raises(InputError) as error:
        train_policy(replace(config_of(games, tmp_path / "run"), **options))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_data_that_a_policy_cannot_use_is_refused(games, tmp_path):
    write_games(tmp_path / "blind", LENGTHS)
    with pytest.raises(InputError, match="the policy needs tty_chars, tty_colors; the dataset has blstats, tty_cursor"):
        train_policy(config_of(tmp_path / "blind", tmp_path / "run"))
    only = [seed for seed in range(12) if Fractions().split_of(_row(seed)) == "train"][:3]
    with pytest.raises(InputError, match="no game in the validation split of 3 games; strathack dataset split"):
        train_policy(config_of(games, tmp_path / "run", select=f"core in {only}"))
    with pytest.raises(InputError, match="no run in it; expected options.json"):
        train_policy(TrainConfig(resume=tmp_path))
    first = train_policy(config_of(games, tmp_path / "run", steps=1))
    with pytest.raises(InputError, match="run: there is a run in it; resume it, or take another folder"):
        train_policy(config_of(games, tmp_path / "run", steps=1))
    assert len(rows_of(tmp_path / "run")) == 1
    with pytest.raises(InputError, match="label: a flat policy learns no hihack_strategy"):
        train_policy(config_of(games, tmp_path / "flat", policy="lstm", set="", label="hihack_strategy"))
    # Strategies that the policy has no head for.
    narrow = config_of(games, tmp_path / "other", set=SMALL_LSTM + '; heads.strategies=["fight", "explore"]')
    with pytest.raises(InputError, match="strategy: the dataset has ground_eat, .*, for which the policy has no"):
        train_policy(narrow)
    options = json.loads((first.folder / "options.json").read_text())
    (first.folder / "options.json").write_text(json.dumps(options | {"data": [str(tmp_path / "more")]}))
    write_games(tmp_path / "more", [*LENGTHS, 55], keys=SCREEN)
    with pytest.raises(InputError, match="more: 13 games, .* steps; the run was trained on 12 games, .* steps$"):
        train_policy(TrainConfig(resume=first.folder, steps=2))
    (first.folder / "options.json").write_text("{}")
    with pytest.raises(InputError, match="options.json: not the options of a run of this release"):
        train_policy(TrainConfig(resume=first.folder, steps=2))
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        train_command(config_of(games, tmp_path / "file" / "run"))


def _row(seed):
    return np.array([(seed, b"")], dtype=[("core", "i8"), ("game", "S9")])[0]


def test_the_learning_rate_rises_and_falls():
    rates = [rate_at(step, step / 100, 9, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.1, abs=1e-2)
    assert max(rates) == max(rates[5:15])
    assert rates[50] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1)


def test_balanced_weights_leave_the_size_of_the_loss():
    counts = np.array([900, 90, 9, 1, 0])
    weights = balanced_weights(counts)
    assert weights[1] / weights[0] == pytest.approx(np.sqrt(10))
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)


@pytest.mark.slow
def test_published_games_with_their_labels(shared, run, tmp_path):
    for seed in (2, 4):  # of the validation split and of the train split
        shutil.copytree(shared / "fixtures" / "hihack" / str(seed), tmp_path / "published" / str(seed))
    imported = run("dataset", "import", tmp_path / "published", tmp_path / "games", "--workers", 0, "--quiet")
    assert imported.status == 0, imported.err
    blind = "; encoder.blstats=0"  # which a ttyrec does not have
    options = {"set": SMALL_LSTM + blind, "label": "hihack_strategy", "lanes": 1}
    ended = train_policy(config_of(tmp_path / "games", tmp_path / "run", **options))
    result = ended.module.validated
    assert result.steps == 703
    assert {row.name for row in result.by_strategy} >= {"fight", "explore"}
    with pytest.raises(InputError, match="games: no step of the train split has a strategy"):
        train_policy(config_of(tmp_path / "games", tmp_path / "other", set=SMALL_LSTM + blind, lanes=1))
    with pytest.raises(InputError, match="games: the policy needs blstats; the dataset has tty_chars"):
        train_policy(config_of(tmp_path / "games", tmp_path / "other", label="hihack_strategy", lanes=1))


@pytest.mark.slow
def test_compiled_parts_learn_the_same(games, tmp_path):
    plain = train_policy(config_of(games, tmp_path / "plain", steps=4, precision="32"))
    compiled = train_policy(config_of(games, tmp_path / "compiled", steps=4, precision="32", compile=True))
    policy = compiled.module.policy
    assert policy.heads._compiled_call_impl is not None
    assert policy.encoders[0]._compiled_call_impl is not None
    for name, value in weights_of(plain).items():
        torch.testing.assert_close(weights_of(compiled)[name], value, atol=1e-5, rtol=1e-4)


def lstm_that_refuses_to_learn_in_evaluation_mode(monkeypatch):
    """As cuDNN's, which there is none of on the CPU."""
    forward = torch.nn.LSTM.forward

    def checked(self, *arguments):
        output, memory = forward(self, *arguments)
        if output.requires_grad and not self.training:
            output.register_hook(lambda gradient: pytest.fail("cudnn RNN backward can only be called in training mode"))
        return output, memory

    monkeypatch.setattr(torch.nn.LSTM, "forward", checked)


def test_training_is_in_training_mode_however_a_run_begins(games, tmp_path, monkeypatch):
    lstm_that_refuses_to_learn_in_evaluation_mode(monkeypatch)
    labelled = f"{DRAWING.replace('sampled', 'label')}; core.transformer.dropout=0.5"
    first = train_policy(config_of(games, tmp_path / "fresh", set=labelled, precision="32", steps=8)).folder
    weights = {"weights": first, "precision": "32", "set": ""}
    begun = train_policy(config_of(games, tmp_path / "weights", **weights, steps=8)).folder
    cleaved = {"high": begun, "low": first, "freeze": "high", "precision": "32", "set": ""}
    cut = train_policy(config_of(games, tmp_path / "cleaved", **cleaved, steps=8)).folder
    modes = []
    step = cloning.CloningModule.training_step

    def noted(self, *arguments):
        policy = self.policy
        modes.append((policy.low.training, policy.high.training, policy.low.core.transformer.training))
        return step(self, *arguments)

    monkeypatch.setattr(cloning.CloningModule, "training_step", noted)
    train_policy(replace(TrainConfig(resume=cut, quiet=True), steps=16))
    assert set(modes) == {(True, False, True)}
    assert len(modes) == 8, "a validation lies between them"


def test_weights_that_were_loaded_learn_with_dropout_and_the_heads_of_their_labels(games, tmp_path):
    labelled = SMALL_LSTM + "; heads.combine=label"
    first = train_policy(config_of(games, tmp_path / "first", set=labelled, steps=2)).folder
    again = train_policy(config_of(games, tmp_path / "again", weights=first, set="", steps=2))
    assert again.module.policy.training
    assert not load_policy(first).training, "what is loaded to act does not draw"


def test_a_run_goes_on_with_data_that_have_moved(games, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(games, here)
    cut = train_policy(config_of(here, tmp_path / "run", steps=6)).folder
    here.rename(there)
    with pytest.raises(InputError, match="the run's data are not there any more; the same command with"):
        train_policy(TrainConfig(resume=cut, quiet=True))
    assert train_policy(TrainConfig(data=[there], resume=cut, steps=9, quiet=True)).module.trainer.global_step == 9
    for _ in DatasetFolder(there).write_fractions(Fractions(0.5, 0.5, 0.0)):
        pass
    with pytest.raises(InputError, match="12 games, 874 steps, as many as the run was trained on, but others"):
        train_policy(TrainConfig(data=[there], resume=cut, steps=12, quiet=True))
