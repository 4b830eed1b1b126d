"""Benchmarks that no machine here can run for real are run on pretend CUDA."""

from pathlib import Path

import pytest

pytest.importorskip("pytorch_lightning")

from pretend_cuda import call

from strathack.models.presets import PRESETS

ROOT = Path(__file__).parents[1]


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
