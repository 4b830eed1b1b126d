"""The only writer of dataset folders."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

from strathack.dataset.errors import InputError
from strathack.dataset.files import (
    atomic_write,
    check_writable,
    folder_lock,
    remove_temporary_files,
    told_if_unwritable,
)
from strathack.dataset.folder import DatasetFolder, replies_path
from strathack.dataset.manifest import MANIFEST
from strathack.dataset.reading import Game
from strathack.dataset.splits import Fractions

CONTENT = "content"
"""The setting that is a digest of what a folder is made of; see :func:`strathack.dataset.content.content_digest`."""

WRITING_SHARE = 0.05
"""The share of the time that writing why games failed may take."""


class _Failures:
    """Why games could not be made, which a file holds.

    The file is written whole. For some thousands of games that takes longer than making a game, so a change is then
    written some time later, or when the writer ends.

    Args:
        folder: The dataset's files.
        reasons: Game name → the reason.
    """

    def __init__(self, folder: DatasetFolder, reasons: dict[str, str]) -> None:
        self._folder, self._reasons = folder, reasons
        self._changed, self._due = False, 0.0

    def set(self, name: str, reason: str) -> None:
        """Sets a game's reason, or removes it if empty; writes what has changed, also before, once that is due."""
        self._changed |= self._reasons.pop(name, "") != reason
        if reason:
            self._reasons[name] = reason
        if time.monotonic() >= self._due:
            self.save()

    def save(self) -> None:
        """Writes what has changed."""
        if self._changed:
            began = time.monotonic()
            self._folder.write_failures(self._reasons)
            self._changed, now = False, time.monotonic()
            self._due = now + (now - began) / WRITING_SHARE


class DatasetWriter(AbstractContextManager["DatasetWriter"]):
    """Writes to a dataset folder, and holds the folder's lock while its context is entered.

    An existing folder is locked on entering. A new folder is made by :meth:`begin`, so that a command which cannot
    start leaves nothing behind.

    Args:
        path: The folder.
        settings: The settings to write; None leaves existing settings as they are.
        fractions: How the games of a new folder are split; by default by the usual shares.
        joins: Whether this process adds games without the lock, while another process holds it, begins and merges.
        publishes: Whether the folder may be a published one, which is made anew: its checksums are removed when it is
            begun.

    Attributes:
        folder: The folder's files.
        present: Names of the games that the folder has.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any] | None = None,
        *,
        fractions: Fractions | None = None,
        joins: bool = False,
        publishes: bool = False,
    ) -> None:
        self.folder = DatasetFolder(path)
        self.present: set[str] = set()
        self._settings, self._fractions, self._joins, self._publishes = settings, fractions, joins, publishes
        self._there: Mapping[str, Any] | None = None
        self._lock = ExitStack()
        self._locked = False
        self._failures = _Failures(self.folder, {})

    def __enter__(self) -> DatasetWriter:
        """Locks the folder if it exists.

        Raises:
            InputError: If another process writes to the folder, or the folder holds something else, is published or is
                not writable.
        """
        self._there = self.folder.read_settings()
        if not self._publishes:
            _check_unpublished(self.folder.path)
        check_writable(self.folder.path)
        try:
            if self._there is not None:
                self._hold()
            self.look()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Writes why games failed, and releases the lock.

        Raises:
            RunError: If it cannot be written.
        """
        try:
            with self.writing():
                self._failures.save()
        finally:
            self._lock.close()

    def _hold(self) -> None:
        if not self._joins and not self._locked:
            self._lock.enter_context(folder_lock(self.folder.path))
            self._locked = True

    def look(self) -> None:
        """Reads which games the folder has, and why others failed."""
        self.present = {game.name for game in self.folder.games()}
        self._failures = _Failures(self.folder, self.folder.read_failures())

    def begin(self) -> None:
        """Makes the folder if it is new, removes what a killed writer left, and writes the settings.

        Raises:
            InputError: If another process locked the folder first, or has made it since.
            RunError: If the folder cannot be written.
        """
        path = self.folder.path
        with self.writing():
            path.mkdir(parents=True, exist_ok=True)
            self._hold()
            if not self._joins and self.folder.read_settings() != self._there:
                raise InputError(f"{path}: another process has begun it meanwhile; the same command goes on from there")
            remove_temporary_files(path)
            if self._publishes:
                (path / MANIFEST).unlink(missing_ok=True)  # what is there is not whole while this is not
            if self._settings is not None and self._settings != self._there:
                self.folder.write_settings(self._settings, self._fractions if self._there is None else None)
            for name in self.present:  # a process that was killed between a game and this left why it had failed before
                self._failures.set(name, "")

    def add(self, name: str, shard: bytes, *, made_of: Game | None = None) -> bool:
        """Writes the shard of one game, whole or not at all. Returns False if the folder already has the game.

        Args:
            name: The game's name.
            shard: The bytes of the shard.
            made_of: The stored game that it was made of. What a language model replied in that game, which no replay
                brings back, is copied, before the shard, so that no killed process leaves the game without it.

        Raises:
            RunError: If the shard or the replies cannot be written.
        """
        if name in self.present:
            return False
        with self.writing():
            if made_of is not None:
                self._copy_replies(made_of)
            self.folder.add_game(name, shard)
        self.present.add(name)
        return True

    def _copy_replies(self, game: Game) -> None:
        replies = replies_path(game.path.parent, game.name)
        if replies.is_file():
            target = replies_path(self.folder.path, game.name)
            target.parent.mkdir(exist_ok=True)
            atomic_write(target, replies.read_bytes())

    def tell(self, name: str, failure: str) -> None:
        """Keeps why a game could not be made, in place of an earlier reason; removes that if there is none any more.

        It is written at once or, if there are many, at the latest when the context is left.

        Raises:
            RunError: If it cannot be written.
        """
        with self.writing():
            self._failures.set(name, failure)

    def split(self, fractions: Fractions) -> Iterator[Path]:
        """Splits the games anew; see :meth:`DatasetFolder.write_fractions`."""
        with self.writing():
            yield from self.folder.write_fractions(fractions)

    def merge(self, games_per_shard: int, stopped: Callable[[], bool] = lambda: False) -> None:
        """Merges one-game shards into larger ones.

        Args:
            games_per_shard: Games in a shard.
            stopped: Called after each shard; returns whether to leave the rest to the next writer.

        Raises:
            RunError: If a shard cannot be written.
        """
        with self.writing():
            self._failures.save()
            for _ in self.folder.merge(games_per_shard):
                if stopped():
                    return

    def writing(self) -> AbstractContextManager[None]:
        """Turns a failure to write into a :class:`RunError` of one line."""
        then = "every game written before is safe, and the same command goes on from there"
        return told_if_unwritable(self.folder.path, then)


