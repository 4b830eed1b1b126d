"""Checkpoints as earlier releases made them, of those of this one."""

from pathlib import Path

import safetensors
import safetensors.torch
import torch

from strathack.dataset.schema import SCREEN_COLUMNS


def make_version_1(path: Path) -> None:
    """Makes a checkpoint one of version 1, in which encoders of symbols had message weights for every byte."""
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no dictionary)
    tensors = {name: _for_every_byte(tensor) for name, tensor in tensors.items()}
    path.unlink()  # what was read of it is still there
    path.write_bytes(safetensors.torch.save(tensors, metadata | {"version": "1"}))


def _for_every_byte(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.ndim != 2 or len(tensor) != SCREEN_COLUMNS * 96:
        return tensor
    every = torch.rand(SCREEN_COLUMNS, 256, tensor.shape[1]).to(tensor.dtype)
    every[:, 32:127] = tensor.view(SCREEN_COLUMNS, 96, -1)[:, :95]
    return every.flatten(0, 1)
