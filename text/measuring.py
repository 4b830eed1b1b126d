"""What a language model's loss is made of: by strategy, and by what it says of strategy and action."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional as F  # noqa: N812  (as everywhere)
from transformers import PreTrainedModel

from strathack.text.encoding import Part, encode, said_places
from strathack.text.history import Telling
from strathack.text.training import padded

BySaying = Mapping[tuple[str, Part], tuple[int, int, float]]
"""Strategy and part → steps, tokens and nats."""


@torch.inference_mode()
def losses_by_strategy(
    model: PreTrainedModel, tokenizer: Tokenizer, rows: Sequence[Mapping[str, Any]], telling: Telling, context: int
) -> BySaying:
    """Returns what a model pays for what players say, by strategy.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        rows: Rows of an export, layout ``completion``.
        telling: How the export tells strategies.
        context: Tokens of a chunk that are looked at, from its first.
    """
    model.eval()
    steps: dict[tuple[str, Part], set[tuple[int, int]]] = defaultdict(set)
    tokens: dict[tuple[str, Part], int] = defaultdict(int)
    nats: dict[tuple[str, Part], float] = defaultdict(float)
    for number, row in enumerate(rows):
        chunk = encode(row, telling, tokenizer, context, world=False)
        inputs = {name: value.to(model.device) for name, value in padded([chunk]).items() if name != "labels"}
        logits = model(**inputs).logits[0, :-1].float()
        losses = F.cross_entropy(logits, inputs["input_ids"][0, 1:], reduction="none").tolist()
        offsets = tokenizer.encode(row["prompt"] + row["completion"]).offsets[:context]
        for place, loss in zip(said_places(row, telling, offsets)[1:], losses, strict=True):
            if place is not None:
                step, part = place
                key = row["strategies"][step], part
                steps[key].add((number, step))
                tokens[key] += 1
                nats[key] += loss
    return {key: (len(steps[key]), tokens[key], nats[key]) for key in tokens}
