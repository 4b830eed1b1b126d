"""The examples of docs/other_tools.md run as they stand, on games of ours."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_games import write_games

from strathack.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "other_tools.md"
KEYS = ("tty_chars", "tty_colors", "tty_cursor", "blstats")
FENCED = re.compile(r"^## (\S+?):? .*?```python\n(.*?)```", re.DOTALL | re.MULTILINE)
EXAMPLES = dict(FENCED.findall(PAGE.read_text()))
PACKAGES = {"d3rlpy": "d3rlpy", "TorchRL": "torchrl", "Hugging": "datasets", "duckdb": "duckdb"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a dataset and the same published, by the names that the page uses."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "demo").mkdir()
    write_games(folder / "demo" / "data", [300, 400, 64, 700, 90, 150], keys=KEYS)
    words = ["dataset", "publish", folder / "demo" / "data", folder / "published", "--observations", "--quiet"]
    assert main([*map(str, words)]) == 0
    return folder


def test_every_package_has_an_example():
    assert set(EXAMPLES) == set(PACKAGES)


@pytest.mark.parametrize(
    "title",
    [pytest.param(title, marks=pytest.mark.slow if title in ("d3rlpy", "TorchRL") else ()) for title in PACKAGES],
)
def test_an_example_runs(place, title):
    pytest.importorskip(PACKAGES[title])
    ended = subprocess.run(
        [sys.executable, "-c", EXAMPLES[title]], cwd=place, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    said = ended.stdout.strip().splitlines()[-1]
    assert re.search(r"\d", said), said
