"""Benchmarks that no machine here can run for real are run on pretend CUDA."""

import argparse
import importlib
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("pytorch_lightning")

from pretend_cuda import call

from strathack.models.presets import PRESETS

ROOT = Path(__file__).parents[1]


def test_success_is_told_of_the_games_of_each_part_of_the_frames(tmp_path, monkeypatch, capsys):
    """Two of ten games in the first eighth, which is not told; then three of four; validations tell of no games."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    sparse = importlib.import_module("sparse")
    (tmp_path / "both-0").mkdir()
    lines = ["frames,games,return/total,validation/action_nll", "50,4,0.0,", "99,10,2.0,", "120,12,4.0,", "199,14,5.0,",
             "199,,,0.5"]  # fmt: skip
    (tmp_path / "both-0" / "metrics.csv").write_text("\n".join(lines) + "\n")
    sparse.tell(argparse.Namespace(out=tmp_path, frames=800))
    told = pd.read_csv(tmp_path / "success.csv")
    assert told[["part", "success"]].to_numpy().tolist() == [[1, 0.75]]
    assert "both" in capsys.readouterr().out


def test_a_run_of_other_options_is_not_taken_for_what_is_asked(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    runs = importlib.import_module("runs")
    called = []
    monkeypatch.setattr(runs, "strathack", lambda *words: called.append(words))
    run = tmp_path / "study" / "run"
    runs.trained("train", run, ["data"], ["--steps", 5])
    runs.trained("train", run, ["data"], ["--steps", 5])
    assert called == [("train", "data", "--out", run, "--steps", 5)], "it has ended"
    with pytest.raises(SystemExit, match="run: made by 'train data --steps 5', not by 'train data --steps 6'"):
        runs.trained("train", run, ["data"], ["--steps", 6])


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_goes_on_where_it_stopped(guard, tmp_path):
    words = ROOT / "benchmarks/gpu.py", ROOT / "data/autoascend-1k", tmp_path, "steps > 1500 and steps < 2500", 1.05
    found = call(guard, "cuda_cases:benchmarked", *words)
    *stopped, last = found["lines"]
    assert last.startswith("all is done")
    assert set(stopped) == {"the time is over; the same command goes on"}
    known = found["known"]
    assert known["expanded"]["games"] > 10
    checks = [value for name, value in known.items() if name.startswith("check ")]
    assert len(checks) == len(PRESETS)
    assert all(one["right"] for check in checks for one in check.values())
    assert known["speed symbols-small"]["frames_per_second"] > 0
    assert known["trained"]["minutes"] == pytest.approx(0.4, abs=0.06)
    assert len(found["sizes"]) <= 8
    assert max(found["sizes"].values()) < 16 << 20
