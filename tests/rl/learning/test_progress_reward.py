"""The reward of a model of progress, against a plain loop over whole games; and fine-tuning with it."""

import csv

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shrinking import SHRUNK

from strathack.dataset.errors import InputError
from strathack.models.config import SymbolsConfig
from strathack.models.policy import Policy
from strathack.models.pretraining.networks import PRETRAINED, Pretrained, PretrainedConfig, ProgressModel
from strathack.models.saving import load_policy, save_policy, save_values
from strathack.rl.config import APPOConfig, FrozenParts, RewardConfig
from strathack.rl.learning.batches import Batch
from strathack.rl.learning.finetuning import fine_tune
from strathack.rl.learning.progress_reward import ProgressReward
from strathack.rl.options import FinetuneConfig

SMALL = SymbolsConfig(
    crop=3, crop_channels=(4,), embedding=4, crop_units=8, screen_channels=(4,), screen_units=0, message=8, blstats=0,
    previous_action=0, size=8,
)  # fmt: skip
TINY = "encoder.crop=3; encoder.crop_channels=[4]; encoder.embedding=4; encoder.crop_units=8; encoder.screen_units=0"
FLAT = f"heads.kind=flat; core.hidden=16; {TINY}; encoder.screen_channels=[4]; encoder.message=8; encoder.size=8"


def config(objective="both", longest=100):
    return PretrainedConfig(SMALL, objective, projection=4, hidden=8, longest=longest)


def model(seed=0):
    torch.manual_seed(seed)
    return ProgressModel(config()).eval()


@pytest.fixture
def pretrained(tmp_path):
    def save(objective="both", longest_game=90):
        torch.manual_seed(0)
        networks = Pretrained(config(objective))
        path = tmp_path / f"{objective}-{longest_game}.safetensors"
        weights = {f"{PRETRAINED}.{name}": value for name, value in networks.state_dict().items()}
        values = {
            "state_dict": weights,
            PRETRAINED: networks.config.to_values(),
            "about": {"longest_game": longest_game},
        }
        save_values(path, values)
        return path

    return save


def batch_of(frames, first, groups, acted=None):
    """A batch of a stretch of play; only what the reward looks at is real."""
    rows, lanes = first.shape
    steps = torch.zeros(rows - 1, lanes)
    inputs = {name: torch.from_numpy(value) for name, value in frames.items()} | {"first": torch.from_numpy(first)}
    blank = dict.fromkeys(("actions", "strategy", "chose", "log_prob", "value", "version", "ended"), steps)
    acted = torch.ones(rows - 1, lanes, dtype=torch.bool) if acted is None else acted
    return Batch(inputs=inputs, state={}, rewards=steps + 1, acted=acted, groups=groups, frames=0, starts=(), **blank)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 7), st.integers(2, 6), st.integers(0, 1000))
def test_it_is_what_the_model_says_of_whole_games(lag, steps, seed):
    rng = np.random.default_rng(seed)
    total, width, groups = 4 * steps + 1, 2, 3
    lanes = width * groups
    frames = {
        "tty_chars": rng.integers(32, 127, (total, lanes, 24, 80), dtype=np.uint8),
        "tty_colors": rng.integers(0, 16, (total, lanes, 24, 80), dtype=np.uint8),
        "tty_cursor": np.stack([rng.integers(0, 24, (total, lanes)), rng.integers(0, 80, (total, lanes))], -1).astype(
            "u1"
        ),
    }
    first = rng.random((total, lanes)) < 0.1
    first[0] = True
    progress = model()
    reward = ProgressReward(progress, 0.5, lag)
    said = []
    for start in range(0, total - 1, steps):
        rows = slice(start, start + steps + 1)
        # Groups come in another order each time.
        order = rng.permutation(groups)
        places = np.concatenate([np.arange(width) + group * width for group in order])
        part = {name: value[rows][:, places] for name, value in frames.items()}
        batch = batch_of(part, first[rows][:, places], tuple((int(group), start == 0) for group in order))
        found = torch.zeros(steps, lanes)
        found[:, places] = reward.of(batch)
        said.append(found)
    said = torch.cat(said)
    with torch.no_grad():
        for lane in range(lanes):
            encoded = progress.encode({name: torch.from_numpy(value[:, lane]) for name, value in frames.items()})
            age = -1
            for step in range(total):
                age = 0 if first[step, lane] else age + 1
                if step:
                    expected = float(progress.between(encoded[step - lag], encoded[step])) if age >= lag else 0.0
                    assert float(said[step - 1, lane]) == pytest.approx(expected, abs=1e-4)


