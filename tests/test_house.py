"""The house: which folder may know which, and that the folders are what is installed."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

KNOWS = {
    "dataset": set(),
    "collect": {"dataset"},
    "models": {"dataset"},
    "rl": {"models", "collect", "dataset"},
    "analysis": {"dataset"},
}
"""Folder → the folders that it may import; strathack/ itself may import all of them."""

PLAYS = {"collect", "rl"}
"""The folders that may import the simulator."""


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written out in full"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", KNOWS)
def test_imports_point_one_way(folder):
    paths = list((ROOT / folder).rglob("*.py"))
    assert paths
    for path in paths:
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "strathack":
                assert len(parts) == 1 or parts[1] in {folder, *KNOWS[folder]}, f"{path} imports {name}"
                assert name != "strathack", f"{path} imports the top of the package"
            if parts[0] in ("nle", "nethackers", "autoascend"):
                assert folder in PLAYS, f"{path} imports {name}"


def test_every_folder_is_installed_under_one_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    mapping = dict(line.split(" = ") for line in config["options"]["package_dir"].strip().splitlines())
    assert mapping == {"strathack": "strathack", **{f"strathack.{name}": name for name in KNOWS}}
    packages = set(config["options"]["packages"].split())
    folders = {init.parent.relative_to(ROOT) for name in KNOWS for init in (ROOT / name).rglob("__init__.py")}
    assert packages == {"strathack", *(f"strathack.{'.'.join(folder.parts)}" for folder in folders)}


def test_reading_needs_no_simulator_and_no_ray():
    code = (
        "import sys; import strathack.dataset, strathack.analysis.strategies;"
        "print([name for name in ('nle', 'ray', 'nethackers', 'torch') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert out.stdout.strip() == "[]"


def test_help_is_quick_to_say_since_it_imports_neither():
    code = (
        "import sys; from strathack.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([name for name in "
        "('nle', 'ray', 'numba', 'matplotlib', 'torch') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert out.stdout.strip().splitlines()[-1] == "[]"
