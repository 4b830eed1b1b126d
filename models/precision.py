"""The precision that policies are computed in: 32 bits, or bf16 for what autocast lets be computed in 16 bits."""

from __future__ import annotations

import torch

from strathack.models.options import Precision


def computed_in(device: torch.device) -> torch.dtype:
    """Returns the type in which products are computed on a device at this point: autocast's, or 32 bits."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32


def is_bf16(precision: Precision, *, faster: bool) -> bool:
    """Returns whether to compute in bf16.

    Args:
        precision: What was asked for; ``auto`` takes bf16 where it is faster.
        faster: Whether it is.
    """
    return precision == "bf16" or (precision == "auto" and faster)
