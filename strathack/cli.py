"""The command line: every command is a dataclass of options, which check themselves, and a function that takes them."""

from __future__ import annotations

import importlib
import inspect
import re
import signal
import sys
import warnings
from argparse import SUPPRESS, HelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn, get_args

import docstring_parser
import yaml
from jsonargparse import (  # type: ignore[attr-defined]
    ActionConfigFile,
    ActionYesNo,
    ArgumentParser,
    Namespace,
    set_loader,
)
from jsonargparse.typing import register_type

import strathack
from strathack.catalogue import COMMANDS, EXTRAS, GROUP_DEFAULT, GROUP_HELP, Command
from strathack.dataset.codec import Options, TextValue, former_names, from_plain, hints_of, is_group
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.remote.addresses import address_of, place_text
from strathack.dataset.signals import Interrupted


class _Loader(yaml.SafeLoader):
    """Loads YAML, but reads ``1:3`` as a range (not a base-60 number), ``010`` not as octal, and times as text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_DIGITS = list("-+0123456789")
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$"), _DIGITS)
# YAML 1.1 requires a decimal point in a float; a learning rate is often written 1e-4.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), _DIGITS)


class _FormerNames:
    """Reads options of one command by the names that they had in the release before, and reports that it did.

    Args:
        options: The dataclass of the command's options; None where no command is named.
    """

    def __init__(self, options: type[Options] | None) -> None:
        self._names = {} if options is None else dict(_former_names_of(options))
        self._reported: set[str] = set()

    def word(self, word: str) -> str:
        """Returns a word of the command line with the current name."""
        name, separator, value = word.partition("=")
        if not name.startswith("--") or name[2:] not in self._names:
            return word
        return f"--{self._current(name[2:])}{separator}{value}"

    def loaded(self, text: str) -> Any:
        """Returns what a YAML file or the text of an option holds, with the current names."""
        return self._renamed(yaml.load(text, _Loader), "")

    def _renamed(self, loaded: Any, prefix: str) -> Any:
        if not isinstance(loaded, dict) or not self._names:
            return loaded
        renamed = {}
        for name, value in loaded.items():
            path = f"{prefix}{name}"
            current = self._current(path) if path in self._names else path
            renamed[current.removeprefix(prefix) if isinstance(name, str) else name] = self._renamed(value, f"{path}.")
        return renamed

    def _current(self, name: str) -> str:
        current = self._names[name]
        if name not in self._reported:
            self._reported.add(name)
            old, new = (f"--{one}".replace("_", "-") for one in (name, current))
            print(f"strathack: {old} is called {new} now; the old name goes with the next release", file=sys.stderr)
        return current


def _former_names_of(options: type[Options], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields the former and the current name of each renamed option, those of groups with the group's name."""
    for old, new in former_names(options).items():
        yield f"{prefix}{old}", f"{prefix}{new}"
    for name, hint in hints_of(options).items():
        if is_group(hint):
            yield from _former_names_of(hint, f"{prefix}{name}.")


_REFUSED = re.compile(r'Parser key "([^"]+)":.*?Not of type \w+: (.*?)(?=\n\s+(?:- Expected|Given)|$)', re.DOTALL)
"""Matches jsonargparse's message about an invalid value; the groups are the option and the reason."""


