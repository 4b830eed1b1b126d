"""What is pre-trained: an encoder with a projection, and a model of progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everywhere)

from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.codec import from_plain, to_plain
from strathack.dataset.errors import InputError
from strathack.dataset.schema import SCREEN_COLUMNS
from strathack.models.config import EncoderConfig, PixelsConfig, SymbolsConfig
from strathack.models.encoders import PixelsEncoder, SymbolsEncoder, make_encoder
from strathack.models.growing import fitted
from strathack.models.policy import Policy
from strathack.models.pretraining.options import Objective
from strathack.models.saving import load_network

PRETRAINED = "pretrained"
"""Where checkpoints have the configuration of what was pre-trained; its weights' names begin so, too."""


@dataclass(frozen=True)
class PretrainedConfig:
    """Configuration of what is pre-trained.

    Attributes:
        encoder: Turns a screen into a vector.
        objective: Which of the two there are.
        projection: Elements of the vectors by which frames are compared.
        hidden: Units of the layers that compare two frames' vectors.
        longest: The most steps between two frames from which progress was learned.
        turn: Whether the turn in the last line is seen, as by what earlier releases trained.
    """

    encoder: EncoderConfig = field(default_factory=SymbolsConfig)
    objective: Objective = "both"
    projection: int = 128
    hidden: int = 256
    longest: int = 10_000
    turn: bool = False

    @property
    def observations(self) -> tuple[str, ...]:
        """Observation keys that are needed."""
        return tuple(self.encoder.observations)

    def to_values(self) -> dict[str, Any]:
        """Returns plain values."""
        values: dict[str, Any] = to_plain(self)
        return values

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> PretrainedConfig:
        """The inverse of :meth:`to_values`."""
        return from_plain(cls, {"turn": True, **values})


BESIDE_THE_SCREEN = ("blstats", "previous_action", "inventory", "corpses", "events", "marks")
"""Fields of encoders for what they see beside the screen."""


def screen_alone(config: EncoderConfig) -> EncoderConfig:
    """Returns an encoder that sees the screen alone: neither numbers, nor marks, the inventory, keys or memories."""
    if isinstance(config, PixelsConfig):
        return replace(config, previous_action=0)
    return replace(config, blstats=0, previous_action=0, inventory=0, corpses=0, events=0, marks=False)


def without_turn(chars: Tensor) -> Tensor:
    """Returns screens whose last line does not tell the turn ("T:123"), by which any time apart could be read.

    Args:
        chars: Characters of the screens, u8 [N, 24, 80].

    Returns:
        The same, with spaces for the turn.
    """
    line = chars[:, -1]
    colon = F.pad(line[:, 1:] == ord(":"), (0, 1))
    named = (line == ord("T")) & colon
    since = torch.where(named.any(1), named.int().argmax(1), SCREEN_COLUMNS)[:, None]
    columns = torch.arange(SCREEN_COLUMNS, device=chars.device)
    number = columns >= since + len("T:")
    digits = (line >= ord("0")) & (line <= ord("9"))
    number &= torch.where(number, digits, True).int().cumprod(1).bool()
    told = number | ((columns >= since) & (columns < since + len("T:")))
    return torch.cat([chars[:, :-1], torch.where(told, ord(" "), line)[:, None]], 1)


def _seen(frames: Mapping[str, Tensor], config: PretrainedConfig) -> Mapping[str, Tensor]:
    """Returns frames as they are seen in pre-training."""
    return frames if config.turn else {**frames, "tty_chars": without_turn(frames["tty_chars"])}


class ContrastiveEncoder(nn.Module):
    """An encoder, and a projection by whose outputs frames are compared.

    Args:
        config: The configuration.
    """

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.config = config
        size = config.encoder.size
        self.encoder = make_encoder(config.encoder, len(ACTION_NAMES))
        self.projection = nn.Sequential(nn.Linear(size, size), nn.ELU(), nn.Linear(size, config.projection))

    def forward(self, frames: Mapping[str, Tensor]) -> Tensor:
        """From frames, observation key → [N, …], to [N, projection]."""
        projected: Tensor = self.projection(self.encoder(_seen(frames, self.config)))
        return projected


