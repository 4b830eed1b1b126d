"""Exported chunks as tokens, with the places of those that a player says, which alone carry loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from strathack.text.history import ACTION, ACTION_TEXTS, OBSERVATION, Telling, tellings

IGNORED = -100
"""The label of tokens without loss, as PyTorch's cross-entropy has it."""


@dataclass(frozen=True)
class Encoded:
    """A chunk as tokens.

    Attributes:
        tokens: Tokens of prompt and completion.
        labels: The same tokens where they carry loss, elsewhere ``IGNORED``.
    """

    tokens: Sequence[int]
    labels: Sequence[int]


def said_spans(row: Mapping[str, Any], telling: Telling) -> Iterator[tuple[int, int]]:
    """Yields where in prompt and completion the player speaks: from the strategy or the action to the next observation.

    The token that begins the observation belongs to it, so that a model learns to stop there.

    Args:
        row: A row of an export, layout ``completion``.
        telling: How the export tells strategies.

    Returns:
        Begin and end in characters.
    """
    text = row["prompt"] + row["completion"]
    place = len(row["prompt"])
    told = tellings(row["strategies"], telling)
    for number, (action, before) in enumerate(zip(row["actions"], told, strict=True)):
        at = text.index(ACTION, place)
        begin = at - len(before) - 1 if before else at
        place = at + len(ACTION) + len(ACTION_TEXTS[action])
        if number + 1 < len(told):
            place += len(f"\n{OBSERVATION}")
        yield begin, place


def encode(row: Mapping[str, Any], telling: Telling, tokenizer: Tokenizer, context: int, *, world: bool) -> Encoded:
    """Returns a chunk as tokens, cut off at a context's length.

    Args:
        row: A row of an export, layout ``completion``.
        telling: How the export tells strategies.
        tokenizer: The tokenizer.
        context: Tokens that are kept.
        world: Whether what is observed carries loss, too (all but the prompt).
    """
    encoding = tokenizer.encode(row["prompt"] + row["completion"])
    tokens, offsets = encoding.ids[:context], encoding.offsets[:context]
    if world:
        start = len(row["prompt"])
        return Encoded(
            tokens, [one if begin >= start else IGNORED for one, (begin, _) in zip(tokens, offsets, strict=True)]
        )
    labels = [IGNORED] * len(tokens)
    spans = said_spans(row, telling)
    begin, end = next(spans)
    for place, (first, last) in enumerate(offsets):
        while first >= end:
            begin, end = next(spans, (len(row["prompt"]) + len(row["completion"]) + 1,) * 2)
        if begin <= first and last <= end:
            labels[place] = tokens[place]
    return Encoded(tokens, labels)
