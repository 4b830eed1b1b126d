"""Options of the text commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from strathack.dataset.codec import Options
from strathack.dataset.errors import InputError
from strathack.dataset.options import WorkerOptions, check_above_zero, check_at_least, given
from strathack.text.balrog import LONGEST_RECORD
from strathack.text.chunks import Layout, Recipe
from strathack.text.describing import Dialect
from strathack.text.history import History, Telling

ALL_CHUNKS = "all"
TINY = "tiny"


@dataclass(frozen=True, kw_only=True)
class ExportConfig(WorkerOptions):
    """Exports games as text that language models are trained on.

    Attributes:
        data: A dataset folder or a shard.
        out: The folder of the export.
        dialect: fair, which tells what a player can see; or wrapper, byte for byte what nle-language-wrapper gives.
        history: diff, the lines that change from step to step; or full, whole observations.
        steps: Steps of a chunk.
        chunks: How many chunks to draw from all games; all takes chunks side by side.
        layout: completion, the columns prompt and completion; or messages, turns of user and assistant.
        strategies: What is told where the strategy changes: none, tokens or sentences.
        to: parquet; jsonl; or balrog, the records of demonstrations that BALROG shows to models.
        select: A condition that selects the games.
        seed: Determines the draw of chunks.
        rows_per_file: Rows of a file.
        retries: How often a game is tried again after its worker died.
        quiet: Print plain lines instead of a live display.
    """

    data: Path
    out: Path
    dialect: Dialect = "fair"
    history: History = "diff"
    steps: int = 64
    chunks: str = "500000"
    layout: Literal["completion", "messages"] = "completion"
    strategies: Telling = "none"
    to: Literal["parquet", "jsonl", "balrog"] = "parquet"
    select: str | None = None
    seed: int = 0
    rows_per_file: int = 20_000
    retries: int = 2
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(1, self, "steps", "rows_per_file")
        check_at_least(0, self, "seed", "retries")
        if self.chunks != ALL_CHUNKS and not (self.chunks.isdecimal() and int(self.chunks)):
            raise InputError(f"chunks: {self.chunks!r} is no number above 0; expected one, or all")

        if self.to == "balrog":
            self._check_records()

    def _check_records(self) -> None:
        for option in given(self, "history", "layout", "strategies"):
            raise InputError(f"{option}: records of BALROG have one form; leave it out")
        if not 2 <= self.steps <= LONGEST_RECORD:
            raise InputError(f"steps: {self.steps}; expected 2 to {LONGEST_RECORD}, as many as BALROG shows")

    @property
    def recipe(self) -> Recipe:
        """How a chunk becomes a row."""
        layout: Layout = "balrog" if self.to == "balrog" else self.layout
        return Recipe(self.dialect, self.history, self.steps, layout, self.strategies)

    @property
    def draws(self) -> int | None:
        """How many chunks to draw; None for all, side by side."""
        return None if self.chunks == ALL_CHUNKS else int(self.chunks)


@dataclass(frozen=True, kw_only=True)
class ShowConfig(Options):
    """Prints a step of a game as text: the observation, the action, and what it changed.

    Attributes:
        data: A dataset folder or a shard.
        game: The game: its name or its seed; by default the first.
        step: The first step.
        steps: How many steps.
        dialect: fair, which tells what a player can see; or wrapper, byte for byte what nle-language-wrapper gives.
        history: diff, the lines that change from step to step; or full, whole observations.
        strategies: What is told where the strategy changes: none, tokens or sentences.
    """

    data: Path
    game: str = ""
    step: int = 0
    steps: int = 2
    dialect: Dialect = "fair"
    history: History = "diff"
    strategies: Telling = "tokens"

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(1, self, "steps")
        check_at_least(0, self, "step")


@dataclass(frozen=True, kw_only=True)
class TokensConfig(Options):
    """Tells what a step costs in bytes and tokens, as a whole observation and as a diff.

    Attributes:
        data: A dataset folder or a shard.
        tokenizer: A tokenizer.json, or a model's folder that has one; by default one is trained on every other game.
        vocabulary: Tokens of a trained tokenizer.
        games: How many games to look at.
        steps: How many steps of each game, from its first.
        dialect: fair, which tells what a player can see; or wrapper, byte for byte what nle-language-wrapper gives.
    """

    data: Path
    tokenizer: Path | None = None
    vocabulary: int = 8192
    games: int = 8
    steps: int = 1000
    dialect: Dialect = "fair"

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        # A tokenizer is trained on one game at least, and costs are those of another.
        check_at_least(2 if self.tokenizer is None else 1, self, "games")
        check_at_least(2, self, "steps")
        check_at_least(300, self, "vocabulary")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Options):
    """Trains a language model on an export, with the settings of diff history by default.

    Attributes:
        data: The folder of an export, layout completion, in parquet.
        out: Folder for the model, its tokenizer and its result.
        model: tiny, a GPT-2 of some 4 M parameters from scratch, with a tokenizer trained on the export; or the folder
            of a model with a tokenizer.json.
        context: Tokens of a chunk that are trained on, from its first.
        world: Whether observations carry loss, too, not only actions and strategies.
        vocabulary: Tokens of the tokenizer of tiny.
        batch: Chunks that are computed at a time.
        accumulate: Such batches per optimiser step.
        epochs: Passes over the chunks.
        steps: End training after this many optimiser steps.
        minutes: End training after this many minutes. The learning rate falls over the steps or the epochs, so give the
            steps, too, about as many as fit.
        learning_rate: The largest learning rate; it rises first, then falls linearly.
        warmup: Share of the steps in which it rises.
        seed: Determines fresh weights and the order of chunks.
        quiet: Show no progress.
    """

    data: Path
    out: Path
    model: str = TINY
    context: int = 4096
    world: bool = False
    vocabulary: int = 4096
    batch: int = 4
    accumulate: int = 64
    epochs: float = 32.0
    steps: int | None = None
    minutes: float | None = None
    learning_rate: float = 3e-4
    warmup: float = 0.03
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
            InputError: If an option is invalid; the message names the option.
        """
        super().__post_init__()
        check_at_least(2, self, "context")
        check_at_least(300, self, "vocabulary")
        check_at_least(1, self, "batch", "accumulate", "steps")
        check_above_zero(self, "epochs", "minutes", "learning_rate")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup: {self.warmup} is no share; expected 0 to below 1")
