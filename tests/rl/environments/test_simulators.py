from __future__ import annotations

from pathlib import Path

import pytest

from strathack.dataset.errors import InputError
from strathack.rl.config import GameConfig
from strathack.rl.environments.simulators import make_simulator


def test_a_minihack_that_cannot_be_imported_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minihack").mkdir()
    (tmp_path / "minihack" / "__init__.py").write_text("import nothing_of_that_name")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"cannot be imported \(No module named 'nothing_of_that_name'\)"):
        make_simulator("MiniHack-Room-5x5-v0", GameConfig(), ("blstats",))
