"""Trains a language model on an export: a recipe for the trainer of ``transformers``, with diff history's settings."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pyarrow import parquet
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (as everywhere)
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from strathack.dataset.devices import is_bf16_faster_on_cpu
from strathack.dataset.errors import InputError, first_line
from strathack.dataset.files import atomic_write, told_if_unwritable
from strathack.dataset.splits import SPLITS
from strathack.text.encoding import IGNORED, Encoded, encode
from strathack.text.exporting import DATA, ExportFolder
from strathack.text.history import Telling
from strathack.text.ngrams import NGrams
from strathack.text.options import TINY, TrainConfig
from strathack.text.tokens import load_tokenizer, trained_tokenizer

RESULT = "result.json"
TINY_WIDTH, TINY_LAYERS, TINY_HEADS = 256, 4, 4
END = "<|endoftext|>"
ROWS = 256
"""Rows of an export that are read at a time."""

ORDER = 4
NGRAM_TOKENS = 10_000_000
"""The n-grams of so many tokens fit into a few gigabytes of memory."""


@dataclass(frozen=True)
class Result:
    """How a training ended.

    Attributes:
        steps: Optimiser steps.
        parameters: The model's parameters.
        loss: Nats a token that carries loss, on games that were not trained on.
        ngrams: The same of a 4-gram of tokens that learned from the same chunks, or from the first of them that have
            ``NGRAM_TOKENS`` tokens; None while that is being counted.
        tokens: How many tokens that is of.
    """

    steps: int
    parameters: int
    loss: float
    ngrams: float | None
    tokens: int


def train_model(config: TrainConfig) -> Result:
    """Trains a model, and saves it with its tokenizer and its result.

    Raises:
        InputError: If the export or the model cannot be used.
        RunError: If something cannot be written.
    """
    settings = ExportFolder(config.data).settings()
    check_trainable(config, settings)
    there = [split for split in SPLITS if next(rows_of(config.data, split), None) is not None]
    held_out = next((split for split in there if split != "train"), None)
    if "train" not in there or held_out is None:
        raise InputError(f"{config.data}: needs chunks to train on and chunks of other games to be measured by")
    tokenizer, model = model_of(config)
    telling: Telling = settings["strategies"]

    def chunks_of(split: str) -> list[Encoded]:
        rows = rows_of(config.data, split)
        return [encode(row, telling, tokenizer, config.context, world=config.world) for row in rows]

    encoded = {"train": chunks_of("train"), "held out": chunks_of(held_out)}
    for name, chunks in encoded.items():
        if not any(label != IGNORED for chunk in chunks for label in chunk.labels[1:]):
            raise InputError(f"context: of {config.context} tokens, none of the {name} chunks' carries loss; take more")
    trainer = Trainer(
        model=model, args=arguments_of(config), train_dataset=_Chunks(encoded["train"]), data_collator=padded,
        callbacks=[] if config.minutes is None else [_Minutes(config.minutes)],
    )  # fmt: skip
    trainer.train()
    writing = partial(told_if_unwritable, config.out, "once it is removed, the same command trains anew")
    with writing():
        trainer.save_model(str(config.out))
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END).save_pretrained(config.out)
    loss, tokens = loss_of(model, encoded["held out"], config.batch)
    result = Result(trainer.state.global_step, model.num_parameters(), loss, None, tokens)
    with writing():
        atomic_write(config.out / RESULT, json.dumps(vars(result), indent=2).encode())
    ngrams = NGrams(ORDER, tokenizer.get_vocab_size())
    ngrams.learn(first_of(encoded["train"], NGRAM_TOKENS))
    result = replace(result, ngrams=ngrams.loss(encoded["held out"]))
    with writing():
        atomic_write(config.out / RESULT, json.dumps(vars(result), indent=2).encode())
    return result


def first_of(chunks: Iterable[Encoded], tokens: int) -> Iterator[Sequence[int]]:
    """Yields the tokens of the first chunks that have no more tokens together."""
    for chunk in chunks:
        tokens -= len(chunk.tokens)
        if tokens < 0:
            return
        yield chunk.tokens


def check_trainable(config: TrainConfig, settings: Mapping[str, Any]) -> None:
    """Checks that an export can be trained on.

    Raises:
        InputError: If not.
    """
    if not settings.get("finished"):
        raise InputError(f"{config.data}: the export is not finished; the same text export goes on with it")
    if (settings["layout"], settings["to"]) != ("completion", "parquet"):
        raise InputError(f"{config.data}: is {settings['layout']} in {settings['to']}; expected completion in parquet")


def rows_of(export: Path, split: str) -> Iterator[dict[str, Any]]:
    """Yields the rows of a split of an export; only some are held at a time."""
    for path in sorted((export / DATA).glob(f"{split}-*.parquet")):
        with parquet.ParquetFile(path) as file:
            for rows in file.iter_batches(ROWS, columns=["prompt", "completion", "actions", "strategies"]):
                yield from rows.to_pylist()


def model_of(config: TrainConfig) -> tuple[Tokenizer, PreTrainedModel]:
    """Returns a tokenizer and a model: a small one from scratch, or those of a folder, made to fit each other.

    Raises:
        InputError: If there is no such model, or it has no tokenizer.
    """
    torch.manual_seed(config.seed)
    if config.model == TINY:
        texts = (row["prompt"] + row["completion"] for row in rows_of(config.data, "train"))
        tokenizer = trained_tokenizer(texts, config.vocabulary)
        tokenizer.add_special_tokens([END])
        shape = GPT2Config(
            vocab_size=tokenizer.get_vocab_size(), n_positions=config.context, n_embd=TINY_WIDTH, n_layer=TINY_LAYERS,
            n_head=TINY_HEADS, bos_token_id=None, eos_token_id=tokenizer.token_to_id(END),
            # Dropout keeps attention from its fast form, and such a model sees a chunk a few times at most.
            attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0,
        )  # fmt: skip
        return tokenizer, GPT2LMHeadModel(shape)
    tokenizer = load_tokenizer(Path(config.model))
    tokenizer.add_special_tokens([END])
    try:
        # In 32 bits whatever the file has: smaller weights lose most of what they learn.
        model = AutoModelForCausalLM.from_pretrained(config.model, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"model: {config.model} cannot be loaded ({first_line(error)})") from None
    if tokenizer.get_vocab_size() > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(tokenizer.get_vocab_size())
    if isinstance(model, GPT2LMHeadModel):
        extend_positions(model, config.context)
    return tokenizer, model


def extend_positions(model: GPT2LMHeadModel, context: int) -> None:
    """Gives a GPT-2 embeddings of further positions, random ones, as diff history does from 1,024 to 4,096."""
    old = model.transformer.wpe
    if old.num_embeddings >= context:
        return
    new = torch.nn.Embedding(context, old.embedding_dim)
    torch.nn.init.normal_(new.weight, std=model.config.initializer_range)
    with torch.no_grad():
        new.weight[: old.num_embeddings] = old.weight
    model.transformer.wpe = new
    model.config.n_positions = context


def arguments_of(config: TrainConfig) -> TrainingArguments:
    """Returns the trainer's settings: those of diff history, where the options do not say otherwise."""
    return TrainingArguments(
        output_dir=str(config.out), num_train_epochs=config.epochs, max_steps=config.steps or -1,
        per_device_train_batch_size=config.batch, gradient_accumulation_steps=config.accumulate,
        learning_rate=config.learning_rate, lr_scheduler_type="linear", warmup_steps=config.warmup, weight_decay=0.0,
        logging_steps=10, save_strategy="no", report_to=[], seed=config.seed, disable_tqdm=config.quiet,
        bf16=torch.cuda.is_available() or is_bf16_faster_on_cpu(), use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip


class _Chunks(torch.utils.data.Dataset[Encoded]):
    def __init__(self, chunks: Sequence[Encoded]) -> None:
        self._chunks = chunks

    def __len__(self) -> int:
        return len(self._chunks)

    def __getitem__(self, place: int) -> Encoded:
        return self._chunks[place]


def padded(chunks: Sequence[Encoded]) -> dict[str, Tensor]:
    """Returns chunks as a batch: ``input_ids``, ``attention_mask``, ``labels``, i64 [chunks, longest]."""
    longest = max(len(chunk.tokens) for chunk in chunks)

    def rows(values: list[Sequence[int]], filler: int) -> Tensor:
        return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in values])

    return {
        "input_ids": rows([chunk.tokens for chunk in chunks], 0),
        "attention_mask": rows([[1] * len(chunk.tokens) for chunk in chunks], 0),
        "labels": rows([chunk.labels for chunk in chunks], IGNORED),
    }


@torch.inference_mode()
def loss_of(model: PreTrainedModel, chunks: Sequence[Encoded], batch: int) -> tuple[float, int]:
    """Returns nats a token that carries loss, and how many tokens do."""
    model.eval()
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for start in range(0, len(chunks), batch):
        inputs = {name: value.to(device) for name, value in padded(chunks[start : start + batch]).items()}
        labels = inputs.pop("labels")[:, 1:]
        logits = model(**inputs).logits[:, :-1].float()
        total += float(F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"))
        count += int((labels != IGNORED).sum())
    return total / count, count


class _Minutes(TrainerCallback):
    """Ends training after some minutes."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Asks the trainer to stop, once the time is over."""
        if time.monotonic() > self._end:
            control.should_training_stop = True
