"""What every run has, whatever is trained: a folder, a device, loggers, perhaps several processes."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from pytorch_lightning.loggers import Logger

from strathack.dataset.codec import Options, from_plain, hints_of, to_plain
from strathack.dataset.errors import FormatError, InputError, RunError
from strathack.dataset.files import atomic_write
from strathack.models.loggers import MetricsCSV, other_loggers
from strathack.models.options import AnyRunOptions, RunOptions
from strathack.models.saving import LAST, load_values

OPTIONS, METRICS = "options.json", "metrics.csv"
"""Files of a run beside its checkpoints: its options and its learning curves."""


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _LARGEST = -1, -3, 2**31 - 1
"""Parameters of mallopt(3), and the largest value that one can have."""


AnyOptions = TypeVar("AnyOptions", bound=Options)


@dataclass(frozen=True)
class Run(Generic[AnyRunOptions]):
    """A run that begins or goes on.

    Attributes:
        options: Its options; of one that goes on, its own.
        folder: Where it is.
        saved: The checkpoint that it goes on from, as it was saved; None for a new run.
    """

    options: AnyRunOptions
    folder: Path
    saved: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, given: AnyRunOptions) -> Run[AnyRunOptions]:
        """The run that options ask for; nothing is written.

        Raises:
            InputError: If there is none to go on with, or a new one would be in the place of another.
            FormatError: If what is there is none of this release.
        """
        folder = given.folder
        path = folder / OPTIONS
        if given.resume is None:
            if is_first_process() and path.exists():
                raise InputError(f"{folder}: there is a run in it; resume it, or take another folder")
            return cls(given, folder)
        if not path.exists():
            raise InputError(f"{folder}: no run in it; expected {OPTIONS}")
        try:
            own = from_plain(type(given), json.loads(path.read_text()))
        except (json.JSONDecodeError, InputError) as error:
            raise FormatError(f"{path}: not the options of a run of this release: {error}") from None
        return cls(own.continued(given), folder, load_values(folder / LAST))

    def begin(self, step: int) -> list[Logger]:
        """Writes the options of a new run, and opens what is logged to.

        Args:
            step: From which step on rows are added.

        Raises:
            InputError: If what a logger needs is not installed.
        """
        loggers = other_loggers(self.options, self.folder)
        if self.saved is None and is_first_process():
            self.folder.mkdir(parents=True, exist_ok=True)
            written = json.dumps(to_plain(with_absolute_paths(self.options)), indent=2)
            atomic_write(self.folder / OPTIONS, written.encode())
        return [*loggers, MetricsCSV(self.folder / METRICS, step)]


def with_absolute_paths(options: AnyOptions) -> AnyOptions:
    """Options that mean the same in any folder, those of their groups included."""
    changed = {name: _resolved(getattr(options, name)) for name in hints_of(type(options))}
    return replace(options, **changed)  # type: ignore[type-var]


def _resolved(value: Any) -> Any:
    if isinstance(value, Path):
        return value.resolve()
    if isinstance(value, list):
        return [_resolved(one) for one in value]
    return with_absolute_paths(value) if isinstance(value, Options) else value


@contextmanager
def process_of_a_run(options: RunOptions) -> Iterator[None]:
    """Has this process be one that trains; a failure to write becomes one line.

    Raises:
        RunError: If something cannot be written.
    """
    quieten()
    hold_freed_memory()
    try:
        yield
    except OSError as error:
        raise RunError(f"{error.filename or options.out}: {error.strerror or error}") from None


@runtime_checkable
class StartsProcesses(Protocol):
    """A launcher of Lightning's that starts the processes of the other devices."""

    procs: list[subprocess.Popen[Any]]


@contextmanager
def together(launcher: Callable[[], object]) -> Iterator[None]:
    """While several processes train as one: all end with an error of this one, and this one waits for the others.

    Args:
        launcher: Tells which of Lightning's launchers started the others, if any; asked at the end.

    Raises:
        RunError: If one of them has failed.
    """
    try:
        yield
    except BaseException:
        for process in _started_by(launcher()):  # they would wait for this one
            process.kill()
        raise
    check_ended(_started_by(launcher()))


def _started_by(launcher: object) -> list[subprocess.Popen[Any]]:
    return launcher.procs if isinstance(launcher, StartsProcesses) else []


def status_of(command: str, folder: Path, interrupted: int | None) -> int:
    """The exit status of a run: 0, or over 128 after an interruption, which is told of."""
    if interrupted is None:
        return 0
    print(f"interrupted; strathack {command} --resume {folder} goes on", file=sys.stderr)
    return 128 + interrupted


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


def checked_device(options: RunOptions) -> str:
    """Lightning's name for where to train.

    Raises:
        InputError: If there is no such device, or not as many.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if options.device == "cuda" and not there:
        raise InputError("device: cuda was asked for, and PyTorch finds no GPU here")
    if options.device == "cpu" or not there:
        return "cpu"
    if options.devices > there:
        raise InputError(f"devices: {options.devices} GPUs were asked for, there are {there}")
    return "gpu"


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
