"""What every run has, whatever is trained: a folder, a device, loggers, perhaps several processes."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from strathack.dataset.errors import InputError, RunError
from strathack.dataset.files import atomic_write

OPTIONS, METRICS = "options.json", "metrics.csv"
"""Files of a run beside its checkpoints: its options and its learning curves."""


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _LARGEST = -1, -3, 2**31 - 1
"""Parameters of mallopt(3), and the largest value that one can have."""


class RunOptions(Protocol):
    """Those that every run has."""

    @property
    def out(self) -> Path | None:
        """The run's folder."""

    @property
    def device(self) -> str:
        """Where to train: auto, cpu or cuda."""

    @property
    def devices(self) -> int:
        """GPUs, or processes on the CPU."""

    @property
    def tensorboard(self) -> bool:
        """Whether to log for TensorBoard."""

    @property
    def wandb(self) -> str | None:
        """A project of Weights & Biases."""

    def to_json(self) -> str:
        """All options."""


def is_first_process() -> bool:
    """Whether this is the process that was called, and none that Lightning or torchrun started beside it."""
    return not any(int(os.environ.get(name, 0)) for name in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK"))


def check_ended(processes: Sequence[subprocess.Popen[Any]], patience: float = 60.0) -> None:
    """Waits for the processes that were started beside this one.

    Args:
        processes: They are about to end.
        patience: Seconds for them to.

    Raises:
        RunError: If one has failed, or does not end.
    """
    for number, process in enumerate(processes, 1):
        try:
            status = process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            raise RunError(f"process {number} of {len(processes) + 1} did not end; it was killed") from None
        if status and status <= 128:  # above, it was asked to end, as this one was
            raise RunError(f"process {number} of {len(processes) + 1} failed (exit status {status}); see above")


def begin_folder(config: RunOptions) -> None:
    """Makes the run's folder and writes its options there.

    Raises:
        InputError: If there is a run in it.
    """
    assert config.out is not None
    if not is_first_process():
        return
    if (config.out / OPTIONS).exists():
        raise InputError(f"{config.out}: there is a run in it; resume it, or take another folder")
    config.out.mkdir(parents=True, exist_ok=True)
    atomic_write(config.out / OPTIONS, config.to_json().encode())


def checked_device(config: RunOptions) -> str:
    """Lightning's name for where to train.

    Raises:
        InputError: If there is no such device, or not as many.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.device == "cuda" and not there:
        raise InputError("device: cuda was asked for, and PyTorch finds no GPU here")
    if config.device == "cpu" or not there:
        return "cpu"
    if config.devices > there:
        raise InputError(f"devices: {config.devices} GPUs were asked for, there are {there}")
    return "gpu"


def other_loggers(config: RunOptions) -> list[Logger]:
    """Loggers that were asked for, besides the CSV file.

    Raises:
        InputError: If what they need is not installed.
    """
    loggers: list[Logger] = []
    if config.tensorboard:
        _need("tensorboard", "tensorboard")
        assert config.out is not None
        loggers.append(pl.loggers.TensorBoardLogger(config.out, name="", version="tensorboard"))
    if config.wandb is not None:
        _need("wandb", "wandb")
        loggers.append(pl.loggers.WandbLogger(project=config.wandb, save_dir=config.out))
    return loggers


def _need(option: str, package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{option}: the package is not installed; pip install {package}")


def hold_freed_memory() -> None:
    """Has this process keep memory that is freed for what comes next, where its C library is told how (glibc).

    By default blocks above some megabytes, activations say, are given back to the system and asked for again, which
    costs a page fault every 4 KiB: a third of a convolutional policy's update, more on virtual machines.
    """
    if sys.platform != "linux":
        return
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)


def quieten() -> None:
    """Keeps Lightning's remarks, which are for programmers, off a user's terminal."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning_fabric")
