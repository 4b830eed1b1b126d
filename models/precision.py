"""The precision of policies: 32 bits, or bf16 for what autocast lets be computed in 16 bits; and that of weights."""

from __future__ import annotations

import torch
from torch import Tensor

from strathack.models.options import Precision


def computed_in(device: torch.device) -> torch.dtype:
    """Returns the type in which products are computed on a device at this point: autocast's, or 32 bits."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32


def with_mantissa(values: Tensor, bits: int) -> Tensor:
    """Returns numbers rounded, to the nearest, to so many bits of mantissa beside the leading one.

    Args:
        values: Floating-point numbers of any shape, in 32 bits.
        bits: Bits to keep, 0 or more.

    Returns:
        f32 of the same shape.
    """
    fractions, exponents = torch.frexp(values)  # a fraction is at least a half, and so has the leading bit
    return torch.ldexp((fractions * 2 ** (bits + 1)).round(), exponents - (bits + 1))


def is_bf16(precision: Precision, *, faster: bool) -> bool:
    """Returns whether to compute in bf16.

    Args:
        precision: What was asked for; ``auto`` takes bf16 where it is faster.
        faster: Whether it is.
    """
    return precision == "bf16" or (precision == "auto" and faster)
