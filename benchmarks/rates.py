"""The speed of a training run, as its metrics.csv has it."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path


def frames_a_second(run: Path) -> float:
    """Returns the median of the rates of a run's rows after the first third, which are those of a run warmed up."""
    with (run / "metrics.csv").open() as file:
        rates = [float(row["frames_per_second"]) for row in csv.DictReader(file) if row["frames_per_second"]]
    return statistics.median(rates[len(rates) // 3 :])
