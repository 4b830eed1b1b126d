"""What a language model replied, step by step: written as the game is played, so that nothing is asked twice."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from strathack.dataset.errors import RunError
from strathack.dataset.files import atomic_write
from strathack.dataset.schema import game_name
from strathack.rl.language.asking import Messages

REPLIES = "replies"
"""The folder of replies beside an evaluation's games."""

LONGEST = 16_384
"""Characters of a reply that are kept."""


@dataclass(frozen=True)
class Replied:
    """A reply, or that there was none.

    Attributes:
        step: The index of the step that it decided.
        prompt: The SHA-256 of what was asked.
        reply: The reply; empty if there was none.
        action: The action that was taken.
        valid: Whether the reply named an action.
        tokens_in: Tokens of the prompt, as far as the server told them.
        tokens_out: Tokens of the reply.
        seconds: How long it took.
        error: Why there was no reply; empty if there was one.
    """

    step: int
    prompt: str
    reply: str
    action: str
    valid: bool
    tokens_in: int
    tokens_out: int
    seconds: float
    error: str = ""


_SCHEMA = pa.schema([
    ("game", pa.string()), ("seed", pa.int64()), ("step", pa.int32()), ("reply", pa.string()), ("action", pa.string()),
    ("valid", pa.bool_()), ("tokens_in", pa.int32()), ("tokens_out", pa.int32()), ("seconds", pa.float32()),
    ("error", pa.string()), ("prompt", pa.string()),
])  # fmt: skip


def digest(prompt: str | Messages) -> str:
    """Returns the SHA-256 of a prompt."""
    text = prompt if isinstance(prompt, str) else json.dumps(list(prompt))
    return hashlib.sha256(text.encode()).hexdigest()


class Replies:
    """The replies of one game: those known from an earlier try, and then new ones, each written at once.

    A game that is played again from its seed asks the same as long as its replies are the same.

    Args:
        folder: The folder of all games' replies.
        seed: The game's seed.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._seed, self._name = seed, game_name(seed)
        self._open = folder / f"{self._name}.jsonl"
        self._done = folder / f"{self._name}.parquet"
        self._known = deque(self._read())
        self._kept: list[Replied] = []
        self._file: Any = None

    def _read(self) -> Iterator[Replied]:
        if self._done.is_file():
            for row in parquet.read_table(self._done).to_pylist():
                yield Replied(**{name: row[name] for name in Replied.__dataclass_fields__})
        elif self._open.is_file():
            for line in self._open.read_text().splitlines():
                with suppress(json.JSONDecodeError):  # the last line, if the process was killed as it wrote
                    yield Replied(**json.loads(line))

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
        """Writes a reply.

        Raises:
            RunError: If it cannot be written.
        """
        self._kept.append(replied)
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
        rows = [{"game": self._name, "seed": self._seed, **asdict(one)} for one in self._kept]
        try:
            self._done.parent.mkdir(parents=True, exist_ok=True)
            table = pa.BufferOutputStream()
            parquet.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), table)
            atomic_write(self._done, table.getvalue().to_pybytes())
            self._open.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{self._done}: {error.strerror or error}") from None

    def close(self) -> None:
        """Closes the file."""
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
        """Reads the replies of some games."""
        tables = [parquet.read_table(path) for name in games if (path := folder / f"{name}.parquet").is_file()]
        rows = pa.concat_tables([_SCHEMA.empty_table(), *tables]).to_pandas()
        cut = dict(rows[rows["error"] != ""][["game", "error"]].itertuples(index=False))
        rows = rows[rows["error"] == ""]
        return cls(
            len(rows), float(1 - rows["valid"].mean()) if len(rows) else 0.0, int(rows["tokens_in"].sum()),
            int(rows["tokens_out"].sum()), float(rows["seconds"].mean()) if len(rows) else 0.0, cut,
        )  # fmt: skip
