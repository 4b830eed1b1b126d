"""What happens beside training: checkpoints, the end of the budget, a progress line, a CSV file."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from strathack.dataset.signals import StopOnSignal
from strathack.models.saving import BEST, LAST


class Budget(pl.Callback):
    """Ends training after so many steps or so much time, validation included.

    Args:
        steps: Optimiser steps, or None.
        minutes: Minutes, those before an interruption included; or None.

    Attributes:
        seconds: Time spent until the end of the last batch.
    """

    def __init__(self, steps: int | None, minutes: float | None) -> None:
        self.steps, self.minutes = steps, minutes
        self.seconds = 0.0
        self._trainer: pl.Trainer | None = None
        self._since = time.monotonic()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Notes whose steps count."""
        self._trainer = trainer

    def __deepcopy__(self, memo: Any) -> Budget:
        """An average of the weights copies the module, which asks this one budget."""
        return self

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes the time; a run that was at its end takes no further step."""
        self._since = time.monotonic()
        if self.share_done() >= 1:
            trainer.should_stop = True

    def share_done(self) -> float:
        """Of the budget, 0 to 1."""
        step = self._trainer.global_step if self._trainer is not None else 0
        by_steps = step / self.steps if self.steps else 0.0
        return min(max(by_steps, self.seconds / 60 / self.minutes if self.minutes else 0.0), 1.0)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Ends training where the budget is spent; Lightning validates before it stops."""
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        if self.minutes and trainer.world_size > 1:
            # Rates and ends are to be the same everywhere, so one clock counts.
            self.seconds = trainer.strategy.broadcast(self.seconds)
        if self.share_done() >= 1:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """The time spent."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting."""
        self.seconds = state_dict["seconds"]


class Rows(pl.Callback):
    """Has the module log its rows; before checkpoints are saved, which keep what is not logged yet."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Mapping[str, Any], batch_idx: int
    ) -> None:
        """Ends a batch."""
        pl_module.end_batch(batch, batch_idx)


class InterruptedRun(Exception):  # noqa: N818  (nothing went wrong)
    """Training was asked to end, and its state is saved.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Checkpoints(pl.Callback):
    """Keeps the best checkpoint by validation action NLL, and the last: now and then, and before a signal is obeyed.

    Args:
        folder: Where.
        every: Optimiser steps between those of the last.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self.best = math.inf
        self._stop = StopOnSignal()
        self._saved_at = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals over from Lightning, whose handlers talk to other processes at any moment."""
        self._stop.__enter__()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Mapping[str, Any], batch_idx: int
    ) -> None:
        """Saves from time to time, before a validation, and before it ends a run that was asked to end.

        Raises:
            InterruptedRun: In every process, if one was asked to end.
        """
        if not pl_module.stepped(batch_idx):
            return  # Gradients that are not used yet are in no checkpoint.
        asked = trainer.strategy.reduce_boolean_decision(bool(self._stop), all=False)
        step = trainer.global_step
        before_validation = trainer.is_last_batch or trainer.should_stop
        if asked or ((before_validation or step % self.every == 0) and step != self._saved_at):
            self._save_last(trainer)
        if asked:
            raise InterruptedRun(self._stop.number or signal.SIGTERM)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Does not wait for the end of a validation; what is trained was saved before it.

        Raises:
            InterruptedRun: If this process was asked to end, and no other would wait for it.
        """
        if self._stop and trainer.world_size == 1:
            raise InterruptedRun(self._stop.number)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves the best."""
        value = float(trainer.callback_metrics.get("validation/action_nll", math.nan))
        if value < self.best:
            self.best = value
            trainer.save_checkpoint(self.folder / BEST)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves what the validation has changed."""
        self._save_last(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gives the signals back."""
        self._stop.__exit__()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Gives the signals back."""
        self.on_train_end(trainer, pl_module)

    def _save_last(self, trainer: pl.Trainer) -> None:
        self._saved_at = trainer.global_step
        trainer.save_checkpoint(self.folder / LAST)

    def state_dict(self) -> dict[str, Any]:
        """The best value."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from there."""
        self.best = state_dict["best"]


class TrainingProgress(pl.Callback):
    """A progress line on standard error: done, rate, what was measured, time left.

    Args:
        budget: Tells how much is done.
    """

    def __init__(self, budget: Budget) -> None:
        columns = (
            TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=12)),
            BarColumn(bar_width=5),
            TextColumn("{task.fields[told]}"),
        )
        self._budget = budget
        self._progress = Progress(*columns, console=Console(stderr=True), refresh_per_second=2)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Shows it."""
        self._task = self._progress.add_task("0 steps", total=1.0, told="")
        self._progress.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        """Moves it on."""
        done = self._budget.share_done()
        left = self._budget.seconds * (1 - done) / done if done else math.inf
        values = pl_module.shown
        told = [f"{clock_time(left)} left"] if left < math.inf else []
        if values:
            validated = pl_module.validated
            beside = f", validation {validated.action_nll:.3f}" if validated is not None else ""
            told.append(f"NLL {values['train/action_nll']:.3f}{beside}")
            told.append(f"{values['frames_per_second']:,.0f} frames/s")
        described = f"{trainer.global_step:,} steps"
        self._progress.update(self._task, completed=done, description=described, told=" · ".join(told))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ends it."""
        self._progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Ends it, so that the terminal is as it was."""
        self._progress.stop()


def clock_time(seconds: float) -> str:
    """Hours, minutes and seconds, 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
