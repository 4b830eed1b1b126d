from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shrinking import SHRUNK

from strathack.cli import main
from strathack.collect.playing.characters import CharacterWish
from strathack.dataset import Dataset
from strathack.dataset.errors import RunError
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.schema import ENDS
from strathack.models.policy import Policy
from strathack.models.running import check_ended
from strathack.models.saving import load_values, save_policy
from strathack.rl.acting.recording import SavedGames
from strathack.rl.config import APPOConfig, GameConfig
from strathack.rl.learning.finetuning import fine_tune
from strathack.rl.options import FinetuneConfig


def play(folder: Path, **changes: Any) -> None:
    save_policy(folder / "policy.safetensors", Policy(SHRUNK["symbols-small"]))
    values: dict[str, Any] = {
        "run": [folder / "policy.safetensors"], "out": folder / "run", "workers": 0, "env_groups": 1, "envs": 3,
        "frames": 400, "appo": APPOConfig(unroll=8), "quiet": True, "save_games": folder / "games",
    }  # fmt: skip
    fine_tune(FinetuneConfig(**{**values, **changes}))


@pytest.mark.parametrize(
    ("env", "no_progress", "end"),
    [
        ("NetHackScore-v0", 0, "step_limit"),
        pytest.param("NetHackChallenge-v0", 20, "abort", marks=pytest.mark.slow),
    ],
)
def test_games_that_are_kept_replay_frame_for_frame(
    env: str, no_progress: int, end: str, tmp_path: Path, run: Any
) -> None:
    play(tmp_path, env=env, game=GameConfig(max_steps=30, no_progress=no_progress))
    dataset = Dataset(tmp_path / "games")
    assert len(dataset) >= 9
    assert ENDS[end] in dataset.rows["end"]
    strategies = np.concatenate([game.strategy[:] for game in dataset])
    assert len(np.unique(strategies)) > 3
    assert dataset.vocabularies["strategy"] == SHRUNK["symbols-small"].strategies
    verified = run("dataset", "verify", tmp_path / "games", "--replay", "--workers", 0, "--quiet")
    assert verified.status == 0, verified.err
    assert verified.err.count("came back") == len(dataset)


def test_games_of_other_environments_cannot_be_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--env", "tasks:Recall", "--workers", "0", "--quiet", "--save-games", str(tmp_path / "games")]
    with pytest.raises(SystemExit):
        main(["finetune", "--out", str(tmp_path / "run"), *words])
    assert "save_games: only games of NLE and MiniHack can be kept, tasks:Recall is none" in capsys.readouterr().err


def test_games_go_on_in_a_folder_of_the_release_before_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(tmp_path, env="NetHackScore-v0", game=GameConfig(max_steps=30, character=CharacterWish("val")))
    folder = DatasetFolder(tmp_path / "games")
    settings = folder.read_settings()
    assert settings is not None
    options = json.loads(settings["options"])
    assert list(options)[:4] == ["environment", "character", "keys", "seeds"]  # their names in datasets
    # A character was kept as it was typed.
    folder.write_settings({**settings, "options": json.dumps({**options, "character": "Val"})})
    fine_tune(FinetuneConfig(resume=tmp_path / "run", frames=600, quiet=True))
    (tmp_path / "run").rename(tmp_path / "first")
    words = ["--env", "NetHackScore-v0", "--workers", "0", "--quiet", "--save-games", str(tmp_path / "games")]
    for _ in range(2):  # what is refused leaves no run behind that would be in the way
        with pytest.raises(SystemExit):
            main(["finetune", "--out", str(tmp_path / "run"), *words])
        assert "games holds games of another kind; take another folder" in capsys.readouterr().err


def test_a_signal_that_comes_when_a_run_has_ended_waits_for_its_last_games(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge = SavedGames.merge

    def late(self: SavedGames) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        merge(self)

    monkeypatch.setattr(SavedGames, "merge", late)
    play(tmp_path, env="NetHackScore-v0", game=GameConfig(max_steps=30))
    assert [path.name for path in DatasetFolder(tmp_path / "games").shards()] == ["shard-00000.h5"]


@pytest.mark.slow
def test_two_learners_keep_their_games_in_one_folder(tmp_path: Path, run: Any, nothing_left: None) -> None:
    checkpoint = tmp_path / "policy.safetensors"
    save_policy(checkpoint, Policy(SHRUNK["symbols-small"]))
    words = ["--env", "NetHackScore-v0", "--game.max-steps", 20, "--workers", 0, "--envs", 4, "--appo.unroll", 8]
    words += ["--devices", 2, "--device", "cpu", "--quiet", "--save-games", tmp_path / "games"]
    ended = run("finetune", checkpoint, "--out", tmp_path / "run", *words, "--frames", 1500)
    assert ended.status == 0, ended.err
    games = Dataset(tmp_path / "games")
    saved = load_values(tmp_path / "run" / "last.safetensors")
    counted = sum(process["counters"]["games"] for process in saved["processes"])
    assert len(games) >= counted > 20
    assert all(path.name.startswith("shard-") for path in (tmp_path / "games").glob("*.h5")), "all of them are merged"
    verified = run("dataset", "verify", tmp_path / "games", "--quiet")
    assert verified.status == 0, verified.out


def test_a_learner_whose_process_failed_has_not_ended_well() -> None:
    failing, ending = (subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"]) for code in (3, 0))
    check_ended([ending])
    with pytest.raises(RunError, match=r"process 2 of 3 failed \(exit status 3\)"):
        check_ended([ending, failing])
