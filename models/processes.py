"""What each of several processes that learn together keeps in a checkpoint for itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from strathack.dataset.errors import InputError


def of_all(mine: Any, processes: int) -> list[Any]:
    """Returns what every process gives, in order of their ranks; to be called by all of them."""
    if processes == 1:
        return [mine]
    gathered: list[Any] = [None] * processes
    torch.distributed.all_gather_object(gathered, mine)
    return gathered


def own_of(saved: Sequence[Any], rank: int, processes: int) -> Any:
    """Returns what a process gave to :func:`of_all`.

    Raises:
        InputError: If there were more or fewer processes.
    """
    if len(saved) != processes:
        raise InputError(f"devices: the run had {len(saved)} processes, here are {processes}")
    return saved[rank]


def random_states(device: torch.device) -> list[Tensor]:
    """Returns the random state of the CPU and, if the device is one, of the GPU."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_random_states(states: Sequence[Tensor], device: torch.device) -> None:
    """Restores random states; that of a GPU only if the device is one."""
    torch.set_rng_state(states[0].cpu())
    if len(states) > 1 and device.type == "cuda":
        torch.cuda.set_rng_state(states[1].cpu(), device)
