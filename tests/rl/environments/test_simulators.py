from __future__ import annotations

from pathlib import Path

import pytest

from strathack.collect.playing.environment import NO_STEP_LIMIT
from strathack.dataset.errors import InputError
from strathack.rl.config import GameConfig
from strathack.rl.environments.simulators import NLESimulator, make_simulator


def test_a_minihack_that_cannot_be_imported_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minihack").mkdir()
    (tmp_path / "minihack" / "__init__.py").write_text("import nothing_of_that_name")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"cannot be imported \(No module named 'nothing_of_that_name'\)"):
        make_simulator("MiniHack-Room-5x5-v0", GameConfig(), ("blstats",))


@pytest.mark.parametrize("env", ["NetHackScore-v0", "NetHackChallenge-v0", "Depth-2"])
def test_an_environment_of_nle_has_no_limit_of_its_own(env: str) -> None:
    simulator = make_simulator(env, GameConfig(), ("blstats",))
    assert isinstance(simulator, NLESimulator)
    assert simulator.env._max_episode_steps == NO_STEP_LIMIT
    if env == "NetHackScore-v0":  # whose limit is 5,000 steps
        simulator.reset(3)
        more = simulator.actions.index("more")
        assert {simulator.step(more)[2] for _ in range(5_010)} == {None}
    simulator.close()