def test_a_group_that_begins_anew_has_no_earlier_frames():
    rng = np.random.default_rng(0)
    frames = {key: np.zeros((4, 1, *shape), "u1") for key, shape in (
        ("tty_chars", (24, 80)), ("tty_colors", (24, 80)), ("tty_cursor", (2,))
    )}  # fmt: skip
    frames["tty_chars"] += rng.integers(32, 99, (4, 1, 24, 80)).astype("u1")
    first = np.zeros((4, 1), bool)
    first[0] = True
    reward = ProgressReward(model(), 0.5, 2)
    one = reward.of(batch_of(frames, first, ((0, True),)))
    assert one[0] == 0
    assert (one[1:] != 0).all()
    assert torch.equal(reward.of(batch_of(frames, first, ((0, True),))), one)
    went_on = reward.of(batch_of(frames, np.zeros((4, 1), bool), ((0, False),)))
    assert (went_on != 0).all()


def test_it_is_added_to_what_is_learned_from_and_told_apart():
    rng = np.random.default_rng(0)
    frames = {key: rng.integers(0, 16, (5, 2, *shape)).astype("u1") for key, shape in (
        ("tty_chars", (24, 80)), ("tty_colors", (24, 80)), ("tty_cursor", (2,))
    )}  # fmt: skip
    first = np.zeros((5, 2), bool)
    first[0] = True
    acted = torch.ones(4, 2, dtype=torch.bool)
    acted[2, 1] = False
    batch = batch_of(frames, first, ((0, True),), acted)
    plain = ProgressReward(model(), 0.5, 1).of(batch)
    added, metrics = ProgressReward(model(), 0.5, 1).added(batch)
    torch.testing.assert_close(added.rewards, batch.rewards + 0.5 * plain)
    assert float(metrics["reward/progress"]) == pytest.approx(float(plain[acted].mean()), abs=1e-5)
    assert float(metrics["reward/task"]) == 1.0


def options(folder, **changes):
    values = {
        "out": folder / "run", "env": "tasks:Recall", "set": FLAT, "workers": 0, "envs": 4, "frames": 400,
        "appo": APPOConfig(unroll=8), "log_every": 1, "quiet": True, "device": "cpu",
    }  # fmt: skip
    return FinetuneConfig(**{**values, **changes})


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_learns_with_it_and_reports_the_task_alone(pretrained, tmp_path):
    fine_tune(options(tmp_path, reward=RewardConfig(progress=pretrained(), progress_weight=3.0, progress_lag=2)))
    logged = rows(tmp_path / "run")
    assert any(abs(float(row["reward/progress"])) > 1e-4 for row in logged)
    for row in logged:
        assert -1 <= float(row["return/mean"] or 0) <= 1, "the task's own rewards are 1 and −1"
        together = float(row["reward/task"]) + 3 * float(row["reward/progress"])
        assert float(row["reward"]) == pytest.approx(together, abs=1e-4)
    again = fine_tune(FinetuneConfig(resume=tmp_path / "run", frames=600, quiet=True))
    assert again.counters.frames >= 600


@pytest.mark.parametrize("freeze", [False, True])
def test_a_run_begins_with_a_pretrained_encoder(pretrained, tmp_path, freeze):
    appo = APPOConfig(unroll=8, freeze=FrozenParts.parse("encoder") if freeze else None)
    fine_tune(options(tmp_path, run=[pretrained("encoder")], appo=appo))
    policy = load_policy(tmp_path / "run")
    assert policy.config.actions == ("left", "right")
    torch.manual_seed(0)
    theirs = Pretrained(config("encoder")).contrastive.encoder.state_dict()
    mine = policy.encoders[0].state_dict()
    assert torch.equal(mine["characters.weight"], theirs["characters.weight"]) is freeze


@pytest.mark.parametrize(
    ("of", "changes", "said"),
    [
        ({}, {"progress_lag": 101}, "progress_lag: 101 steps; .* has learned from frames at most 100 apart"),
        ({"longest_game": 20}, {}, "progress_lag: 32 steps; the longest game that .* has learned from has 20"),
        ({"objective": "encoder"}, {}, "an encoder alone; strathack pretrain --objective progress"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(pretrained, tmp_path, of, changes, said):
    with pytest.raises(InputError, match=said):
        fine_tune(options(tmp_path, reward=RewardConfig(progress=pretrained(**of), **changes)))
    assert not (tmp_path / "run").exists()


def test_bad_values_and_files_are_refused(pretrained, tmp_path):
    with pytest.raises(InputError, match="progress_lag: 0 is below 1"):
        RewardConfig(progress_lag=0)
    with pytest.raises(InputError, match="progress_weight: -1 is below 0 or not finite"):
        RewardConfig(progress_weight=-1)
    with pytest.raises(InputError, match="nothing: no such checkpoint"):
        fine_tune(options(tmp_path, reward=RewardConfig(progress=tmp_path / "nothing")))
    blind = options(tmp_path, env="tasks:Blind", reward=RewardConfig(progress=pretrained()))
    with pytest.raises(InputError, match="env: the policy needs tty_colors, tty_cursor"):
        fine_tune(blind)
    save_policy(tmp_path / "policy.safetensors", Policy(SHRUNK["symbols-small"]))
    with pytest.raises(InputError, match="run: the policy is what the checkpoint holds; leave policy and set out"):
        fine_tune(options(tmp_path, run=[tmp_path / "policy.safetensors"]))
