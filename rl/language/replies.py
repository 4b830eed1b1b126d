"""What a language model replied, step by step: written as the game is played, so that nothing is asked twice."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strathack.dataset.errors import RunError
from strathack.dataset.files import atomic_write
from strathack.dataset.folder import replies_path
from strathack.dataset.replies import Replied, encode_replies, read_replies
from strathack.dataset.schema import game_name
from strathack.rl.language.asking import Messages

LONGEST = 16_384
"""Characters of a reply that are kept, from its end, where models say what they do."""


def kept_text(reply: str) -> str:
    """Returns what is kept of a reply: its end, with "?" for halves of surrogate pairs, which UTF-8 does not have."""
    return reply[-LONGEST:].encode(errors="replace").decode()


def digest(prompt: str | Messages) -> str:
    """Returns the SHA-256 of a prompt."""
    text = prompt if isinstance(prompt, str) else json.dumps(list(prompt))
    return hashlib.sha256(text.encode()).hexdigest()


class Replies:
    """The replies of one game: those known from an earlier try, and then new ones, each written at once.

    A game that is played again from its seed asks the same as long as its replies are the same.

    Args:
        folder: The dataset's folder.
        seed: The game's seed.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._seed, self._name = seed, game_name(seed)
        self._done = replies_path(folder, self._name)
        self._open = self._done.with_suffix(".jsonl")
        self._known = deque(self._lines() or read_replies(self._done))
        self._kept: list[Replied] = []
        self._file: Any = None
        self._closed = False

    def _lines(self) -> list[Replied]:
        """Returns the replies of a try that did not end."""
        replies = []
        for line in self._open.read_text().splitlines() if self._open.is_file() else ():
            with suppress(json.JSONDecodeError):  # the last line, if the process was killed as it wrote
                replies.append(Replied(**json.loads(line)))
        return replies

    def known(self, step: int, prompt: str) -> Replied | None:
        """Returns the reply that an earlier try got to the same prompt at the same step; None if there is none.

        Args:
            step: The step.
            prompt: The prompt's digest.
        """
        if self._known and (self._known[0].step, self._known[0].prompt) == (step, prompt) and not self._known[0].error:
            return self._known.popleft()
        self._known.clear()
        return None

    def add(self, replied: Replied) -> None:
        """Writes a reply, unless it comes after the file was closed: then another try writes to it.

        Raises:
            RunError: If it cannot be written.
        """
        self._kept.append(replied)
        if self._closed:
            return
        try:
            if self._file is None:
                # What an earlier try wrote stays until everything up to here is in its place.
                self._open.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(self._open, "".join(map(_line, self._kept)).encode())
                self._file = self._open.open("a")
            else:
                self._file.write(_line(replied))
                self._file.flush()
        except OSError as error:
            raise RunError(f"{self._open}: {error.strerror or error}") from None

    def keep(self, replied: Replied) -> None:
        """Keeps a reply that was known already."""
        self._kept.append(replied)

    def finish(self) -> None:
        """Writes the whole game's replies as a table, in place of the lines.

        Raises:
            RunError: If it cannot be written.
        """
        self.close()
        try:
            self._done.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self._done, encode_replies(self._name, self._seed, self._kept))
            self._open.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{self._done}: {error.strerror or error}") from None

    def close(self) -> None:
        """Closes the file."""
        self._closed = True
        if self._file is not None:
            self._file.close()
            self._file = None


def _line(replied: Replied) -> str:
    return json.dumps(asdict(replied)) + "\n"


@dataclass(frozen=True)
class Costs:
    """What the replies of several games cost, and what they were worth.

    Attributes:
        replies: How many there were.
        invalid: The share that named no action.
        tokens_in: Tokens of all prompts.
        tokens_out: Tokens of all replies.
        seconds: Seconds a reply.
        cut: Game → why it was cut: no reply came.
    """

    replies: int
    invalid: float
    tokens_in: int
    tokens_out: int
    seconds: float
    cut: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path, games: Iterable[str]) -> Costs:
        """Sums up the replies of some games of a dataset's folder."""
        read = {name: read_replies(replies_path(folder, name)) for name in games}
        replies = [one for own in read.values() for one in own if not one.error]
        count = max(len(replies), 1)
        return cls(
            replies=len(replies),
            invalid=sum(not one.valid for one in replies) / count,
            tokens_in=sum(one.tokens_in for one in replies),
            tokens_out=sum(one.tokens_out for one in replies),
            seconds=sum(one.seconds for one in replies) / count,
            cut={name: one.error for name, own in read.items() for one in own if one.error},
        )