class ProgressModel(nn.Module):
    """Says by how much one frame is later in a game than another, as sign(Δ) · log(1 + |Δ|) of the steps Δ between.

    Args:
        config: The configuration.
    """

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config.encoder, len(ACTION_NAMES))
        size = 2 * config.encoder.size
        self.compared = nn.Sequential(
            nn.Linear(size, config.hidden), nn.ELU(), nn.Linear(config.hidden, config.hidden), nn.ELU(),
            nn.Linear(config.hidden, 1),
        )  # fmt: skip

    def encode(self, frames: Mapping[str, Tensor], lanes: int | None = None) -> Tensor:
        """From frames, observation key → [N, …], to [N, size]; ``lanes`` as for the encoder alone."""
        encoded: Tensor = self.encoder(_seen(frames, self.config), lanes)
        return encoded

    def between(self, one: Tensor, other: Tensor) -> Tensor:
        """Returns by how much the other frame is later.

        Args:
            one: Encodings, [..., size].
            other: Encodings, [..., size].

        Returns:
            f32 [...].
        """
        progress: Tensor = self.compared(torch.cat([one, other], -1)).squeeze(-1)
        return progress.float()


class Pretrained(nn.Module):
    """An encoder, a model of progress, or both, which share nothing.

    Args:
        config: The configuration.

    Attributes:
        contrastive: The encoder; None if there is none.
        progress: The model of progress; None if there is none.
    """

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.config = config
        self.contrastive = ContrastiveEncoder(config) if config.objective != "progress" else None
        self.progress = ProgressModel(config) if config.objective != "encoder" else None


def is_pretrained(values: Mapping[str, Any]) -> bool:
    """Returns whether a checkpoint's values are those of a run of ``pretrain``."""
    return PRETRAINED in values


def load_pretrained(path: Path, device: str | torch.device = "cpu") -> Pretrained:
    """Loads what a run of ``pretrain`` has trained; see :func:`strathack.models.saving.load_network`."""
    return load_network(
        path, PRETRAINED, lambda values: Pretrained(PretrainedConfig.from_values(values)),
        made_by="strathack pretrain", called="pretrained encoder or model of progress", device=device,
    )  # fmt: skip


def load_progress(path: Path, device: str | torch.device = "cpu") -> ProgressModel:
    """Loads a model of progress; see :func:`load_pretrained`.

    Raises:
        InputError: If there is no checkpoint, or no model of progress in it.
        FormatError: If the file is no checkpoint of such a run.
    """
    progress = load_pretrained(path, device).progress
    if progress is None:
        raise InputError(f"{path}: an encoder alone; strathack pretrain --objective progress makes a model of progress")
    return progress


def take_encoder(policy: Policy, pretrained: Pretrained, path: Path) -> None:
    """Copies a pre-trained encoder's weights into the encoders of a policy.

    What an encoder of symbols sees beside the screen has no effect at first: its weights in the last layer become zero.
    An encoder of pixels has no such layer; it hands the previous action on to the core.

    Args:
        policy: The policy, whose encoder is of the same make.
        pretrained: What was pre-trained.
        path: Where it is, for error messages.

    Raises:
        InputError: If no encoder was pre-trained, or the policy's encoder is of another make.
    """
    if pretrained.contrastive is None:
        raise InputError(f"{path}: a model of progress alone; strathack pretrain --objective encoder makes an encoder")
    source = pretrained.contrastive.encoder
    own = screen_alone(cast("SymbolsEncoder | PixelsEncoder", source).config)
    for encoder in policy.encoders:
        config = cast("SymbolsEncoder | PixelsEncoder", encoder).config
        alike = screen_alone(config) == own
        weights = encoder.state_dict()
        for name, value in source.state_dict().items():
            there = weights.get(name)
            if there is None or not fitted(there, value, wider=alike and name == "out.weight"):
                kind = type(config).kind
                raise InputError(
                    f"{path}: its encoder does not fit the policy's ({kind}): {name} is {list(value.shape)}, "
                    f"{'missing' if there is None else list(there.shape)} in the policy"
                )
