"""Finds what to import: the ttyrecs and xlogfiles below a folder, and the games' seeds and names."""

from __future__ import annotations

import hashlib
import re
import stat
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from strathack.collect.importing.logs import LogBook
from strathack.collect.importing.ttyrec import FILE_NAME
from strathack.collect.playing.seeds import MAX_SEED
from strathack.dataset.errors import InputError
from strathack.dataset.files import absolute, path_text
from strathack.dataset.schema import GAME_DTYPE, game_name

Game = TypeVar("Game")

_XLOGFILE = ".xlogfile"
_NAME_BYTES = GAME_DTYPE["game"].itemsize


@dataclass(frozen=True)
class TtyrecFile:
    """A ttyrec to be imported.

    Attributes:
        path: Where it is.
        shown: Its path inside the imported folder, as text even if the path's bytes are not valid text.
        seed: The game's seed, −1 if it is not known.
        name: The game's name in the dataset.
    """

    path: Path
    shown: str
    seed: int
    name: str


@dataclass(frozen=True)
class Found:
    """The files below a folder. Every file that is named like a ttyrec is in ``files``, ``refused`` or ``left_out``.

    Attributes:
        files: The ttyrecs, in order of seed and path.
        refused: What is named like a ttyrec but cannot be read as a file, a line each.
        closed: Folders, links and xlogfiles that cannot be read, a line each.
        left_out: Files and folders that are reached a second time by a link, a line each.
        missing: Recordings that an xlogfile names but that do not exist, a line each.
        logs: The xlogfiles.
    """

    files: tuple[TtyrecFile, ...]
    refused: tuple[str, ...]
    closed: tuple[str, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    logs: LogBook


@dataclass(frozen=True)
class FoundGames(Generic[Game]):
    """What lies below a folder that has a folder for each player.

    Attributes:
        games: The games that are imported.
        closed: Files and folders that cannot be read, and lines of logs that make no sense, a line each.
        left_out: Recordings that are not imported, a line each, and how many games of what kind.
        players: The players in the order of their pseudonyms, Player0, Player1 and so on.
    """

    games: tuple[Game, ...]
    closed: tuple[str, ...]
    left_out: tuple[str, ...]
    players: tuple[str, ...]


@dataclass
class Tree:
    """The files of a folder; links are followed, and each folder is visited once.

    Attributes:
        root: The folder.
        files_once: Whether each file is visited once, too, by its own path rather than by a link's. If not, links may
            lead into hidden folders, which are not looked into themselves.
        files: The files that can be reached.
        refused: What is named like a ttyrec but cannot be read as a file, a line each.
        closed: Folders and links that cannot be read, a line each.
        left_out: Ttyrecs and folders that are reached a second time, a line each.
    """

    root: Path
    files_once: bool = True
    files: list[Path] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def walk(self) -> None:
        """Walks the whole tree, links last, so that a file reached twice is listed by its own path, not by a link's."""
        seen: dict[tuple[int, int], Path] = {}
        waiting, links = deque([self.root]), deque[Path]()
        while waiting or links:
            at = waiting.popleft() if waiting else links.popleft()
            try:
                status = at.stat()
                is_folder = stat.S_ISDIR(status.st_mode)
                once = is_folder or self.files_once
                first = seen.setdefault((status.st_dev, status.st_ino), at) if once else at
                if first is not at:
                    if is_folder or FILE_NAME.fullmatch(at.name):
                        self.left_out.append(f"{self.shown(at)}: is {self.shown(first)} once more")
                elif is_folder:
                    for path in sorted(at.iterdir()):
                        if path.name.startswith(".") and not self.files_once:
                            continue
                        (links if path.is_symlink() else waiting).append(path)
                elif stat.S_ISREG(status.st_mode):
                    self.files.append(at)
                elif FILE_NAME.fullmatch(at.name):
                    self.refused.append(f"{self.shown(at)}: is no file")
            except OSError as error:
                reason = "is a broken link" if isinstance(error, FileNotFoundError) else error.strerror
                list_of = self.refused if FILE_NAME.fullmatch(at.name) and not at.is_dir() else self.closed
                list_of.append(f"{self.shown(at)}: cannot be read ({reason})")

    def shown(self, path: Path) -> str:
        """Returns a path as it is shown to users."""
        return path_text(path.relative_to(self.root) if path != self.root else path)

    def of_players(self, name: re.Pattern[str]) -> Iterator[Path]:
        """Yields the files of a name that lie in players' folders; others are listed as left out."""
        for path in self.files:
            if name.fullmatch(path.name) is None:
                continue
            if path.parent.parent == self.root:
                yield path
            else:
                self.left_out.append(f"{self.shown(path)}: is not in a player's folder; expected <player>/{path.name}")


def find(data: Path, seeds: str) -> Found:
    """Finds every ttyrec below a folder, or the one that ``data`` names.

    Args:
        data: Where to look; it may be relative.
        seeds: ``folder``, ``none`` or ``auto``; see :class:`strathack.collect.options.ImportConfig`.

    Raises:
        InputError: If there is no ttyrec, or a folder whose name should be a seed has no valid number as its name or
            holds several games.
    """
    data = absolute(data)
    if data.is_file():
        tree = Tree(data.parent.parent, files=[data, *sorted(data.parent.glob(f"*{_XLOGFILE}"))])
    else:
        tree = Tree(data)
        tree.walk()
    paths = sorted(path for path in tree.files if FILE_NAME.fullmatch(path.name))
    if not data.exists() or not (paths or tree.refused or tree.closed):
        raise InputError(
            f"{path_text(data)}: holds no ttyrecs; expected <game>/nle.<pid>.<episode>.ttyrec<version>.bz2"
        )
    seeded = [TtyrecFile(path, tree.shown(path), _folder_seed(path, seeds), "") for path in paths]
    logs = LogBook((path, tree.shown(path)) for path in sorted(tree.files) if path.name.endswith(_XLOGFILE))
    return Found(
        files=tuple(sorted(_named(path_text(data), seeded), key=lambda file: (file.seed, file.shown))),
        refused=tuple(tree.refused),
        closed=(*tree.closed, *logs.unreadable),
        left_out=tuple(tree.left_out),
        missing=tuple(logs.missing) if data.is_dir() else (),
        logs=logs,
    )


def _folder_seed(path: Path, seeds: str) -> int:
    if seeds == "none" or (seeds == "auto" and ".ttyrec4" not in path.name):
        return -1
    name = path.parent.name
    if not re.fullmatch(r"\d{1,19}", name, flags=re.ASCII) or int(name) > MAX_SEED:
        if seeds == "auto":
            return -1
        raise InputError(
            f"{path_text(path)}: --seeds folder takes {path_text(Path(name))!r} for a seed; "
            f"expected a number up to {MAX_SEED}; --seeds none takes no seeds"
        )
    return int(name)


def _named(where: str, files: list[TtyrecFile]) -> list[TtyrecFile]:
    """Returns the files with a different name for each game.

    Raises:
        InputError: If two have the same seed.
    """
    alike: dict[str, list[TtyrecFile]] = defaultdict(list)
    for file in files:
        alike[_name(file)].append(file)
    named = []
    for name, of_name in alike.items():
        if len(of_name) > 1 and of_name[0].seed >= 0:
            first, second, *_ = of_name
            raise InputError(
                f"{where}: {second.shown} and {first.shown} would both be {name}; --seeds none takes no seeds"
            )
        # Otherwise their paths differ only in what follows .ttyrec.
        named += [replace(file, name=name if len(of_name) == 1 else _name(file, hashed=True)) for file in of_name]
    return named


def _name(file: TtyrecFile, *, hashed: bool = False) -> str:
    """Returns the game's name: by its seed, else by its path."""
    if file.seed >= 0:
        return game_name(file.seed)
    return short_name(re.sub(r"\.ttyrec\d*(\.[^/]*)?$", "", file.shown), file.shown, hashed=hashed)


def short_name(text: str, unique: str, *, hashed: bool = False) -> str:
    """Returns a name for a game: ``game_`` and a text, with a hash unless the text alone gives a unique name.

    Args:
        text: Text that differs for each game.
        unique: What the hash is of; it may say more than the text.
        hashed: Add the hash in any case.
    """
    name = "game_" + re.sub(r"[^A-Za-z0-9.-]+", "_", text)
    # Unique if only slashes become underscores; a mere number would be the name of a game with a seed.
    plain = re.fullmatch(r"[A-Za-z0-9.-]+(/[A-Za-z0-9.-]+)*", text) and not text.isdecimal()
    if plain and len(name) <= _NAME_BYTES and not hashed:
        return name
    digest = hashlib.sha256(unique.encode()).hexdigest()[:12]
    return f"{name[: _NAME_BYTES - 1 - len(digest)].rstrip('_')}_{digest}"
