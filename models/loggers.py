"""Loggers of a run: a CSV file, and TensorBoard or Weights & Biases if asked for."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from strathack.dataset.errors import InputError
from strathack.dataset.files import atomic_write
from strathack.models.options import RunOptions


def check_loggers(options: RunOptions) -> None:
    """Checks that the loggers asked for are installed.

    Raises:
        InputError: If a package is missing.
    """
    for package, wanted in (("tensorboard", options.tensorboard), ("wandb", options.wandb is not None)):
        if wanted and importlib.util.find_spec(package) is None:
            raise InputError(f"{package}: the package is not installed; pip install {package}")


def other_loggers(options: RunOptions, folder: Path) -> list[Logger]:
    """Returns the loggers asked for, besides the CSV file; see :func:`check_loggers`.

    Args:
        options: The run's options.
        folder: The run's folder.
    """
    loggers: list[Logger] = []
    if options.tensorboard:
        loggers.append(pl.loggers.TensorBoardLogger(folder, name="", version="tensorboard"))
    if options.wandb is not None:
        loggers.append(pl.loggers.WandbLogger(project=options.wandb, save_dir=folder))
    return loggers


class MetricsCSV(Logger):
    """Writes rows to a CSV file; a resumed run appends to it, after dropping rows of steps that are taken again.

    Args:
        path: The file.
        step: Step after which this run adds rows.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        super().__init__()
        self._path = path
        self._rows: list[dict[str, str]] = []
        self._names: list[str] = []
        if path.exists() and not pl.utilities.rank_zero_only.rank:
            with path.open(newline="") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
            self._write()

    @property
    def name(self) -> str:
        """The logger's name, which Lightning requires."""
        return "csv"

    @property
    def version(self) -> str:
        """The logger's version, which Lightning requires."""
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing; the run's options are in a file of their own."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Adds a row to the file."""
        if pl.utilities.rank_zero_only.rank:
            return
        row = {"step": str(step)} | {
            name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in metrics.items()
        }
        self._rows.append(row)
        if set(row) <= set(self._names):
            with self._path.open("a", newline="") as file:
                csv.DictWriter(file, self._names, restval="").writerow(row)
        else:
            self._write()

    def _write(self) -> None:
        """Rewrites the whole file, for rows with new columns."""
        self._names = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._names, restval="")
        writer.writeheader()
        writer.writerows(self._rows)
        atomic_write(self._path, text.getvalue().encode())
