from __future__ import annotations

import csv
import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from cudnn import refuse_backward_in_evaluation
from made_up_games import write_games
from shrinking import SHRUNK
from tasks import KEYS

from strathack.cli import main
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.schedule import Share
from strathack.models.metrics import Tally, result_of
from strathack.models.policy import Policy
from strathack.models.saving import load_policy, load_values, save_policy
from strathack.rl.config import APPOConfig, GameConfig, ImitationConfig, RewardConfig
from strathack.rl.learning.finetuning import fine_tune
from strathack.rl.learning.imitation import Demos, validation_nll
from strathack.rl.learning.learner import Gradients
from strathack.rl.learning.loop import bad_batch
from strathack.rl.learning.progress import RECENT
from strathack.rl.options import FinetuneConfig
from strathack.rl.schedules import Schedule

weight = Schedule.parse
TINY = "encoder.crop=3; encoder.crop_units=8; encoder.screen_units=0; encoder.message=4; encoder.size=16"
FLAT = f"heads.kind=flat; core.hidden=16; {TINY}"
SCREEN = ("tty_chars", "tty_colors", "tty_cursor", "blstats")


@pytest.fixture(autouse=True)
def lstms_as_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_backward_in_evaluation(monkeypatch)


def options(folder: Path, **changes: Any) -> FinetuneConfig:
    values: dict[str, Any] = {
        "out": folder / "run", "env": "tasks:Recall", "set": FLAT, "workers": 0, "envs": 4, "frames": 600,
        "appo": APPOConfig(unroll=8), "log_every": 1, "quiet": True,
    }  # fmt: skip
    return FinetuneConfig(**{**values, **changes})


def cloned(folder: Path, name: str = "symbols-small", **changes: Any) -> Path:
    """A checkpoint of a small policy with fresh weights."""
    path = folder / f"{name}.safetensors"
    save_policy(path, Policy(SHRUNK[name]), {"dataset": "the clone's"})
    return path


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demos") / "games"
    write_games(folder, [60] * 8, keys=SCREEN)
    main(["dataset", "split", str(folder), "--train", "0.7", "--validation", "0.3", "--test", "0", "--quiet"])
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_returns_of_all_games_are_summed(tmp_path: Path) -> None:
    ended = fine_tune(options(tmp_path, frames=300)).counters
    assert 10 < ended.games <= RECENT
    assert ended.total_return == pytest.approx(sum(ended.returns))
    assert "return/total" in rows(tmp_path / "run")[-1]


def test_a_run_goes_on_where_it_ended_and_loses_no_count(tmp_path: Path, nothing_left: None) -> None:
    first = fine_tune(options(tmp_path)).counters
    assert first.frames >= 600
    assert first.updates == len(rows(tmp_path / "run")) == first.frames // 64
    assert first.games >= 600 // 6 - 8
    policy = load_policy(tmp_path / "run")
    assert policy.config.actions == ("left", "right")
    saved = load_values(tmp_path / "run" / "last.safetensors")

    again = fine_tune(FinetuneConfig(resume=tmp_path / "run", frames=1200, quiet=True)).counters
    assert again.frames >= 1200
    assert again.games > first.games
    assert [int(row["step"]) for row in rows(tmp_path / "run")] == list(range(1, again.updates + 1))
    after = load_values(tmp_path / "run" / "last.safetensors")
    assert after["optimizer"]["state"][0]["step"] > saved["optimizer"]["state"][0]["step"]
    assert after["processes"][0]["rewards"]["count"] > saved["processes"][0]["rewards"]["count"]

    assert main(["models", "publish", str(tmp_path / "run"), str(tmp_path / "policy")]) == 0
    told = load_values(tmp_path / "policy" / "model.safetensors")["about"]["finetuning"]
    assert (told["frames"], told["env"], told["began_with"]) == (again.frames, "tasks:Recall", None)
    card = (tmp_path / "policy" / "README.md").read_text()
    assert f"fine-tuned by APPO: {again.frames:,} frames of tasks:Recall\n" in card
    assert "appo.unroll 8, " in card


