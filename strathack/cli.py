"""The command line: every command is a dataclass of options that check themselves and a function of them."""

from __future__ import annotations

import importlib
import re
import signal
import sys
from argparse import HelpFormatter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

import docstring_parser
import yaml
from jsonargparse import (  # type: ignore[attr-defined]
    ActionConfigFile,
    ActionYesNo,
    ArgumentParser,
    Namespace,
    set_loader,
)

import strathack
from strathack.collect.running.cluster import InterruptedStartError
from strathack.dataset.errors import InputError, RunError


@dataclass(frozen=True)
class Command:
    """A command, imported when it is asked for.

    Attributes:
        options: ``module:name`` of the dataclass that describes and checks its options.
        run: ``module:name`` of the function that takes those options and returns the exit status.
        help: One line.
    """

    options: str
    run: str
    help: str


COMMANDS: Mapping[str, Command | Mapping[str, Command]] = {
    "collect": Command(
        "strathack.collect.config:CollectConfig",
        "strathack.collect.run:main",
        "play games and record every step with the strategy behind it",
    ),
    "dataset": {
        "info": Command(
            "strathack.dataset.options:InfoConfig", "strathack.dataset.commands:info", "tell what a dataset holds"
        ),
        "verify": Command(
            "strathack.collect.options:VerifyConfig",
            "strathack.collect.replaying.verifying:main",
            "check that a dataset is as it was written, by replaying its games as well",
        ),
        "repair": Command(
            "strathack.dataset.options:RepairConfig",
            "strathack.dataset.commands:repair",
            "copy what verifies into a new dataset",
        ),
        "merge": Command(
            "strathack.dataset.options:MergeConfig",
            "strathack.dataset.commands:merge",
            "copy the games of several datasets into one",
        ),
        "split": Command(
            "strathack.dataset.options:SplitConfig",
            "strathack.dataset.commands:split",
            "split into train, validation and test",
        ),
        "export": Command(
            "strathack.dataset.options:ExportConfig",
            "strathack.dataset.commands:export",
            "write a Minari dataset or Parquet tables",
        ),
        "import": Command(
            "strathack.collect.options:ImportConfig",
            "strathack.collect.importing.importer:main",
            "import ttyrecs: HiHack's, NLD's, one's own",
        ),
        "relabel": Command(
            "strathack.collect.options:RelabelConfig",
            "strathack.collect.replaying.relabelling:main",
            "play imported AutoAscend games again for their true strategies",
        ),
        "compact": Command(
            "strathack.dataset.options:CompactConfig",
            "strathack.dataset.commands:compact_command",
            "keep the keys and labels alone, from which games can be replayed",
        ),
        "expand": Command(
            "strathack.collect.options:ExpandConfig",
            "strathack.collect.replaying.expanding:main",
            "replay a keys-only dataset into a full one",
        ),
    },
    "models": {
        "list": Command(
            "strathack.models.options:ModelsConfig",
            "strathack.models.commands:models",
            "list the policies known by name, with their parameter counts",
        ),
        "import-hihack": Command(
            "strathack.models.options:ImportHihackConfig",
            "strathack.models.commands:import_checkpoint",
            "turn one of the paper's checkpoints into one of ours",
        ),
    },
    "train": Command(
        "strathack.models.options:TrainConfig",
        "strathack.models.training:main",
        "clone the demonstrator's actions and strategies",
    ),
    "finetune": Command(
        "strathack.rl.options:FinetuneConfig",
        "strathack.rl.finetuning:main",
        "train a policy on what it plays, together with imitation",
    ),
    "evaluate": Command(
        "strathack.rl.options:EvaluateConfig",
        "strathack.evaluating:main",
        "play games to see what a policy, a bot or AutoAscend is worth",
    ),
    "compare": Command(
        "strathack.analysis.options:CompareConfig",
        "strathack.analysis.comparing:main",
        "say whether one player is better than another, or that the games are too few to tell",
    ),
    "report": Command(
        "strathack.analysis.options:ReportConfig",
        "strathack.reporting:main",
        "write one page about a dataset or an evaluation, with games to watch in it",
    ),
    "watch": Command(
        "strathack.analysis.options:WatchConfig",
        "strathack.watching:watch_main",
        "watch a game in the terminal, with what was pursued at each step",
    ),
    "export-cast": Command(
        "strathack.analysis.options:ExportCastConfig",
        "strathack.watching:cast_main",
        "write a game as a recording for asciinema",
    ),
    "export-video": Command(
        "strathack.analysis.options:ExportVideoConfig",
        "strathack.filming:main",
        "write a game as an mp4 or a gif",
    ),
    "analysis": {
        "strategies": Command(
            "strathack.analysis.options:StrategiesConfig",
            "strathack.analysis.strategies:main",
            "draw the strategies of each game over time, and their shares by role",
        ),
    },
}
"""Commands, and groups of them, by name."""

GROUP_HELP: Mapping[str, str] = {
    "dataset": "look into, check, import, replay and convert datasets",
    "models": "list the policies known by name; import the paper's checkpoints",
    "analysis": "statistics and pictures of a dataset",
}


GROUP_DEFAULT: Mapping[str, str] = {"models": "list"}
"""What a group does when no command of it is named."""

EXTRAS: Mapping[str, str] = {
    "torch": "train",
    "pytorch_lightning": "train",
    "safetensors": "train",
    "av": "export",
    "PIL": "export",
}
"""Package that a command may need → the extra that installs it."""


