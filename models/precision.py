"""The precision that policies are computed in: 32 bits, or bf16 for what autocast lets be computed in 16 bits."""

from __future__ import annotations

import torch

from strathack.models.options import Precision


def computed_in(device: torch.device) -> torch.dtype:
    """Returns the type in which products are computed on a device at this point: autocast's, or 32 bits."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32


def is_bf16_faster_on_cpu() -> bool:
    """Returns whether this processor multiplies matrices of bf16 in units of their own (AMX).

    With them, one core does products seven times as fast as in 32 bits. With bf16 instructions for vectors only
    (``avx512_bf16``), what is won in products is about lost in conversions.
    """
    ask = getattr(torch.cpu, "_is_amx_tile_supported", None)  # PyTorch before 2.6 cannot tell
    return bool(ask and ask())


def is_bf16(precision: Precision, *, faster: bool) -> bool:
    """Returns whether to compute in bf16.

    Args:
        precision: What was asked for; ``auto`` takes bf16 where it is faster.
        faster: Whether it is.
    """
    return precision == "bf16" or (precision == "auto" and faster)