def test_demonstrations_and_a_teacher_keep_a_policy_near_what_it_was(tmp_path: Path, demos: Path) -> None:
    imitation = ImitationConfig(
        demos=demos,
        demos_lanes=3,
        kickstart_weight=weight("exponential:0.5:0.9:0.1"),
        demos_weight=weight("linear:1:0:4"),
    )
    ended = fine_tune(
        options(
            tmp_path, run=[cloned(tmp_path)], set="", env="NetHackScore-v0", frames=400, envs=2, imitation=imitation,
            validate_every=3, game=GameConfig(max_steps=30),
        )
    ).counters  # fmt: skip
    learned = [row for row in rows(tmp_path / "run") if row["loss/total"]]
    kept = [float(row["loss/kickstart"]) for row in learned]
    assert kept[0] < 1e-5
    assert 0 < kept[-1] < 0.1
    assert float(learned[0]["loss/demos"]) > 4
    assert float(learned[-1]["loss/demos"]) == 0
    row, parts = learned[2], ("policy", "value", "entropy", "demos", "kickstart")
    weights = (1, 0.5, -0.001, 0.5, 0.5 * 0.9**2)
    total = sum(weight * float(row[f"loss/{part}"]) for weight, part in zip(weights, parts, strict=True))
    assert float(row["loss/total"]) == pytest.approx(total, rel=1e-4)
    assert len([row for row in rows(tmp_path / "run") if row["validation/action_nll"]]) == 1 + -(-ended.updates // 3)
    assert main(["models", "publish", str(tmp_path / "run"), str(tmp_path / "policy.safetensors")]) == 0
    about = load_values(tmp_path / "policy.safetensors")["about"]
    assert about["finetuning"]["began_with"] == "symbols-small.safetensors"
    assert about["finetuning"]["options"]["imitation.kickstart_weight"] == "exponential:0.5:0.9:0.1"
    assert about["dataset"] == "the clone's", "not that of the demonstrations beside it"


@pytest.mark.parametrize(
    ("given", "stays"),
    [
        ({"freeze": "encoder,strategy"}, {"encoders", "strategy"}),
        ({"critic_warmup": 100}, {"encoders", "core", "strategy", "hidden", "weight", "bias"}),
        ({"min_strategy_steps": 4, "passes": 2}, set()),
    ],
)
def test_what_is_frozen_stays(given: dict[str, Any], stays: set[str], tmp_path: Path) -> None:
    begin = cloned(tmp_path)
    before = load_policy(begin).state_dict()
    appo = APPOConfig(unroll=8, learning_rate=1e-3, **given)
    game = GameConfig(max_steps=30)
    fine_tune(options(tmp_path, run=[begin], set="", env="NetHackScore-v0", frames=200, envs=2, game=game, appo=appo))
    after = load_policy(tmp_path / "run").state_dict()
    changed = {name.split(".")[0 if name.startswith(("encoders", "core")) else 1] for name in before
               if not torch.equal(before[name], after[name])}  # fmt: skip
    everything = {"encoders", "core", "strategy", "hidden", "weight", "bias", "value"}
    assert changed == everything - stays


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from strathack.rl.learning import learner

    real = learner.masked_mean
    calls = iter(range(10**9))
    monkeypatch.setattr(learner, "masked_mean", lambda *a: real(*a) * (float("nan") if next(calls) > 20 else 1))
    with pytest.raises(RunError, match=r"loss: nan, gradient: nan at update \d+; stopped. The batch is in .*bad-batch"):
        fine_tune(options(tmp_path, checkpoint_every=1))
    batch = load_values(tmp_path / "run" / bad_batch(0, 1))
    assert batch["actions"].shape == (8, 8)
    assert batch["inputs"]["tty_chars"].shape == (9, 8, 24, 80)
    assert all(torch.isfinite(value).all() for value in load_policy(tmp_path / "run").state_dict().values())


@pytest.mark.slow
def test_sigterm_saves_first(tmp_path: Path, start: Any, monkeypatch: pytest.MonkeyPatch, nothing_left: None) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "helpers"))
    words = ["--env", "tasks:Recall", "--workers", 0, "--envs", 4, "--set", FLAT, "--appo.unroll", 8, "--quiet"]
    process = start("finetune", "--out", tmp_path / "run", *words, "--minutes", 5, "--log-every", 1)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "metrics.csv").exists() or len(rows(tmp_path / "run")) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert err == f"interrupted; strathack finetune --resume {tmp_path / 'run'} goes on\n"
    assert load_values(tmp_path / "run" / "last.safetensors")["counters"]["updates"] >= 3