def agreed_settings(
    out: Path,
    asked: Mapping[str, Any],
    normalised: Mapping[str, Callable[[str], object]] = MappingProxyType({}),
    newer: Collection[str] = (),
) -> dict[str, Any] | None:
    """Returns the settings of an existing dataset, or None; existing settings must agree with those asked for.

    Args:
        out: The dataset folder.
        asked: The settings asked for.
        normalised: How to parse settings that earlier releases stored as the user had typed them.
        newer: Settings that earlier releases did not store, so that they may be missing.

    Raises:
        InputError: If the settings differ, or the folder holds something else.
    """
    there = DatasetFolder(out).read_settings()
    if there is not None:
        there |= {name: str(parse(there[name])) for name, parse in normalised.items() if name in there}
        differing = differences(there, {name: asked[name] for name in asked if name in there or name not in newer})
        if differing:
            raise InputError(f"{out}: holds games of other settings: {differing}; another folder would take these")
    return there


def differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Returns in words which of the settings asked for differ from those that are there; empty if none does."""
    differing = {name: value for name, value in asked.items() if there.get(name) != value}
    return "; ".join(
        "what is there was made of other games, labels or splits"
        if name == CONTENT
        else f"{name} is {there.get(name)!r} there and {value!r} here"
        for name, value in differing.items()
    )


def _check_unpublished(path: Path) -> None:
    """Checks that no tables and checksums tell of a folder's games as they are.

    Raises:
        InputError: If the folder is published.
    """
    if (path / MANIFEST).exists():
        raise InputError(
            f"{path}: is published, and its tables and checksums tell of the games that it has and of their split; "
            "change the dataset that it was made of, or a copy (strathack dataset merge), and publish that"
        )
