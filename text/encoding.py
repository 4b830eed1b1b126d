"""Exported chunks as tokens, with the places of those that a player says, which alone carry loss."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer

from strathack.text.history import ACTION, ACTION_TEXTS, OBSERVATION, Telling, tellings

IGNORED = -100
"""The label of tokens without loss, as PyTorch's cross-entropy has it."""


Part = Literal["strategy", "action"]
"""The parts of what a player says at a step; ending it belongs to the action."""


@dataclass(frozen=True)
class Encoded:
    """A chunk as tokens, in arrays, since an export has hundreds of thousands of chunks.

    Attributes:
        tokens: Tokens of prompt and completion, i32.
        labels: The same tokens where they carry loss, elsewhere ``IGNORED``, i32.
    """

    tokens: array[int]
    labels: array[int]

    @classmethod
    def of(cls, tokens: Sequence[int], carries: Iterable[bool]) -> Encoded:
        """Makes a chunk.

        Args:
            tokens: The tokens.
            carries: Whether each carries loss.
        """
        labels = [token if loss else IGNORED for token, loss in zip(tokens, carries, strict=True)]
        return cls(array("i", tokens), array("i", labels))


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
        return Encoded.of(tokens, (begin >= start for begin, _ in offsets))
    return Encoded.of(tokens, (place is not None for place in said_places(row, telling, offsets)))


def said_places(
    row: Mapping[str, Any], telling: Telling, offsets: Sequence[tuple[int, int]]
) -> list[tuple[int, Part] | None]:
    """Returns for each token what the player says by it: the step in the chunk, and the part; None where it is silent.

    Args:
        row: A row of an export, layout ``completion``.
        telling: How the export tells strategies.
        offsets: The tokens' begins and ends in characters.
    """
    text = row["prompt"] + row["completion"]
    spans = enumerate(said_spans(row, telling))
    step, (begin, end) = next(spans)
    places: list[tuple[int, Part] | None] = []
    for first, last in offsets:
        while first >= end:
            step, (begin, end) = next(spans, (-1, (len(text) + 1, len(text) + 1)))
        part: Part = "action" if last > text.find(ACTION, begin, end) else "strategy"
        places.append((step, part) if begin <= first and last <= end else None)
    return places