class _Parser(ArgumentParser):
    """Prints errors in one line, and option names with dashes (underscores are accepted as well)."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        refused = _REFUSED.search(message)
        if refused is not None:  # refused by a value's own parser
            fail(f"{refused[1]}: {refused[2].splitlines()[0]}")
        said = " ".join(line.strip() for line in message.splitlines() if line.strip())
        text = re.search(r"(?:key \"|)([a-z_.]+)\": .*Expected a <class 'str'>. Got value: (\S+)", said)
        fail(f"{said}; as text it is quoted, {text[1]}: '{text[2]}'" if text else said)

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        text = re.sub(r"--[a-z_.]+", lambda name: name[0].replace("_", "-"), super().format_help(formatter))
        return re.sub(r"<class\s+'(?:\w+\.)*(\w+)'>", r"\1", text)


def _shown_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Returns a warning in one line; those that are not meant for users are shown with the place that gives them."""
    if category is UserWarning:
        return f"strathack: {message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def fail(message: str, status: int = 2) -> NoReturn:
    """Prints an error in one line and exits."""
    print(f"strathack: error: {message}", file=sys.stderr)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        arguments: Words after the program's name; by default those that this process was started with.

    Returns:
        The exit status: 0, 1 if the work could not be finished, 2 if the request was bad.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # characters that its encoding lacks are printed as escapes
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = _shown_warning
    words = [_as_declared(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    named = _named(words, COMMANDS)
    former = _FormerNames(None if named is None else _import(named.options))
    words = [former.word(word) for word in words]
    set_loader("yaml", former.loaded, exceptions=(yaml.YAMLError,))
    parser = _Parser(prog="strathack", description=strathack.__doc__, version=strathack.__version__)
    _add_commands(parser, COMMANDS, named)
    command, options = _chosen(parser.parse_args(words), COMMANDS)
    try:
        kind = _import(command.options)
        given = from_plain(kind, options)
        _check_outputs(given)
        with _telling_extras():
            return int(_import(command.run)(given))
    except InputError as error:
        fail(str(error))
    except RunError as error:
        fail(str(error), status=1)
    except PermissionError as error:
        if error.filename is None:
            raise
        fail(f"{error.filename}: {error.strerror}")
    except (Interrupted, KeyboardInterrupt) as interruption:
        print("interrupted", file=sys.stderr)
        return 128 + (interruption.number if isinstance(interruption, Interrupted) else signal.SIGINT)


def _check_outputs(options: Any) -> None:
    """Checks that what a command writes is on this machine.

    Raises:
        InputError: If an output is an address.
    """
    for name in ("out", "save_games"):
        path = getattr(options, name, None)
        if path is not None and address_of(path) is not None:
            raise InputError(f"{name}: {place_text(path)} is elsewhere; expected a path of this machine")


def _as_declared(word: str) -> str:
    """``--games-per-shard=8`` → ``--games_per_shard=8``; ``-o`` → ``--out``."""
    if word == "-o":
        return "--out"
    name, separator, value = word.partition("=")
    return name[:2] + name[2:].replace("-", "_") + separator + value if name.startswith("--") else word


def _add_commands(
    parser: _Parser,
    commands: Mapping[str, Command | Mapping[str, Command]],
    named: Command | None,
    default: str | None = None,
) -> None:
    """Adds commands, without their options where another command is named: to add those of all takes a while."""
    subcommands = parser.add_subcommands(metavar="COMMAND", required=default is None)
    for name, command in commands.items():
        if isinstance(command, Command):
            child = _Parser(description=command.help)
            if named is None or command is named:
                child.add_argument("--config", action=ActionConfigFile, help="YAML file with options.")
                _add_options(child, _import(command.options))
            subcommands.add_subcommand(name, child, help=command.help)
        else:
            group = _Parser(description=GROUP_HELP[name])
            subcommands.add_subcommand(name, group, help=GROUP_HELP[name])
            _add_commands(group, command, named, GROUP_DEFAULT.get(name))


def _add_options(parser: _Parser, options: type[Options], group: str = "") -> None:
    """Adds the fields of a dataclass as options, its own fields before those of its bases.

    Fields without a default are positional arguments, booleans are flags, and a list of paths is given as separate
    words. A field that holds a dataclass becomes a group of options, ``--group.option``.
    """
    declared = {field.name: field for field in fields(options) if field.init}  # type: ignore[arg-type]
    order = dict.fromkeys(name for base in options.__mro__ for name in inspect.get_annotations(base))
    documents = [docstring_parser.parse(base.__doc__ or "") for base in options.__mro__]
    help_of: dict[str, str | None] = {}
    for entry in (entry for document in documents for entry in document.params):
        help_of.setdefault(entry.arg_name, entry.description)
    where = parser.add_argument_group(documents[0].short_description) if group else parser
    prefix = f"{group}." if group else ""
    hints = hints_of(options)
    for field in (declared[name] for name in order if name in declared):
        if is_group(hints[field.name]):
            _add_options(parser, hints[field.name], field.name)
        else:
            _add_option(where, f"{prefix}{field.name}", field, hints[field.name], help_of.get(field.name))


def _add_option(where: Any, name: str, field: Field[Any], hint: Any, description: str | None) -> None:
    if hint is bool:
        where.add_argument(f"--{name}", action=ActionYesNo(no_prefix="no_"), default=field.default, help=description)
    elif hint == list[Path]:
        # Where no word is given, what a configuration file has stays; any default would take its place.
        several = {"nargs": "+"} if field.default_factory is MISSING else {"nargs": "*", "default": SUPPRESS}
        where.add_argument(name, **several, type=Path, help=description)
    elif field.default is MISSING:
        where.add_argument(name, type=_registered(hint), help=description)
    else:
        # As text, since jsonargparse would treat a dataclass as a group of options.
        default = str(field.default) if isinstance(field.default, TextValue) else field.default
        where.add_argument(f"--{name}", type=_registered(hint), default=default, help=description)


def _registered(hint: Any) -> Any:
    """Registers how jsonargparse reads and writes values of a type, and returns the type."""
    for kind in (hint, *get_args(hint)):
        if isinstance(kind, type) and issubclass(kind, TextValue):
            register_type(kind, str, partial(_parsed, kind), deserializer_exceptions=InputError)
    return hint


def _parsed(kind: type[TextValue], value: object) -> Any:
    """Parses what jsonargparse has made of a text; in YAML a single seed is a number, and several may be a list."""
    return kind.parse(_text_of(value))


def _text_of(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(map(_text_of, value))
    if isinstance(value, dict) and list(value.values()) == [None]:
        return f"{_text_of(next(iter(value)))}:"
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def _chosen(
    parsed: Namespace, commands: Mapping[str, Command | Mapping[str, Command]], default: str | None = None
) -> tuple[Command, dict[str, Any]]:
    """Returns the chosen command, and its options by name."""
    name = str(parsed["subcommand"] or default)
    command = commands[name]
    if not isinstance(command, Command):
        return _chosen(parsed[name], command, GROUP_DEFAULT.get(name))
    # Options that were left out and have no default in the parser get the dataclass's default.
    given = parsed[name].as_dict() if parsed["subcommand"] else {}
    options = _given(given)
    options.pop("config", None)
    return command, options


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _given(value) if isinstance(value, dict) else value for name, value in values.items() if value is not None
    }


def _named(words: Sequence[str], commands: Mapping[str, Command | Mapping[str, Command]]) -> Command | None:
    """Returns the command that the first words of a command line name, if they name one."""
    found: Command | Mapping[str, Command] | None = commands.get(words[0]) if words else None
    return _named(words[1:], found) if isinstance(found, Mapping) else found


@contextmanager
def _telling_extras() -> Iterator[None]:
    """Tells how to install a package that is missed, as a command begins or where it first needs it.

    Raises:
        InputError: If one is missed that an extra of this package installs.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise InputError(f"{package} is not installed; pip install 'strathack[{EXTRAS[package]}]'") from None


def _import(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