def test_a_run_of_the_release_before_goes_on_whatever_its_options_were_called(tmp_path: Path) -> None:
    fine_tune(options(tmp_path, frames=100))
    path = tmp_path / "run" / "options.json"
    values = json.loads(path.read_text())
    values["actors"], values["slices"] = values.pop("workers"), values.pop("env_groups")
    values["game"]["keys"], values["game"]["seeds"] = values["game"].pop("actions"), ""
    values["appo"]["hold"] = values["appo"].pop("min_strategy_steps")
    path.write_text(json.dumps(values))
    ended = fine_tune(FinetuneConfig(resume=tmp_path / "run", frames=300, quiet=True))
    assert ended.counters.frames >= 300


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--env", "NetHackScor-v0"], "env: 'NetHackScor-v0' is unknown; did you mean 'NetHackScore-v0'?"),
        (["--env", "nowhere:thing"], "env: nowhere:thing: No module named 'nowhere'"),
        (["{run}", "--env", "tasks:Recall"], "tasks:Recall has 2 actions, the policy has 121; they differ in left,"),
        (["{run}", "--game.actions", "north,east"], "env: NetHackChallenge-v0 has 2 actions, the policy has 121"),
        (["--game.actions", "nort"], "actions: 'nort' is unknown; did you mean 'north'?"),
        (["--env", "tasks:Blind"], "needs tty_colors, tty_cursor, blstats; tasks:Blind shows tty_chars"),
        (["--env", "tasks:Recall", "--game.character", "val-hum-law-fem"], "character: only plain environments of NLE"),
        (["{run}", "--imitation.teacher", "{other}", "--recipe", "kickstart"], "teacher: {other} has 12 strategies"),
        (["{run}", "--imitation.demos", "{demos}"], "demos_lanes: 32 lanes are more than the 5 games to train on"),
        (["{run}", "--imitation.demos-weight", "1"], "demos: demos_weight is 1, and no dataset is given"),
        (["{run}", "--imitation.held-out", "{demos}"], "held_out: nothing is measured on it; set validate_every"),
        (["{run}", "--imitation.direction", "reverse"], "direction: there is no teacher to be near to"),
        (["{run}", "--imitation.strategy-weight", "0.5"], "imitation.strategy_weight: nothing is cloned"),
        (["{run}", "--imitation.demos-lanes", "3"], "imitation.demos_lanes: there are no demonstrations"),
        (
            ["--set", "heads.kind=flat", "--imitation.demos", "{demos}", "--imitation.head-weight", "0.5"],
            "imitation.head_weight: is of policies with strategies, and this one is flat",
        ),
        (["--set", "heads.kind=flat", "--appo.freeze", "core,strategy"], "appo.freeze: is of policies with strategies"),
        (
            ["--set", "core.kind=transformer; core.positions=sinusoidal; core.legacy=true"],
            "run: its transformer attends as the published code does",
        ),
        (["--reward.progress-lag", "8"], "progress_lag: there is no reward for progress"),
        (["--recipe", "kickstart"], "teacher: none is given, and no run to begin with"),
        (["--recipe", "kickstar"], "recipe: 'kickstar' is unknown; did you mean 'kickstart'?"),
        (["{run}", "--imitation.kickstart-weight", "exponential:0.1:0.9:0.5"], "begins at 0.1, below its floor of 0.5"),
        (["{run}", "--imitation.kickstart-weight", "linear:0.1"], "has 1 numbers; expected linear:weight:end:updates"),
        (["--appo.freeze", "encoders"], "freeze: 'encoders' is unknown; did you mean 'encoder'?"),
        (["--appo.batch", "12"], "batch: 12 lanes; expected a multiple of the 8 environments of a group"),
        (
            ["--set", "heads.kind=flat", "--appo.min_strategy_steps", "3"],
            "min_strategy_steps: a flat policy has no strategies to hold",
        ),
        (["--device", "cuda"], "device: cuda was asked for, and PyTorch finds no GPU here"),
        (["{run}", "--policy", "lstm"], "run: the policy is what the checkpoint holds"),
        (["--workers", "0", "--address", "auto"], "workers: 0 plays in this process, without Ray"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_any_process_starts(
    words: list[str], line: str, tmp_path: Path, demos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("a GPU is there")
    places = {"demos": demos}
    if "{run}" in words:
        places["run"] = cloned(tmp_path)
    if "{other}" in words:
        places["other"] = tmp_path / "other.safetensors"
        save_policy(places["other"], Policy(SHRUNK["symbols-small"].changed(["heads.label=hihack_strategy"])))
    with pytest.raises(SystemExit) as end:
        main(["finetune", *(word.format(**places) for word in words), "--out", str(tmp_path / "out"), "--quiet"])
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert line.format(**places) in err
    assert not (tmp_path / "out").exists()


def test_a_run_goes_on_by_the_teacher_that_it_began_with(tmp_path: Path) -> None:
    """A teacher that is named by its run's folder changes when that run goes on."""
    run = cloned(tmp_path)
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    shutil.copyfile(run, teacher / "best.safetensors")
    imitation = ImitationConfig(teacher=teacher, kickstart_weight=weight("0.5"))
    playing = {"env": "NetHackScore-v0", "envs": 2, "frames": 40, "game": GameConfig(max_steps=30)}
    fine_tune(options(tmp_path, run=[run], set="", imitation=imitation, **playing))
    save_policy(teacher / "best.safetensors", Policy(SHRUNK["symbols-small"]))
    with pytest.raises(InputError, match=r"imitation\.teacher: other weights than those that the run has learned by"):
        fine_tune(FinetuneConfig(resume=tmp_path / "run", frames=80, quiet=True))
    again = FinetuneConfig(resume=tmp_path / "run", frames=80, quiet=True, imitation=ImitationConfig(teacher=run))
    assert fine_tune(again).counters.frames >= 80


def test_a_resumed_run_keeps_its_own_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, line in (
        (["--resume", str(tmp_path)], "no run in it; expected options.json"),
        (["--resume", str(tmp_path), "--appo.passes", "2"], "appo: a resumed run keeps its own"),
    ):
        with pytest.raises(SystemExit):
            main(["finetune", *words])
        assert line in capsys.readouterr().err


def test_observations_of_the_helpers_are_those_that_policies_need() -> None:
    assert set(KEYS) == set(SCREEN)
    assert np.all([key in SHRUNK["symbols-small"].observations for key in KEYS])


@pytest.mark.slow
def test_two_processes_learn_the_same_each_from_its_own_games(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "helpers"))
    words = ["--env", "tasks:Recall", "--workers", 0, "--envs", 4, "--set", FLAT, "--appo.unroll", 8, "--quiet"]
    words += ["--devices", 2, "--device", "cpu", "--log-every", 1]
    assert run("finetune", "--out", tmp_path / "run", *words, "--frames", 1000).status == 0
    saved = load_values(tmp_path / "run" / "last.safetensors")
    mine, others = (process["counters"] for process in saved["processes"])
    assert mine["updates"] == others["updates"] == len(rows(tmp_path / "run"))
    assert mine["frames"] == others["frames"] >= 1000
    assert mine["returns"] != others["returns"]
    row = rows(tmp_path / "run")[-1]
    assert int(row["games"]) == mine["games"] + others["games"]
    assert float(row["return/total"]) == pytest.approx(mine["total_return"] + others["total_return"])
    assert run("finetune", "--resume", tmp_path / "run", "--frames", 2000).status == 0
    again = load_values(tmp_path / "run" / "last.safetensors")
    assert again["counters"]["frames"] >= 2000
    for process, before in zip(again["processes"], (mine, others), strict=True):
        assert process["counters"]["games"] > before["games"]
    assert int(rows(tmp_path / "run")[-1]["games"]) == sum(one["counters"]["games"] for one in again["processes"])


def test_gradients_of_several_learners_are_averaged() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(4))]
    parameters[0].grad = torch.ones(2, 3)
    Gradients(lambda flat: (flat + 3) / 2).share(parameters)
    assert torch.equal(parameters[0].grad, torch.full((2, 3), 2.0))
    assert torch.equal(parameters[1].grad, torch.full((4,), 1.5))


