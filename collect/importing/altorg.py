"""Finds games in nethack.alt.org's layout: a folder a player, files named by times, an xlogfile for all players."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from strathack.collect.importing.finding import FoundGames, Tree, TtyrecFile, short_name
from strathack.collect.importing.ttyrec import FILE_NAME
from strathack.collect.playing.xlogfile import LogEntry, LogError
from strathack.dataset.errors import InputError
from strathack.dataset.files import absolute, path_text

GRACE = 300
"""Seconds that a recording may begin before its game does by the log; NLE allows as many."""

SHORT_TURNS = 10
"""Turns up to which a game that was quit or escaped from counts as none, as in NLE."""

BLACKLIST = "blacklist.txt"
"""File of paths below the folder that are not to be read, one a line."""

_LOG = re.compile(r"xlogfile(\..+)?")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)\.(\d\d)([:_])(\d\d)\3(\d\d)\.ttyrec\d*(\..*)?")


@dataclass(frozen=True)
class Recorded:
    """A recording of a player.

    Attributes:
        path: Where it is.
        began: When it begins by its name, in seconds since 1970.
    """

    path: Path
    began: int


@dataclass(frozen=True)
class LoggedGame:
    """A line of the xlogfile.

    Attributes:
        line: The line.
        digest: A hash of its fields, in whatever order they are.
        player: The player's name, in lower case: the server does not tell names apart that differ in case alone.
        began: When the game began, in seconds since 1970.
        ended: When it ended.
    """

    line: str
    digest: int
    player: str
    began: int
    ended: int

    @classmethod
    def of(cls, line: str) -> LoggedGame:
        """Reads a line.

        Raises:
            LogError: If a time is missing or no whole number.
        """
        log = LogEntry(line)
        player = log.fields.get("name", "")
        began, ended = (log.whole(name, -1, "start_time") for name in ("starttime", "endtime"))
        for name, value in (("name", player), ("starttime", began), ("endtime", ended)):
            if value in ("", -1):
                raise LogError(f"{name} is missing")
        return cls(line, hash(frozenset(log.fields.items())), player.lower(), began, ended)

    @property
    def is_short(self) -> bool:
        """Whether hardly anything was played: no turn, or at most ten before the player quit or escaped.

        Raises:
            LogError: If the turns are no whole number.
        """
        log = LogEntry(self.line)
        turns = log.whole("turns", -1, "turns")
        return turns <= 0 or (turns <= SHORT_TURNS and log.cause in ("escaped", "quit"))


@dataclass(frozen=True)
class PlayersGame:
    """A game and its recordings.

    Attributes:
        file: The first recording, with the game's name in the dataset.
        paths: All recordings in order; a player who saves the game and comes back begins a new one.
        source: The xlogfile, as it is shown to users.
        line: The game's line in it.
    """

    file: TtyrecFile
    paths: tuple[Path, ...]
    source: str
    line: str

    @property
    def name(self) -> str:
        """The game's name in the dataset."""
        return self.file.name

    @property
    def shown(self) -> str:
        """What it is called in reports."""
        return self.file.shown


def assigned(files: Sequence[int], games: Sequence[tuple[int, int]]) -> list[int | None]:
    """Finds the game that each recording of one player belongs to, as NLE does.

    A player plays one game at a time, so that a recording belongs to the first game, in order of their beginnings, that
    ends after the recording begins, provided that this game had begun or does so within five minutes.

    Args:
        files: When each recording begins, in seconds since 1970.
        games: When each game begins and ends.

    Returns:
        The place of each recording's game; None where there is none.
    """
    order = sorted(range(len(games)), key=lambda place: games[place][0])
    ends = np.maximum.accumulate([games[place][1] for place in order]) if order else np.empty(0)
    found: list[int | None] = []
    for began in files:
        place = int(np.searchsorted(ends, began))
        fits = place < len(order) and began >= games[order[place]][0] - GRACE
        found.append(order[place] if fits else None)
    return found


def time_of(name: str) -> int | None:
    """Returns the time in a recording's name, YYYY-MM-DD.HH:MM:SS.ttyrec.bz2 in UTC; None if there is none.

    Args:
        name: The name; hours, minutes and seconds may also be separated by ``_``.

    Returns:
        Seconds since 1970.
    """
    match = _TIME.fullmatch(name)
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(f"{match[1]} {match[2]}:{match[4]}:{match[5]}")
    except ValueError:  # such as a 30th of February
        return None
    return int(moment.replace(tzinfo=timezone.utc).timestamp())


def log_files(data: Path) -> list[Path]:
    """Returns the xlogfiles that lie in a folder itself, the last by name first, as NLE reads them.

    Raises:
        InputError: If the folder cannot be read.
    """
    if not data.is_dir():
        return []
    try:
        return sorted((path for path in data.iterdir() if _LOG.fullmatch(path.name)), reverse=True)
    except OSError as error:
        raise InputError(f"{path_text(data)}: cannot be read ({error.strerror})") from None


