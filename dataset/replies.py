"""What a language model replied at the steps of a game: a table beside the game's shard, one file for each game."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from strathack.dataset.errors import FormatError, first_line


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


SCHEMA = pa.schema([
    ("game", pa.string()), ("seed", pa.int64()), ("step", pa.int32()), ("reply", pa.string()), ("action", pa.string()),
    ("valid", pa.bool_()), ("tokens_in", pa.int32()), ("tokens_out", pa.int32()), ("seconds", pa.float32()),
    ("error", pa.string()), ("prompt", pa.string()),
])  # fmt: skip
"""The columns of the table."""


def encode_replies(name: str, seed: int, replies: Sequence[Replied]) -> bytes:
    """Returns a game's replies as a table in Parquet."""
    rows = [{"game": name, "seed": seed, **vars(one)} for one in replies]
    table = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), table)
    return bytes(table.getvalue().to_pybytes())


def read_replies(path: Path) -> list[Replied]:
    """Reads a game's replies; returns none if there is no such file.

    Raises:
        FormatError: If the file cannot be read.
    """
    if not path.is_file():
        return []
    try:
        rows = parquet.read_table(path, columns=list(Replied.__dataclass_fields__)).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"{path}: no table of replies ({first_line(error)})") from None
    return [Replied(**row) for row in rows]