def waited_for(condition: Any, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def on_ray(folder: Path) -> list[Any]:
    words = ["finetune", "--out", folder, "--env", "tasks:Recall", "--workers", 2, "--envs", 4, "--set", FLAT]
    return [*words, "--appo.unroll", 8, "--quiet", "--minutes", 9, "--log-every", 1, "--checkpoint-every", 2]


def learned(folder: Path) -> int:
    return len(rows(folder)) if (folder / "metrics.csv").exists() else 0


@pytest.mark.slow
def test_all_actors_are_killed_and_the_learner_goes_on(
    tmp_path: Path, start: Any, monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "helpers"))
    folder = tmp_path / "run"
    process = start(*on_ray(folder))
    waited_for(lambda: learned(folder) >= 3)
    family = psutil.Process(process.pid).children(recursive=True)
    workers = [one for one in family if "_RayWorker" in " ".join(one.cmdline())]
    assert len(workers) == 2
    for worker in workers:
        worker.kill()
    waited_for(lambda: rows(folder)[-1]["workers_lost"] == "2")
    before = learned(folder)
    waited_for(lambda: learned(folder) > before + 5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "finetune --resume" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_learner_that_is_killed_is_resumed(
    tmp_path: Path, start: Any, run: Any, monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "helpers"))
    folder = tmp_path / "run"
    process = start(*on_ray(folder))
    waited_for(lambda: learned(folder) >= 5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    saved = load_values(folder / "last.safetensors")["counters"]
    assert saved["updates"] >= 4
    assert run("finetune", "--resume", folder, "--frames", saved["frames"] + 1000, "--quiet").status == 0
    steps = [int(row["step"]) for row in rows(folder)]
    assert steps == list(range(1, steps[-1] + 1))
    assert int(rows(folder)[-1]["games"]) > saved["games"]


def test_a_resumed_run_learns_from_its_first_games(tmp_path: Path) -> None:
    given = APPOConfig(unroll=8, max_lag=4)
    before = fine_tune(options(tmp_path, appo=given)).counters.updates
    fine_tune(FinetuneConfig(resume=tmp_path / "run", frames=900, quiet=True))
    after = rows(tmp_path / "run")[before:]
    assert after
    assert all(float(row["lag/stale"]) == 0 and float(row["lag/max"]) <= 4 for row in after)


@pytest.mark.parametrize("env", ["tasks:RaisesInStep", "tasks:RaisesInSecondReset"])
def test_an_environment_that_raises_ends_the_run_with_its_error(tmp_path: Path, env: str) -> None:
    with pytest.raises(
        RunError, match="5 workers in a row ended before a game did; the last: ValueError: out of order"
    ):
        fine_tune(options(tmp_path, env=env))


def test_parts_of_the_games_are_validated_on_by_each_of_several_learners(demos: Path) -> None:
    policy = Policy(SHRUNK["symbols-small"]).eval()
    given = policy, Demos.at(demos, policy.config), 4, 8, torch.device("cpu")
    whole = validation_nll(*given)
    parts: list[list[torch.Tensor]] = [[], [], []]
    for rank in range(3):  # one of them has no game
        validation_nll(*given, Share(rank, 3), lambda value, own=parts[rank]: own.append(value.clone()) or value)
    sums = Tally(*(sum(values) for values in zip(*parts, strict=True)))
    together = result_of(sums, policy.config.strategies)
    assert together.steps == whole.steps
    assert together.action_nll == pytest.approx(whole.action_nll, rel=1e-5)


def test_a_run_that_goes_on_is_told_where_its_demonstrations_are_now(tmp_path: Path, demos: Path) -> None:
    moved = FinetuneConfig(resume=tmp_path, imitation=ImitationConfig(demos=demos))
    saved = options(tmp_path, imitation=ImitationConfig(demos=tmp_path / "gone", demos_lanes=5))
    again = saved.continued(moved)
    assert (again.imitation.demos, again.imitation.demos_lanes) == (demos, 5)
    with pytest.raises(InputError, match="demos_lanes: a resumed run keeps its own; only frames, minutes, demos,"):
        FinetuneConfig(resume=tmp_path, imitation=ImitationConfig(demos_lanes=3))
    moved = FinetuneConfig(resume=tmp_path, reward=RewardConfig(progress=tmp_path / "there"))
    saved = options(tmp_path, reward=RewardConfig(progress=tmp_path / "gone", progress_lag=7))
    assert saved.continued(moved).reward == RewardConfig(progress=tmp_path / "there", progress_lag=7)
    with pytest.raises(InputError, match=r"reward\.progress: the run has no model of progress that could have moved"):
        options(tmp_path).continued(moved)
