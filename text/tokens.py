"""What steps cost in tokens: whole observations against diffs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from strathack.dataset.errors import InputError
from strathack.text.history import ACTION, OBSERVATION, STRATEGY

SPECIAL = [ACTION, OBSERVATION, STRATEGY]
"""Tokens of their own, whatever the tokenizer."""


@dataclass(frozen=True)
class Cost:
    """What a step costs on average.

    Attributes:
        bytes: Bytes of its text.
        tokens: Tokens of its text.
    """

    bytes: float
    tokens: float

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: Tokenizer) -> Cost:
        """The mean over the texts of some steps."""
        tokens = sum(len(encoded.ids) for encoded in tokenizer.encode_batch(list(texts)))
        return cls(sum(len(text.encode()) for text in texts) / len(texts), tokens / len(texts))


def trained_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Trains byte-level byte-pair encoding, as GPT-2 has it (Radford et al., 2019).

    Args:
        texts: What to train on.
        vocabulary: Tokens, special ones included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Reads a tokenizer, and gives it the special tokens.

    Args:
        path: A ``tokenizer.json``, or a model's folder that has one.

    Raises:
        InputError: If there is none, or it cannot be read.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{path}: no tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001  (the package raises nothing narrower)
        raise InputError(f"{file}: no tokenizer ({error})") from None
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer
