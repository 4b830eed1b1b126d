"""Lightning callbacks: the budget that ends training, logged rows, checkpoints and a progress line."""

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
from torch.optim.swa_utils import get_ema_multi_avg_fn

from strathack.dataset.signals import StopOnSignal
from strathack.models.places import BEST, LAST


class Budget(pl.Callback):
    """Ends training after a number of steps or minutes; time spent on validation counts.

    Args:
        steps: Optimiser steps; None for no limit.
        minutes: Minutes, including those before an interruption; None for no limit.

    Attributes:
        seconds: Seconds spent until the end of the last batch.
    """

    def __init__(self, steps: int | None, minutes: float | None) -> None:
        self.steps, self.minutes = steps, minutes
        self.seconds = 0.0
        self._trainer: pl.Trainer | None = None
        self._since = time.monotonic()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Stores the trainer, whose optimiser steps count."""
        self._trainer = trainer

    def __deepcopy__(self, memo: Any) -> Budget:
        """Returns this budget itself: weight averaging copies the module, and the copy must use the same budget."""
        return self

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts timing; a run whose budget is already spent takes no further step."""
        self._since = time.monotonic()
        if self.share_done() >= 1:
            trainer.should_stop = True

    def share_done(self) -> float:
        """Returns the share of the budget that is spent, 0 to 1."""
        step = self._trainer.global_step if self._trainer is not None else 0
        by_steps = step / self.steps if self.steps else 0.0
        return min(max(by_steps, self.seconds / 60 / self.minutes if self.minutes else 0.0), 1.0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Mapping[str, Any], batch_idx: int
    ) -> None:
        """Ends training once the budget is spent; Lightning validates before it stops."""
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        if self.minutes and trainer.world_size > 1:
            # Learning rate and end must be the same in all processes, so only one process's time counts.
            self.seconds = trainer.strategy.broadcast(self.seconds)
        # Checkpoints do not hold accumulated gradients.
        if self.share_done() >= 1 and pl_module.stepped(batch_idx):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Returns the time spent."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the time spent."""
        self.seconds = state_dict["seconds"]


class EndOfBatch(pl.Callback):
    """Lets the module end each batch, before a checkpoint is saved with what is not done or logged yet."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Mapping[str, Any], batch_idx: int
    ) -> None:
        """Calls the module's ``end_batch``."""
        pl_module.end_batch(batch, batch_idx)


class MovingAverage(pl.callbacks.WeightAveraging):
    """Averages the weights exponentially, all in one fused call, and validates and saves the average in their place.

    Args:
        decay: The share of the average that is kept at each step.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keeps the count of averaged steps on the host, which reads it at every step."""
        super().on_train_start(trainer, pl_module)
        assert self._average_model is not None
        self._average_model.n_averaged = self._average_model.n_averaged.cpu()


class EarlyStop(pl.callbacks.EarlyStopping):
    """Ends training after some validations without improvement; a run that has ended so stays at its end.

    Args:
        monitored: The figure that is to fall.
        patience: Validations without improvement.
        goes_on: Whether a run that has ended so goes on, since a new end was given.
    """

    wait_count: int

    def __init__(self, monitored: str, patience: int, *, goes_on: bool) -> None:
        # At the end of a validation, and so before the checkpoint that is saved after it.
        super().__init__(monitored, patience=patience, check_finite=False, check_on_train_epoch_end=False)
        self._goes_on = goes_on

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lets a run that has ended take no further step, or counts anew if it goes on."""
        if self.wait_count < self.patience:
            return
        if self._goes_on:
            self.wait_count = 0
        else:
            trainer.should_stop = True

    @property
    def state_key(self) -> str:
        """The name in checkpoints, which is Lightning's own."""
        return super().state_key.replace(type(self).__qualname__, "EarlyStopping", 1)