class _Loader(yaml.SafeLoader):
    """YAML in which ``1:3`` is a range and no number to the base of 60, ``010`` no octal one, and a time a text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_DIGITS = list("-+0123456789")
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$"), _DIGITS)
# YAML 1.1 wants a point in it; a learning rate is written 1e-4.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), _DIGITS)


def _load_yaml(text: str) -> Any:
    return yaml.load(text, _Loader)


class _Parser(ArgumentParser):
    """Says in one line what is wrong, and writes option names with dashes (underscores do as well)."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        said = " ".join(line.strip() for line in message.splitlines() if line.strip())
        text = re.search(r"(?:key \"|)([a-z_.]+)\": .*Expected a <class 'str'>. Got value: (\S+)", said)
        fail(f"{said}; as text it is quoted, {text[1]}: '{text[2]}'" if text else said)

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        text = re.sub(r"--[a-z_.]+", lambda name: name[0].replace("_", "-"), super().format_help(formatter))
        return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)


def fail(message: str, status: int = 2) -> NoReturn:
    """Prints one line and exits."""
    print(f"strathack: error: {message}", file=sys.stderr)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        arguments: Words after the program's name; those of this process by default.

    Returns:
        The exit status: 0, 1 if the work could not be finished, 2 if the request was bad.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what its encoding does not have is written as escapes
            stream.reconfigure(errors="backslashreplace")
    words = [_as_declared(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    set_loader("yaml", _load_yaml, exceptions=(yaml.YAMLError,))
    parser = _Parser(prog="strathack", description=strathack.__doc__, version=strathack.__version__)
    _add_commands(parser, COMMANDS)
    command, options = _chosen(parser.parse_args(words), COMMANDS)
    try:
        return int(_import_run(command.run)(_made(_import(command.options), options)))
    except InputError as error:
        fail(str(error))
    except RunError as error:
        fail(str(error), status=1)
    except InterruptedStartError:
        print("interrupted: what is there is valid; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGTERM


def _as_declared(word: str) -> str:
    """``--games-per-shard=8`` → ``--games_per_shard=8``; ``-o`` → ``--out``."""
    if word == "-o":
        return "--out"
    name, separator, value = word.partition("=")
    return name[:2] + name[2:].replace("-", "_") + separator + value if name.startswith("--") else word


def _add_commands(
    parser: _Parser, commands: Mapping[str, Command | Mapping[str, Command]], default: str | None = None
) -> None:
    subcommands = parser.add_subcommands(metavar="COMMAND", required=default is None)
    for name, command in commands.items():
        if isinstance(command, Command):
            child = _Parser(description=command.help)
            child.add_argument("--config", action=ActionConfigFile, help="YAML file with options.")
            _add_options(child, _import(command.options))
            subcommands.add_subcommand(name, child, help=command.help)
        else:
            group = _Parser(description=GROUP_HELP[name])
            subcommands.add_subcommand(name, group, help=GROUP_HELP[name])
            _add_commands(group, command, GROUP_DEFAULT.get(name))


def _add_options(parser: _Parser, options: type, group: str = "") -> None:
    """Adds a dataclass's fields: those without a default by position, truth values as flags, paths one by one.

    A field whose default is a dataclass is a group of options, ``--group.option``.
    """
    groups = {field.name: type(field.default) for field in fields(options) if is_dataclass(field.default)}
    flags = {field.name: field for field in fields(options) if field.type in (bool, "bool")}
    several = {field.name: field.default_factory for field in fields(options) if field.type == "list[Path]"}
    skip = {*flags, *several, *groups}
    parser.add_class_arguments(options, group or None, as_group=bool(group), as_positional=not group, skip=skip)
    documents = [docstring_parser.parse(base.__doc__ or "") for base in options.__mro__]
    described = {entry.arg_name: entry.description for document in documents for entry in document.params}
    for name in several:
        nargs = "+" if several[name] is MISSING else "*"
        parser.add_argument(name, nargs=nargs, type=Path, help=described.get(name))
    prefix = f"{group}." if group else ""
    for name, flag in flags.items():
        action = ActionYesNo(no_prefix="no_")
        parser.add_argument(f"--{prefix}{name}", action=action, default=flag.default, help=described.get(name))
    for name, members in groups.items():
        _add_options(parser, members, name)


def _chosen(
    parsed: Namespace, commands: Mapping[str, Command | Mapping[str, Command]], default: str | None = None
) -> tuple[Command, dict[str, Any]]:
    """The command that was chosen, and its options by name."""
    name = str(parsed["subcommand"] or default)
    command = commands[name]
    if not isinstance(command, Command):
        return _chosen(parsed[name], command, GROUP_DEFAULT.get(name))
    # What was left out and has no default of the parser's has one of the dataclass.
    given = parsed[name].as_dict() if parsed["subcommand"] else {}
    options = _given(given)
    options.pop("config", None)
    return command, options


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _given(value) if isinstance(value, dict) else value for name, value in values.items() if value is not None
    }


def _made(options: type, values: Mapping[str, Any]) -> Any:
    """A dataclass of options, with its groups."""
    groups = {field.name: type(field.default) for field in fields(options) if is_dataclass(field.default)}
    return options(**{name: _made(groups[name], value) if name in groups else value for name, value in values.items()})


def _import_run(reference: str) -> Any:
    """A command's function.

    Raises:
        InputError: If a package that it needs is not installed.
    """
    try:
        return _import(reference)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise InputError(f"{package} is not installed; pip install 'strathack[{EXTRAS[package]}]'") from None


def _import(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
