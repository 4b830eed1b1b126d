"""``strathack models``."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("torch")

from strathack.cli import main
from strathack.models.commands import list_
from strathack.models.options import ModelsConfig
from strathack.models.places import published
from strathack.models.presets import PRESETS


def test_the_list_names_every_policy_with_its_parameters(capsys):
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in PRESETS)
    assert "6,235,194" in listed


def test_as_json(capsys):
    list_(ModelsConfig(json=True))
    known = json.loads(capsys.readouterr().out)
    # The paper's counts: tests/models/test_hihack.py holds them against its checkpoints.
    assert {name: known[name]["parameters"] for name in ("lstm", "lstm-xxl", "hier-lstm", "transformer")} == {
        "lstm": 6_235_194, "lstm-xxl": 13_381_690, "hier-lstm": 8_276_979, "transformer": 26_052_154
    }  # fmt: skip
    assert set(known) == {*PRESETS, *published()}
    assert all(known[name]["about"]["frames"] > 0 for name in published())


def test_without_the_extra_one_line_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; from strathack.cli import main; main(['models'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "strathack: error: torch is not installed; pip install 'strathack[train]'\n"
