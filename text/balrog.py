"""Texts as BALROG has them, and its records of demonstrations.

Formats: BALROG (Paglieri et al., "Benchmarking Agentic LLM and VLM Reasoning On Games", 2024), github.com/balrog-ai:
``balrog/environments/nle/base.py`` and ``balrog/dataset.py``, and the recorder of ``balrog-demo``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from strathack.text.describing import TextObservation
from strathack.text.history import ACTION_TEXTS

RECORDS = PurePosixPath("records", "nle", "NetHackChallenge-v0")
"""Where BALROG looks for the records of a task."""

LONGEST_RECORD = 1000
"""Observations of a demonstration that BALROG shows at most."""


def seen_text(told: TextObservation, tty_chars: np.ndarray, tty_cursor: np.ndarray) -> str:
    """Returns the part of an observation that stays in a model's history, its long-term context.

    Args:
        told: The observation in words.
        tty_chars: u8 [24, 80].
        tty_cursor: Row and column, [2].
    """
    row, column = tty_cursor.tolist()
    lines = [line.tobytes().decode("latin-1") for line in tty_chars[1:]]
    parts = {
        "message": told.message,
        "language observation": told.glyphs,
        "cursor": f"{told.cursor}\n(x={column}, y={row})",
        "map": "\n".join(lines) + "\n",
    }
    return "\n".join(f"{name}:\n{text}\n" for name, text in parts.items())


def carried_text(told: TextObservation) -> str:
    """Returns the part of an observation that only the current one has, its short-term context."""
    return f"inventory:\n{told.inventory}\n"


def action_text(name: str) -> str:
    """Returns what BALROG calls an action: as the language wrapper does, but for digits."""
    return name.removeprefix("digit_") if name.startswith("digit_") else ACTION_TEXTS[name]


def record_path(row: Mapping[str, Any]) -> PurePosixPath:
    """Returns where a record lies in an export: its name tells when the game began, its seed, return and length.

    Args:
        row: A row of the export.
    """
    began = datetime.fromtimestamp(row["start_time"], timezone.utc).strftime("%Y%m%dT%H%M%S")
    total = sum(row["rewards"])
    name = f"{began}-seed{row['seed']}-rew{total:.2f}-len{len(row['actions'])}-start{row['start']}.npz"
    return RECORDS / name


def encode_record(row: Mapping[str, Any]) -> bytes:
    """Returns a record: the bytes of an ``.npz`` with ``action``, ``reward``, ``terminated``, ``truncated``, ``text``.

    A row of the record is an observation and the action that led to it; the first has none. The last is truncated: the
    demonstration ends there.

    Args:
        row: A row of an export with layout ``balrog``.
    """
    count = len(row["seen"])
    texts = np.empty(count, object)
    texts[:] = [
        {"long_term_context": seen, "short_term_context": carried}
        for seen, carried in zip(row["seen"], row["carried"], strict=True)
    ]
    truncated = np.zeros(count, bool)
    truncated[-1] = True
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        action=np.array(["", *row["actions"]]),
        reward=np.array([0.0, *row["rewards"]]),
        terminated=np.zeros(count, bool),
        truncated=truncated,
        text=texts,
        image=np.full(count, None),
    )
    return buffer.getvalue()


def rewards_of(scores: Sequence[int]) -> list[float]:
    """Returns the reward of each action between observations: by how much the score rose."""
    return [float(after - before) for before, after in pairwise(scores)]
