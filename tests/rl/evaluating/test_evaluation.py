from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from shrinking import SHRUNK

from strathack.analysis.scores import scores_of
from strathack.cli import main
from strathack.dataset import Dataset
from strathack.models.cards import card_of, results_of
from strathack.models.policy import Policy
from strathack.models.publishing import evaluation_of
from strathack.models.saving import save_policy

SHORT = ("--max-steps", 40, "--quiet")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small policy with fresh weights, which sees all that policies may see."""
    path = tmp_path_factory.mktemp("policy") / "fresh.safetensors"
    save_policy(path, Policy(SHRUNK["symbols-events"]))
    return path


@pytest.mark.slow
def test_a_policy_is_evaluated_on_ray_and_its_games_replay(
    policy: Path, tmp_path: Path, run: Any, nothing_left: None
) -> None:
    words = ("evaluate", policy, "--out", tmp_path / "out", "--seeds", "7:12", "--workers", 2, *SHORT)
    ended = run(*words, "--save-games", tmp_path / "games")
    assert ended.status == 0, ended.err
    assert "5 games" in ended.out
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert scores["core"].tolist() == [7, 8, 9, 10, 11]
    pd.testing.assert_frame_equal(scores, scores_of(Dataset(tmp_path / "games")))
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert told["summary"]["games"] == 5
    assert told["summary"]["figures"]["score"]["mean"]["value"] == scores["score"].mean()
    assert told["settings"]["checkpoint_sha256"]
    assert len(told["settings"]["weights_sha256"]) == 64
    assert told["summary"]["strategies"].keys() <= set(SHRUNK["symbols-events"].strategies)
    verified = run("dataset", "verify", tmp_path / "games", "--replay", "--workers", 0)
    assert verified.status == 0, verified.err
    # Again there is nothing left to play, and other ways of acting are other games.
    assert run(*words, "--save-games", tmp_path / "games").status == 0
    refused = run(*words, "--save-games", tmp_path / "games", "--greedy")
    assert refused.status == 2
    assert "holds games of other settings: greedy is False there and True here" in refused.error


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on_to_the_same_scores(
    policy: Path, tmp_path: Path, run: Any, start: Any, nothing_left: None
) -> None:
    words = ("--seeds", "7:19", "--workers", 0, "--env-groups", 1, "--envs", 2, "--max-steps", 200, "--quiet")
    process = start("evaluate", policy, "--out", tmp_path / "cut", *words)
    assert process.stderr.readline().startswith("1/12 seed ")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    kept = len(Dataset(tmp_path / "cut" / "games"))
    assert 0 < kept < 12
    assert not (tmp_path / "cut" / "scores.parquet").exists()
    went_on = run("evaluate", policy, "--out", tmp_path / "cut", *words)
    assert went_on.status == 0, went_on.err
    assert went_on.err.count("/12 seed ") + went_on.err.count(f"/{12 - kept} seed ") == 12 - kept
    assert run("evaluate", policy, "--out", tmp_path / "whole", *words).status == 0
    cut, whole = (pd.read_parquet(tmp_path / name / "scores.parquet") for name in ("cut", "whole"))
    pd.testing.assert_frame_equal(cut.drop(columns="seconds"), whole.drop(columns="seconds"))


@pytest.mark.slow
def test_the_bot_is_worth_what_its_collected_games_say(tmp_path: Path, run: Any) -> None:
    seeds = ("--seeds", "2,4", "--max-steps", 300, "--workers", 0)
    assert run("evaluate", "autoascend", "--out", tmp_path / "out", *seeds).status == 0
    assert run("collect", tmp_path / "data", *seeds).status == 0
    evaluated, collected = pd.read_parquet(tmp_path / "out" / "scores.parquet"), scores_of(Dataset(tmp_path / "data"))
    pd.testing.assert_frame_equal(evaluated.drop(columns="seconds"), collected.drop(columns="seconds"))
    assert Dataset(tmp_path / "out" / "games").observations == ()


@pytest.mark.slow
def test_roles_are_chosen_before_anything_is_played(tmp_path: Path, run: Any) -> None:
    words = ("evaluate", "random", "--out", tmp_path / "out", "--seeds", "0:12", "--workers", 0, *SHORT)
    ended = run(*words, "--roles", "sam")
    assert ended.status == 0, ended.err
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert set(scores["role"]) == {"Sam"}
    assert 1 in scores["core"].tolist()  # seed 1 draws a Samurai


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", str(policy), "--out", str(tmp_path / "out"), "--device", "cuda"])
    assert "device: cuda was asked for, and PyTorch finds no GPU here" in capsys.readouterr().err


def test_a_policy_of_another_environment_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.safetensors"
    save_policy(path, Policy(replace(SHRUNK["symbols-small"], actions=("left", "right"))))
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", str(path), "--out", str(tmp_path / "out")])
    assert "acts by left, right, which NetHackChallenge-v0 does not know" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nobody"], "what: 'nobody' is no checkpoint, no run's folder, no trained policy's name, no bot's folder"),
        (["random", "--greedy"], "greedy: is for policies; random has no such choice"),
        (
            ["autoascend", "--min-strategy-steps", "3"],
            "min_strategy_steps: is for policies; a demonstrator has no such choice",
        ),
        (["random", "--greedy", "--temperature", "2"], "temperature: with greedy there is nothing to draw"),
        (["random", "--games", "3", "--seeds", "0:2"], "games: 3 are asked for and 2 seeds are given"),
        (["random", "--seeds", "x"], "seeds: 'x' in 'x' is neither a number nor a range"),
        (["random", "--clock", "noon"], "clock: 'noon' is neither an instant"),
        (["random", "--roles", "wizzard"], "wizzard"),
        (["."], "no checkpoint in it"),
        (["random", "--protocol", "balrog", "--games", "9"], "games: 9; the protocol balrog sets it"),
        (["random", "--protocol", "balrog", "--max-steps", "9"], "max_steps: 9; the protocol balrog sets it"),
        (["random", "--protocol", "hihack", "--greedy"], "greedy: True; the protocol hihack sets it"),
        (
            ["random", "--protocol", "balrog", "--character", "mon-hum-neu-mal"],
            "character: mon-hum-neu-mal; the protocol balrog is of any",
        ),
        (
            ["random", "--protocol", "katakomba"],
            "character: @; the protocol katakomba is of one, such as --character mon-hum-neu-mal",
        ),
        (
            ["autoascend", "--protocol", "balrog"],
            "protocol: balrog ends games after 150 steps without a turn, a demonstrator's end after 500",
        ),
        (
            ["autoascend", "--protocol", "hihack"],
            "protocol: hihack ends games after 1000 steps without a turn, a demonstrator's end after 500",
        ),
        (
            ["random", "--protocol", "katakomba", "--character", "val-hum"],
            "character: val-hum; the protocol katakomba is of one, such as --character mon-hum-neu-mal",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", *words, "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_single_games_figures_are_json_for_everyone_and_a_policys_card(policy: Path, tmp_path: Path) -> None:
    words = ["--games", "1", "--max-steps", "5", "--clock", "seed", "--workers", "0", "--quiet"]
    assert main(["evaluate", str(policy), "--out", str(tmp_path / "out"), *words]) == 0

    def refuse(name: str) -> None:
        raise AssertionError(name)

    told = json.loads((tmp_path / "out" / "evaluation.json").read_text(), parse_constant=refuse)
    assert told["summary"]["figures"]["score"]["standard_error"] is None
    played = told["settings"]["weights_sha256"]
    evaluation = evaluation_of(tmp_path / "out" / "evaluation.json", played)
    card = card_of(SHRUNK["symbols-events"], {"evaluation": evaluation})
    assert f"| score | {evaluation['figures']['score']['mean']['value']:.0f} |" in card
    assert not {"nan", "None", "NaN"} & set(card.split())
    assert results_of({"evaluation": evaluation})


def test_a_folder_that_cannot_be_written_is_told_of_before_anything_is_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "afile").touch()
    words = ["--games", "1", "--save-games", str(tmp_path / "games"), "--clock", "seed", "--workers", "0", "--quiet"]
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "random", "--out", str(tmp_path / "afile"), *words])
    assert "afile: is a file; expected a folder" in capsys.readouterr().err
    assert not (tmp_path / "games").exists()


def test_a_protocol_sets_games_limits_and_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--clock", "seed", "--workers", "0", "--quiet"]
    kept, free = tmp_path / "kept", tmp_path / "free"
    assert main(["evaluate", "random", "--protocol", "balrog", "--out", str(kept), *words]) == 0
    told = json.loads((kept / "evaluation.json").read_text())
    scores = pd.read_parquet(kept / "scores.parquet")
    assert told["protocol"] == told["settings"]["protocol"] == "balrog"
    assert (told["settings"]["max_steps"], told["settings"]["no_progress"]) == (100_000, 150)
    assert scores["core"].tolist() == list(range(100_000, 100_005))
    progression = scores["progression"].to_numpy()
    assert told["measures"]["progression"]["mean"] == pytest.approx(progression.mean())
    said = capsys.readouterr().out
    assert f"protocol balrog: progression: mean {progression.mean():.4f}" in said
    assert "its seeds are not told, ours are" in said
    # Beside an evaluation of another kind, it is refused, also in the same folder.
    assert main(["evaluate", "random", "--games", "5", "--max-steps", "50", "--out", str(free), *words]) == 0
    for refused in (
        ["compare", str(kept), str(free)],
        ["evaluate", "random", "--max-steps", "100000", "--out", str(kept), *words],
    ):
        with pytest.raises(SystemExit, match="2"):
            main(refused)
    said = capsys.readouterr().err
    assert "figures of different protocols do not stand side by side: kept kept to balrog, free to none" in said
    assert "no_progress is 150 there and 1000 here" in said
    assert main(["report", str(kept), "-o", str(tmp_path / "report.html"), "--playable", "0"]) == 0
    assert "balrog: BALROG (Paglieri et al., 2024)" in (tmp_path / "report.html").read_text()
