"""``strathack models``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from strathack.cli import main
from strathack.models.commands import list_
from strathack.models.options import ModelsConfig
from strathack.models.places import published
from strathack.models.presets import PRESETS

DATA = str(Path(__file__).parents[2] / "data" / "autoascend-1k")


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


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        (["models"], "torch", "train"),
        (["watch", "symbols-flat-1k"], "torch", "train"),
        (["text", "tokens", DATA], "tokenizers", "text"),
    ],
)
def test_without_the_extra_one_line_says_what_to_install(words, package, extra):
    """Also where a command needs the package only later."""
    code = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from strathack.cli import main
main({words!r})
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == f"strathack: error: {package} is not installed; pip install 'strathack[{extra}]'\n"
