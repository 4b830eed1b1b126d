"""A labeller: an encoder, a memory of what came before, one of what comes later, and a strategy head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.codec import from_plain, to_plain
from strathack.dataset.errors import InputError
from strathack.dataset.options import check_at_least
from strathack.models.config import LSTMConfig, SymbolsConfig
from strathack.models.cores import LSTMCore, State
from strathack.models.encoders import SymbolsEncoder
from strathack.models.saving import load_network

LABELLER = "labeller"
"""Where checkpoints have a labeller's configuration; its weights' names begin so, too."""


@dataclass(frozen=True)
class LabellerConfig:
    """Configuration of a labeller.

    Attributes:
        encoder: Turns a frame into a vector; the screen alone by default, so that games without anything else can be
            labelled.
        hidden: Units of the memory in each direction.
        action: Elements of the embedding of the key pressed at a step; 0 leaves keys out.
        label: The label that it infers.
        names: The label's names.
    """

    encoder: SymbolsConfig = field(default_factory=lambda: SymbolsConfig(blstats=0, previous_action=0))
    hidden: int = 192
    action: int = 0
    label: str = "strategy"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: If a field is invalid; the message names the field.
        """
        check_at_least(1, self, "hidden")
        check_at_least(0, self, "action")
        if self.encoder.remembered:
            raise InputError(f"encoder.{self.encoder.remembered[0]}: a labeller remembers nothing; policies do")
        if not self.names or len(set(self.names)) < len(self.names):
            raise InputError("names: none, or one that occurs twice")

    @property
    def observations(self) -> tuple[str, ...]:
        """Observation keys that the labeller needs."""
        return self.encoder.observations

    def to_values(self) -> dict[str, Any]:
        """Returns plain values."""
        values: dict[str, Any] = to_plain(self)
        return values

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> LabellerConfig:
        """The inverse of :meth:`to_values`."""
        return from_plain(cls, values)


class Labeller(nn.Module):
    """Says what was pursued at each step of an unroll, from what came before it and what comes later.

    Args:
        config: The configuration.
    """

    def __init__(self, config: LabellerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SymbolsEncoder(config.encoder, len(ACTION_NAMES))
        self.action = nn.Embedding(len(ACTION_NAMES) + 1, config.action) if config.action else None
        size = config.encoder.size + config.action
        self.earlier = LSTMCore(LSTMConfig(config.hidden), size)
        self.later = LSTMCore(LSTMConfig(config.hidden), size)
        self.head = nn.Linear(2 * config.hidden, len(config.names))

    def initial_state(self, lanes: int, device: torch.device | None = None) -> State:
        """Returns the memory of what came before a game: name → [B, …]."""
        return self.earlier.initial_state(lanes, device or self.head.weight.device)

    def encode(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Encodes frames, each by itself.

        Args:
            inputs: The observations that ``config.observations`` names, [T, B, …] as stored; with keys, ``actions``,
                u8 [T, B], 255 where none is known.

        Returns:
            [T, B, size].
        """
        shape = inputs["first"].shape
        frames = {name: inputs[name].flatten(0, 1) for name in self.config.observations}
        encoded: Tensor = self.encoder(frames, shape[1]).unflatten(0, shape)
        if self.action is None:
            return encoded
        keys = self.action(inputs["actions"].long().clamp(max=len(ACTION_NAMES)))
        return torch.cat([encoded, keys.to(encoded.dtype)], -1)

    def remember(
        self, encoded: Tensor, first: Tensor, state: Mapping[str, Tensor], starts: Sequence[int] | None = None
    ) -> tuple[Tensor, State]:
        """Returns what is known of the steps up to each one, [T, B, hidden], and the memory after the last.

        Args:
            encoded: [T, B, size].
            first: Whether a game starts at a step, bool [T, B].
            state: The memory before the first step.
            starts: The steps at which a game starts in some lane, if the host knows them.
        """
        return self.earlier((encoded,), first, state, starts)

    def foresee(self, encoded: Tensor, first: Tensor, starts: Sequence[int] | None = None) -> Tensor:
        """Returns what is known of each step and the later ones of its game, as far as the unroll goes: [T, B, hidden].

        Args:
            encoded: [T, B, size].
            first: Whether a game starts at a step, bool [T, B].
            starts: The steps at which a game starts in some lane, if the host knows them.
        """
        steps, lanes = first.shape
        # Read backwards, a game starts with its last step.
        last = torch.cat([first[1:], torch.ones_like(first[:1])]).flip(0)
        ends = None if starts is None else sorted(steps - start for start in starts if start)
        known, _ = self.later((encoded.flip(0),), last, self.later.initial_state(lanes, encoded.device), ends)
        return known.flip(0)

    def forward(
        self, inputs: Mapping[str, Tensor], state: Mapping[str, Tensor], starts: Sequence[int] | None = None
    ) -> tuple[Tensor, State]:
        """Processes an unroll.

        Args:
            inputs: As for :meth:`encode`, and ``first``, bool [T, B].
            state: The memory before the first step.
            starts: The steps at which a game starts in some lane, if the host knows them.

        Returns:
            Unnormalised log-probabilities of the names, [T, B, names], and the memory after the last step.
        """
        first = inputs["first"].bool()
        encoded = self.encode(inputs)
        before, after = self.remember(encoded, first, state, starts)
        return self.head(torch.cat([before, self.foresee(encoded, first, starts)], -1)), after


def load_labeller(path: Path, device: str | torch.device = "cpu") -> Labeller:
    """Loads a labeller; see :func:`strathack.models.saving.load_network`."""
    return load_network(
        path, LABELLER, lambda values: Labeller(LabellerConfig.from_values(values)),
        made_by="strathack label train", called="labeller", device=device,
    )  # fmt: skip
