"""On pretend CUDA: devices and streams are not mixed, results are the CPU's, and steps hardly wait for the device."""

import json
import math

import pytest

pytest.importorskip("pytorch_lightning")

from made_up_games import write_games
from pretend_cuda import call, call_all
from shrinking import SHRUNK

LENGTHS = [40, 80, 33, 120, 60, 77, 90, 45, 130, 50, 61, 88]
WAITS_A_STEP = 1
"""For whether the numbers of the step before were finite."""


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    folder = tmp_path_factory.mktemp("games")
    screens = "tty_chars", "tty_colors", "tty_cursor", "specials"
    write_games(folder, LENGTHS, keys=(*screens, "blstats", "inv_letters", "inv_strs"))
    return folder


@pytest.fixture(scope="module")
def found(guard, games, tmp_path_factory):
    """What the quick cases give, in one process; the mistakes last."""
    small = ("cuda_cases:trained", games, tmp_path_factory.mktemp("runs"), "symbols-small")
    calls = {"unrolled": ("cuda_cases:all_unrolled",), "trained": small, "planted": ("cuda_cases:planted",)}
    return dict(zip(calls, call_all(guard, list(calls.values())), strict=True))


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("name", SHRUNK)
def test_an_unroll_gives_what_it_gives_on_the_cpu_and_waits_for_nothing(found, name, precision):
    found = found["unrolled"][f"{name} {precision}"]
    accuracy = 1e-5 if precision == "32" else 2e-2
    assert found["cuda"] == pytest.approx(found["cpu"], rel=accuracy)
    assert found["waits"] == {}


def test_planted_mistakes_are_found(found):
    planted = found["planted"]
    assert planted["mixed"].startswith("aten::add ")
    assert "may recycle" in planted["unrecorded"]
    assert "may not have written" in planted["unwaited"]
    assert planted["none"] == ""


def check_waits(trained):
    assert sum(trained["waits"].values()) <= WAITS_A_STEP, trained["waits"]
    assert trained["calls"] > 0


def test_training_waits_once_a_step(found):
    check_waits(found["trained"])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(SHRUNK) - {"symbols-small"}))
def test_training_waits_once_a_step_with_every_preset(guard, games, tmp_path, name):
    check_waits(call(guard, "cuda_cases:trained", games, tmp_path, name))


@pytest.mark.slow
def test_averaging_the_weights_waits_once_more(guard, games, tmp_path):
    found = call(guard, "cuda_cases:trained", games, tmp_path, "symbols-small", json.dumps({"ema": 0.9}))
    assert sum(found["waits"].values()) <= WAITS_A_STEP + 1, found["waits"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["label", "pretrain", "awac", "iql", "cql", "rem"])
def test_other_kinds_of_learning_wait_once_a_step(guard, games, tmp_path, kind):
    found = call(guard, "cuda_cases:streamed", games, tmp_path, kind)
    assert sum(found["waits"].values()) <= WAITS_A_STEP, found["waits"]
    assert all(math.isfinite(value) for value in found["figures"].values())


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"precision": "32"}, {"ema": 0.9, "precision": "bf16", "loader_workers": 2}])
def test_whole_runs(guard, games, tmp_path, options):
    found = call(guard, "cuda_cases:resumed", games, tmp_path, json.dumps(options))
    assert found["steps"] == [9, 3, 3]
    assert all(0 < nll < 6 for nll in found["nll"])
    assert found["predicted"] == 20
