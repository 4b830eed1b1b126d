"""The house: which folder may know which, who may do what, how large a module may be, and what things are called."""

import ast
import configparser
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

KNOWS = {
    "dataset": set(),
    "collect": {"dataset"},
    "models": {"dataset"},
    "rl": {"models", "collect", "text", "dataset"},
    "analysis": {"dataset"},
    "text": {"dataset"},
}
"""Folder → the folders that it may import; strathack/ itself may import all of them."""

PLAYS = {"collect", "rl"}
"""The folders that may import the simulator."""

TABLES = {"text": {"nle", "nle.nethack"}}
"""The folders that may import the simulator's tables of monsters and objects, without playing."""

MODULES = [path for name in (*KNOWS, "strathack") for path in (ROOT / name).rglob("*.py")]
CALLERS = [path for name in ("benchmarks", "notebooks") for path in (ROOT / name).glob("*.py")]

LONGEST = 500
"""Lines of a module."""


NO_OTHER_WAY = "nle._pyconverter"
"""Draws ttyrecs' screens; NLE offers it to nobody else, and what else draws them draws others."""


def shown(path):
    return str(path.relative_to(ROOT))


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
                assert folder in PLAYS or name in TABLES.get(folder, ()), f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_no_module_is_long_nor_imports_what_is_private_to_another(path):
    assert len(path.read_text().splitlines()) <= LONGEST
    private = [name for name in imports(path) if re.search(r"\._[a-zA-Z]", name) and not name.startswith(NO_OTHER_WAY)]
    assert private == [], "what another module keeps to itself may change without a word"


def test_one_module_writes_datasets():
    wanted = {"folder_lock", "remove_temporary_files", "add_game", "write_settings", "write_failures"}
    for path in MODULES:
        calls = {
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        }
        if shown(path) in ("dataset/remote/pulling.py", "strathack/commands/text.py"):
            calls -= {"folder_lock", "remove_temporary_files"}  # of an export, and of what is no dataset before it ends
        if path.name != "writer.py":
            assert not calls & wanted, f"{path} writes to a dataset folder beside DatasetWriter"


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "options.py"], ids=shown)
def test_options_check_what_they_inherit(path):
    for kind in ast.walk(ast.parse(path.read_text())):
        if isinstance(kind, ast.ClassDef):
            checks = [one for one in kind.body if getattr(one, "name", "") == "__post_init__"]
            assert all("super().__post_init__()" in ast.unparse(check) for check in checks), f"{path}: {kind.name}"


def test_options_and_commands_have_one_place_in_each_folder():
    """Dataclasses of options stand in options.py, and what the command line calls is named as the command."""
    from strathack.cli import COMMANDS, Command

    def walk(commands, names=()):
        for name, command in commands.items():
            if isinstance(command, Command):
                yield (*names, name), command
            else:
                yield from walk(command, (*names, name))

    for names, command in walk(COMMANDS):
        module, _, options = command.options.partition(":")
        assert module.endswith(".options"), command
        assert options.endswith("Config"), command
        module, _, function = command.run.partition(":")
        assert module.endswith(".commands") or module.startswith("strathack.commands."), command
        assert function.rstrip("_") == names[-1].replace("-", "_"), command


WORDS = {
    r"\bFollower\b": "InferencePolicy",
    r"\bActors?\b": "RolloutWorkers, ActingPolicy",
    r"\b[Ee]xam(s|ined|ines|Pool)?\b": "evaluation, EvaluationPool",
    r"\bkept_skill\b": "validation_nll",
    r"\bEar\b": "MessageReader",
    r"\bAgainConfig\b": "ReplayOptions",
    r"\b(a|an|one|each|env) slices?\b(?!\()": "env group",
    r"\bself\.hold\b|\bconfig\.hold\b|\bhold: int\b": "min_strategy_steps",
    r"\bdef (new|build|create)_": "make_, or a class's from_ and of",
    r"\bobservation_key\b": "observation key, in words; observation_keys as an argument",
}
"""Words that docs/architecture.md has other ones for."""


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_things_are_called_what_the_glossary_calls_them(path):
    text = path.read_text()
    found = {word: better for word, better in WORDS.items() if re.search(word, text)}
    assert found == {}


def python_of(path):
    """The Python in a file; of a page, that in its blocks of code."""
    text = path.read_text()
    return "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)) if path.suffix == ".md" else text


@pytest.mark.parametrize("path", [*CALLERS, ROOT / "README.md", *(ROOT / "docs").glob("*.md")], ids=shown)
def test_what_benchmarks_notebooks_and_pages_import_is_there(path):
    for node in ast.walk(ast.parse(python_of(path))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "strathack":
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_every_folder_is_installed_under_one_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    mapping = dict(line.split(" = ") for line in config["options"]["package_dir"].strip().splitlines())
    assert mapping == {"strathack": "strathack", **{f"strathack.{name}": name for name in KNOWS}}
    packages = set(config["options"]["packages"].split())
    folders = {init.parent.relative_to(ROOT) for name in KNOWS for init in (ROOT / name).rglob("__init__.py")}
    below = {"strathack." + ".".join(folder.parts) for folder in folders}
    assert packages == {"strathack", "strathack.commands", *below}


def test_reading_needs_no_simulator_and_no_ray():
    code = (
        "import sys; import strathack.dataset, strathack.analysis.commands;"
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
