"""What every training run has: a folder, a device, loggers and, if asked for, several processes."""

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
from strathack.dataset.remote.addresses import address_of
from strathack.dataset.remote.stores import UnreachableError, pinned
from strathack.models.loggers import MetricsCSV, check_loggers, other_loggers
from strathack.models.options import AnyRunOptions, RunOptions
from strathack.models.places import LAST, is_published
from strathack.models.saving import load_values

OPTIONS, METRICS = "options.json", "metrics.csv"
"""Files in a run's folder beside its checkpoints: its options and its learning curves."""


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _LARGEST = -1, -3, 2**31 - 1
"""Parameters of mallopt(3), and the largest value that a parameter can have."""


AnyOptions = TypeVar("AnyOptions", bound=Options)


@dataclass(frozen=True)
class Run(Generic[AnyRunOptions]):
    """A new or a resumed run.

    Attributes:
        options: The run's options; those of a resumed run come from :meth:`RunOptions.continued`.
        folder: The run's folder.
        saved: The contents of the checkpoint that a resumed run continues from; None for a new run, and for one that
            was killed before it had saved any, which begins anew.
        is_extended: Whether a resumed run was given a new end.
    """

    options: AnyRunOptions
    folder: Path
    saved: Mapping[str, Any] | None = None
    is_extended: bool = False

    @classmethod
    def of(cls, given: AnyRunOptions) -> Run[AnyRunOptions]:
        """Returns the run that the options ask for, and writes nothing.

        Raises:
            InputError: If there is no run to resume, or the folder for a new run holds another run.
            FormatError: If the run to resume is not one of this release.
        """
        check_loggers(given)
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
        except (ValueError, InputError) as error:  # undecodable text is a ValueError, too
            raise FormatError(f"{path}: not the options of a run of this release: {error}") from None
        # What a process that was killed while it wrote leaves is hidden.
        begun = any(not path.name.startswith(".") for path in folder.glob("*.safetensors"))
        saved = load_values(folder / LAST) if begun else None
        extended = any(getattr(given, name) is not None for name in given.budget)
        return cls(own.continued(given), folder, saved, extended)

    def begin(self, step: int) -> list[Logger]:
        """Writes the options, of a resumed run with what was given anew, and opens the loggers.

        Args:
            step: Step after which the run adds rows.
        """
        loggers = other_loggers(self.options, self.folder)
        if is_first_process():
            self.folder.mkdir(parents=True, exist_ok=True)
            written = json.dumps(to_plain(with_absolute_paths(self.options)), indent=2)
            atomic_write(self.folder / OPTIONS, written.encode())
        return [*loggers, MetricsCSV(self.folder / METRICS, step)]


def with_absolute_paths(options: AnyOptions) -> AnyOptions:
    """Returns the options with absolute paths, also in their groups, so that they hold in any working directory."""
    changed = {name: _resolved(getattr(options, name)) for name in hints_of(type(options))}
    return replace(options, **changed)  # type: ignore[type-var]


def _resolved(value: Any) -> Any:
    if isinstance(value, Path):
        return value if is_published(value) else _pinned(value)
    if isinstance(value, list):
        return [_resolved(one) for one in value]
    return with_absolute_paths(value) if isinstance(value, Options) else value


def _pinned(path: Path) -> Path:
    """Returns an absolute path, or an address with its revision of now, by which a run that is resumed goes on."""
    address = address_of(path)
    if address is None:
        return path.resolve()
    try:
        return Path(pinned(address))
    except UnreachableError:  # what is in the cache may do
        return path


@contextmanager
def process_of_a_run(options: RunOptions) -> Iterator[None]:
    """Prepares this process for training; within the context, an OSError becomes a one-line RunError.

    Raises:
        RunError: If a file cannot be written.
    """
    quieten()
    hold_freed_memory()
    try:
        yield
    except OSError as error:
        raise RunError(f"{error.filename or options.folder}: {error.strerror or error}") from None


@runtime_checkable
class StartsProcesses(Protocol):
    """A Lightning launcher that starts the processes of the other devices."""

    procs: list[subprocess.Popen[Any]]


@contextmanager
def together(launcher: Callable[[], object]) -> Iterator[None]:
    """Context of training in several processes: kills the others on an error here; otherwise waits until they end.

    Args:
        launcher: Returns the Lightning launcher that started the other processes, if any; called at the end.

    Raises:
        RunError: If another process has failed, or does not end.
    """
    try:
        yield
    except BaseException:
        for process in _started_by(launcher()):  # otherwise they would wait for this process
            process.kill()
        raise
    check_ended(_started_by(launcher()))


def _started_by(launcher: object) -> list[subprocess.Popen[Any]]:
    return launcher.procs if isinstance(launcher, StartsProcesses) else []


def status_of(command: str, folder: Path, interrupted: int | None) -> int:
    """Returns the exit status of a run: 0, or 128 + the signal after an interruption, which is printed."""
    if interrupted is None:
        return 0
    print(f"interrupted; strathack {command} --resume {folder} goes on", file=sys.stderr)
    return 128 + interrupted


def is_first_process() -> bool:
    """Returns whether this is the first process, rather than one that Lightning or torchrun started beside it."""
    return not any(int(os.environ.get(name, 0)) for name in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK"))


def check_ended(processes: Sequence[subprocess.Popen[Any]], patience: float = 60.0) -> None:
    """Waits for the processes that were started beside this one.

    Args:
        processes: The processes, which are about to end.
        patience: Seconds to wait for each process.

    Raises:
        RunError: If a process has failed, or does not end in time.
    """
    for number, process in enumerate(processes, 1):
        try:
            status = process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            raise RunError(f"process {number} of {len(processes) + 1} did not end; it was killed") from None
        if status and status <= 128:  # above 128, a signal asked it to end, as it asked this process
            raise RunError(f"process {number} of {len(processes) + 1} failed (exit status {status}); see above")


def usable_gpus(device: str) -> int:
    """Returns how many GPUs there are for a device option: auto, cpu or cuda; 0 stands for the CPU.

    Raises:
        InputError: If cuda is asked for, and there is no GPU.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cuda" and not there:
        raise InputError("device: cuda was asked for, and PyTorch finds no GPU here")
    return 0 if device == "cpu" else there


def checked_device(options: RunOptions) -> str:
    """Returns Lightning's name for the device to train on.

    Raises:
        InputError: If there is no such device, or fewer than asked for.
    """
    there = usable_gpus(options.device)
    if not there:
        return "cpu"
    if options.devices > there:
        raise InputError(f"devices: {options.devices} GPUs were asked for, there are {there}")
    return "gpu"


def hold_freed_memory() -> None:
    """Makes this process keep freed memory for later allocations, where the C library supports it (glibc).

    By default blocks above some megabytes, such as activations, are returned to the system and requested again, which
    costs a page fault every 4 KiB: a third of a convolutional policy's update, more on virtual machines.
    """
    if sys.platform != "linux":
        return
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)


def quieten() -> None:
    """Hides Lightning's messages and warnings, which are for programmers, from the user's terminal."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning_fabric")
