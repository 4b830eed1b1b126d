"""An LSTM that refuses, as cuDNN's does, to go backward in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

TRAIN = 6
"""The place of ``train`` among the arguments of ``torch.lstm``."""


class _Refusing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, training: bool) -> Tensor:
        ctx.training = training
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        if not ctx.training:
            raise RuntimeError("cudnn RNN backward can only be called in training mode")
        return gradients[0], None


def refuse_backward_in_evaluation(patch: pytest.MonkeyPatch) -> None:
    """Makes every LSTM refuse to go backward unless it ran forward in training mode."""
    for place in (torch, torch._VF):
        patch.setattr(place, "lstm", _refusing(place.lstm))


def _refusing(lstm: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any) -> tuple[Tensor, ...]:
        return tuple(_Refusing.apply(part, args[TRAIN]) for part in lstm(*args))

    return run