def find_players(data: Path, *, real_names: bool = False) -> FoundGames[PlayersGame]:
    """Puts the recordings of all players together into games.

    Args:
        data: The folder that holds the xlogfiles and a folder for each player.
        real_names: Name players as they are, in lower case, instead of Player0, Player1 and so on in the order of the
            logs.

    Raises:
        InputError: If there is no xlogfile, or no recording, or the folder or the blacklist cannot be read.
    """
    data = absolute(data)
    logs = log_files(data)
    if not logs:
        raise InputError(
            f"{path_text(data)}: holds no xlogfile; expected xlogfile.<number> beside the players' folders"
        )
    tree = _PlayersTree(data, files_once=False)
    by_player = tree.recordings()
    if not (by_player or tree.left_out or tree.refused or tree.closed):
        raise InputError(f"{path_text(data)}: holds no ttyrecs; expected <player>/<date>.<time>.ttyrec.bz2")
    # Logs have millions of games, most of them of players without recordings here.
    games: dict[str, list[tuple[str, LoggedGame]]] = {}
    lines = 0
    for source, game in _logged(logs, tree):
        lines += 1
        of_player = games.setdefault(game.player, [])
        if game.player in by_player:
            of_player.append((source, game))
    shown = {player: player if real_names else f"Player{place}" for place, player in enumerate(games)}
    found: list[PlayersGame] = []
    names: set[str] = set()
    for player, files in sorted(by_player.items()):
        if player not in games:
            tree.left_out += [f"{tree.shown(file.path)}: no log names a player {player!r}" for file in files]
            continue
        for source, game, paths in _games_of(files, games[player], tree):
            line = game.line if real_names else _with_name(game.line, shown[player])
            found.append(_played(shown[player], source, game, line, paths, names))
    closed = (*tree.refused, *tree.closed)
    return FoundGames(tuple(found), closed, (*tree.left_out, *tree.counted(lines, len(found))), tuple(games))


@dataclass
class _PlayersTree(Tree):
    """The files of a folder of players, and what is not used of them."""

    counts: Counter[str] = field(default_factory=Counter)

    def recordings(self) -> dict[str, list[Recorded]]:
        """Returns the recordings of each player, by lower-case name, in order of time."""
        blacklist = self._blacklist()
        self.walk()
        found: dict[str, list[Recorded]] = defaultdict(list)
        first: dict[tuple[str, int, int], Path] = {}
        for path in self.of_players(FILE_NAME):
            shown = self.shown(path)
            began, player, status = time_of(path.name), path.parent.name.lower(), path.stat()
            same = first.setdefault((player, status.st_dev, status.st_ino), path)
            if same is not path:
                self.left_out.append(f"{shown}: is {self.shown(same)} once more")
            elif shown in blacklist:
                self.left_out.append(f"{shown}: is on the blacklist")
            elif began is None:
                self.left_out.append(f"{shown}: its name is no time; expected YYYY-MM-DD.HH:MM:SS.ttyrec.bz2")
            else:
                found[player].append(Recorded(path, began))
        return {player: sorted(files, key=lambda file: (file.began, file.path)) for player, files in found.items()}

    def _blacklist(self) -> frozenset[str]:
        try:
            lines = (self.root / BLACKLIST).read_text(encoding="latin-1").splitlines()
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            raise InputError(f"{path_text(self.root / BLACKLIST)}: cannot be read ({error.strerror})") from None
        return frozenset(line.strip().removeprefix("./") for line in lines)

    def counted(self, lines: int, games: int) -> list[str]:
        """Returns a line for each reason why games of the logs are not imported."""
        rest = lines - games - self.counts["short"]
        counts = {
            f"games of no length (no turn, or quit or escaped by turn {SHORT_TURNS})": self.counts["short"],
            "games of the logs without a recording": rest,
            "lines that stand in several logs": self.counts["twice"],
        }
        return [f"{what}: {count:,}" for what, count in counts.items() if count]


def _logged(logs: Iterable[Path], tree: _PlayersTree) -> Iterator[tuple[str, LoggedGame]]:
    """Yields the games of all logs, each once, with the log's name."""
    seen: set[int] = set()
    for path in logs:
        try:
            lines = path.read_text(encoding="latin-1").split("\n")
        except OSError as error:
            tree.closed.append(f"{tree.shown(path)}: cannot be read ({error.strerror})")
            continue
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                game = LoggedGame.of(line)
            except LogError as error:
                tree.closed.append(f"{tree.shown(path)}: line {number}: {error}")
                continue
            tree.counts["twice"] += game.digest in seen
            if game.digest not in seen:
                seen.add(game.digest)
                yield tree.shown(path), game


def _games_of(
    files: Sequence[Recorded], games: Sequence[tuple[str, LoggedGame]], tree: _PlayersTree
) -> Iterator[tuple[str, LoggedGame, list[Path]]]:
    """Yields the games of one player that have recordings, with these in order; those of no length are counted."""
    paths: dict[int, list[Path]] = defaultdict(list)
    places = assigned([file.began for file in files], [(game.began, game.ended) for _, game in games])
    for file, place in zip(files, places, strict=True):
        if place is None:
            tree.left_out.append(f"{tree.shown(file.path)}: no game of the player was on when it begins")
        else:
            paths[place].append(file.path)
    for place in sorted(paths, key=lambda place: (games[place][1].began, place)):
        source, game = games[place]
        try:
            short = game.is_short
        except LogError:
            short = False  # the importer says what is wrong with the line
        tree.counts["short"] += short
        if not short:
            yield source, game, paths[place]


def _played(
    player: str, source: str, game: LoggedGame, line: str, paths: Sequence[Path], names: set[str]
) -> PlayersGame:
    """Returns a game, with the log's line that is kept, under a name that is none of ``names``; adds it to them."""
    first = paths[0]
    name = short_name(f"{player}/{game.began}", game.line)
    if name in names:
        name = short_name(f"{player}/{game.began}", game.line, hashed=True)
    names.add(name)
    shown = f"{player}/{path_text(Path(first.name))}"
    return PlayersGame(TtyrecFile(first, shown, -1, name), tuple(paths), source, line)


def _with_name(line: str, player: str) -> str:
    """Returns a line of a log with another player's name."""
    separator = "\t" if "\t" in line else ":"
    parts = line.split(separator)
    return separator.join(f"name={player}" if part.startswith("name=") else part for part in parts)
