"""Whether a step's numbers were finite, read a step later, so that the host does not wait for the device."""

from __future__ import annotations

import torch
from torch import Tensor


class ReadLater:
    """A value on its way from a device to the host.

    Args:
        value: A scalar.
    """

    def __init__(self, value: Tensor) -> None:
        self._value = value.to("cpu", non_blocking=True)
        self._arrival = torch.cuda.current_stream(value.device).record_event() if value.is_cuda else None

    def read(self) -> bool | float:
        """Returns the value; waits only for what the device was asked to do before the value was sent."""
        if self._arrival is not None:
            self._arrival.synchronize()
        value: bool | float = self._value.item()
        return value


def skip_unless(finite: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Makes a fused optimiser's next step leave weights and state as they are unless a flag is true.

    The flag stays on the device. This is how PyTorch's gradient scalers make fused optimisers skip a step.

    Args:
        finite: Whether the gradients are finite, a scalar.
        optimizer: Adam or AdamW with ``fused=True``.
    """
    optimizer.grad_scale, optimizer.found_inf = None, (~finite).float()