class InterruptedRun(Exception):  # noqa: N818  (nothing went wrong)
    """A signal asked training to end, and the state of training is saved.

    Args:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Checkpoints(pl.Callback):
    """Saves the best checkpoint by the validation; and the last one, at intervals and when a signal arrives.

    Args:
        folder: Folder for the checkpoints.
        every: Optimiser steps between saves of the last checkpoint.
        validate_every: Optimiser steps between validations.
        keep_every: Optimiser steps between checkpoints that are kept; 0 keeps none.
    """

    def __init__(self, folder: Path, every: int, validate_every: int, keep_every: int = 0) -> None:
        self.folder, self.every, self.validate_every, self.keep_every = folder, every, validate_every, keep_every
        self.best = math.inf
        self._stop = StopOnSignal()
        self._saved_at = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Replaces Lightning's signal handlers, which communicate with other processes at any moment.

        A run that was interrupted in a validation, or before it, is validated now.
        """
        self._stop.__enter__()
        step = trainer.global_step
        due = trainer.should_stop or (step > 0 and step % self.validate_every == 0)
        if due and not pl_module.is_validated:
            # As Lightning itself does between two steps.
            trainer.validating = True
            validation = trainer.fit_loop.epoch_loop.val_loop
            validation.restarting = False  # or it would go on with the counts of the validation before
            validation.run()
            trainer.training = True
            self._save_last(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Mapping[str, Any], batch_idx: int
    ) -> None:
        """Saves the last checkpoint at intervals, before a validation, and before ending an interrupted run.

        Raises:
            InterruptedRun: In every process, if one of them received a signal.
        """
        if not pl_module.stepped(batch_idx):
            return  # Checkpoints do not hold accumulated gradients.
        asked = trainer.strategy.reduce_boolean_decision(bool(self._stop), all=False)
        step = trainer.global_step
        before_validation = trainer.is_last_batch or trainer.should_stop
        if asked or ((before_validation or step % self.every == 0) and step != self._saved_at):
            self._save_last(trainer)
        if self.keep_every and step % self.keep_every == 0:
            self._save_network(trainer, pl_module, f"step-{step}.safetensors")
        if asked:
            raise InterruptedRun(self._stop.number or signal.SIGTERM)

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Interrupts a validation at once; the state of training was saved before it.

        Raises:
            InterruptedRun: If this process received a signal, and there is no other process that would wait for it.
        """
        if self._stop and trainer.world_size == 1:
            raise InterruptedRun(self._stop.number)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Saves the best checkpoint, if the validation improved on it."""
        value = float(trainer.callback_metrics.get(f"validation/{pl_module.monitored}", math.nan))
        if value < self.best and pl_module.keeps_best:
            self.best = value
            self._save_network(trainer, pl_module, BEST)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves the last checkpoint again, with what the validation has changed."""
        self._save_last(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restores the signal handlers."""
        self._stop.__exit__()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Restores the signal handlers."""
        self.on_train_end(trainer, pl_module)

    def _save_last(self, trainer: pl.Trainer) -> None:
        self._saved_at = trainer.global_step
        trainer.save_checkpoint(self.folder / LAST)

    def _save_network(self, trainer: pl.Trainer, pl_module: Any, name: str) -> None:
        """Saves the network alone: nothing resumes from it."""
        trainer.save_checkpoint(self.folder / name, storage_options=pl_module.network)

    def state_dict(self) -> dict[str, Any]:
        """Returns the best value."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the best value."""
        self.best = state_dict["best"]


class TrainingProgress(pl.Callback):
    """A progress line on standard error: steps, share done, time left, loss and frames per second.

    Args:
        budget: The budget, which gives the share done.
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
        """Shows the line."""
        self._task = self._progress.add_task("0 steps", total=1.0, told="")
        self._progress.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        """Updates the line."""
        done = self._budget.share_done()
        left = self._budget.seconds * (1 - done) / done if done else math.inf
        values = pl_module.shown
        told = [f"{clock_time(left)} left"] if left < math.inf else []
        if values:
            validated = pl_module.validated
            figure = pl_module.monitored
            beside = f", validation {validated.scalars()[figure]:.3f}" if validated is not None else ""
            told.append(f"{pl_module.headline} {values[f'train/{figure}']:.3f}{beside}")
            told.append(f"{values['frames_per_second']:,.0f} frames/s")
        described = f"{trainer.global_step:,} steps"
        self._progress.update(self._task, completed=done, description=described, told=" · ".join(told))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the line."""
        self._progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Stops the line, which restores the terminal."""
        self._progress.stop()


def clock_time(seconds: float) -> str:
    """Formats seconds as hours, minutes and seconds: 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
