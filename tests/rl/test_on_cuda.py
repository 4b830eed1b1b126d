"""Fine-tuning and evaluation on pretend CUDA; see tests/models/test_on_cuda.py."""

import pytest

pytest.importorskip("pytorch_lightning")

from made_up_games import write_games
from pretend_cuda import call

KEYS = ("tty_chars", "tty_colors", "tty_cursor", "blstats")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "hold", "passes", "progress"),
    [
        ("symbols-small", 0, 1, ""),
        ("symbols-small", 0, 1, "progress"),
        ("symbols-base", 3, 2, ""),
        ("hier-lstm", 3, 2, ""),
        ("lstm", 0, 2, ""),
    ],
)
def test_an_update_waits_once_a_pass_and_acting_once_a_step(guard, tmp_path, name, hold, passes, progress):
    write_games(tmp_path / "games", [40, 80, 33, 120, 60, 77, 90, 45, 130, 50, 61, 88], keys=KEYS)
    found = call(guard, "cuda_cases:fine_tuned", tmp_path / "games", tmp_path, name, hold, passes, progress)
    ended, resumed = found["updates"]
    assert ended >= 12
    assert resumed >= 6
    waits = {place.partition(" at ")[2].partition(":")[0]: count for place, count in found["waits"].items()}
    # Two env groups of eight steps are learned from at a time; some more are under way at the end.
    assert waits.pop("acting/inference.py") < 2 * 8 * 2
    assert waits.pop("models/numbers.py") <= passes
    assert waits == {}


@pytest.mark.slow
@pytest.mark.parametrize("hold", [0, 2])
def test_a_policy_is_evaluated(guard, tmp_path, hold):
    found = call(guard, "cuda_cases:evaluated", tmp_path, "symbols-small", hold)
    assert found["status"] == 0
    assert found["on the device"] > 1000
    assert "evaluation.json" in found["files"]
