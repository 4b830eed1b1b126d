"""Behavioural cloning as a LightningModule: memory carried from batch to batch, exact checkpoints, NaNs caught."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from strathack.dataset.devices import TensorBatch
from strathack.dataset.errors import InputError, RunError
from strathack.models.cleaved import AnyPolicy, in_training_mode
from strathack.models.cores import State
from strathack.models.heads import PolicyOutput
from strathack.models.label_tables import LabelTables
from strathack.models.losses import CloningLoss, Targets, cloning_loss, inputs_of, targets_of
from strathack.models.metrics import Result, Tally, result_of, tally
from strathack.models.numbers import ReadLater, skip_unless
from strathack.models.options import CloningOptions

VALIDATION_SEED = 0
"""Seed for policies that draw, so that validations are comparable."""

GAMES_NAMED = 8


def rate_at(step: int, done: float, warmup: int, final: float) -> float:
    """Returns the factor of the learning rate at a step: a linear rise, then a cosine.

    Args:
        step: Optimiser steps taken.
        done: Share of the whole training that is done, 0 to 1.
        warmup: Steps of the rise.
        final: The factor at the end.
    """
    rise = min((step + 1) / (warmup + 1), 1.0)
    return rise * (final + (1 - final) * (1 + math.cos(math.pi * min(done, 1.0))) / 2)


class CloningModule(pl.LightningModule):
    """Trains a policy on the unrolls of a :class:`strathack.dataset.datamodule.DemonstrationModule`.

    Args:
        policy: The policy.
        config: Options of the loss and the optimiser.
        tables: Tables from the dataset's codes to the policy's indices.
        share_done: Returns the share of the training that is done, 0 to 1.
        about: Plain values to save in checkpoints, which describe the training data.
        log_every: Optimiser steps between logged rows.
    """

    def __init__(
        self,
        policy: AnyPolicy,
        config: CloningOptions,
        tables: LabelTables,
        share_done: Callable[[], float],
        about: Mapping[str, Any] | None = None,
        log_every: int = 50,
    ) -> None:
        super().__init__()
        self.policy, self.config = policy, config
        self.label = tables.label
        self.about = dict(about or {})
        self.log_every = log_every
        self.frames = 0
        self.shown: dict[str, float] = {}
        self.trained: Result | None = None
        self.validated: Result | None = None
        self._share_done = share_done
        for name in ("actions", "strategies", "class_weights"):
            value = getattr(tables, name)
            self.register_buffer(name, None if value is None else torch.from_numpy(value), persistent=False)
        self._memories: dict[int, State] = {}
        self._validation_memories: dict[int, State] = {}
        self._rng: list[Tensor] | None = None
        self._tally = self._empty()
        self._validation_tally = self._empty()
        self._stopwatch = _Stopwatch()
        self._gradient_norm = torch.zeros(())
        self._last: _Taken | None = None

    def configure_optimizers(self) -> dict[str, Any]:
        """Returns AdamW, with a learning rate that rises and then falls as a cosine."""
        trained = [parameter for parameter in self.policy.parameters() if parameter.requires_grad]
        config = self.config
        optimizer = torch.optim.AdamW(trained, config.learning_rate, weight_decay=config.weight_decay, fused=True)

        def rate(step: int) -> float:
            return rate_at(step, self._share_done(), config.warmup, config.final_rate)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Starts the stopwatch."""
        self._stopwatch.start()

    def on_train_batch_start(self, batch: TensorBatch, batch_idx: int) -> None:
        """Measures the time waited for the batch, and restores the random states of a resumed run."""
        self._stopwatch.batch_came()
        if self._rng is not None:
            _set_rng_states(self._rng)
            self._rng = None

    def training_step(self, batch: TensorBatch, batch_idx: int) -> Tensor:
        """Returns the loss of one batch.

        Raises:
            RunError: If the batch before gave numbers that are not finite; its step did not change the weights.
        """
        assert in_training_mode(self.policy), "dropout, labels' heads and cuDNN's LSTMs depend on it"
        self._check_last()
        output, targets, loss = self._run(batch, self._memories)
        total, logits = loss.total.detach(), output.action_logits.detach()
        self._last = _Taken(self.trainer.global_step, batch, total, logits, torch.isfinite(total))
        self._tally = self._tally.to(self.device) + tally(output, targets)
        self.frames += batch["frames"] * self.trainer.world_size
        return loss.total

    def end_batch(self, batch: TensorBatch, batch_idx: int) -> None:
        """Logs a row every ``log_every`` optimiser steps.

        Raises:
            RunError: If the numbers that would be logged are not finite.
        """
        self._stopwatch.batch_done(batch["mask"].numel() * self.trainer.world_size)
        assert self._last is not None
        if self.trainer.world_size == 1 or self.stepped(batch_idx):
            self._last.is_finite = ReadLater(self._last.finite)
        step = self.trainer.global_step
        if step % self.log_every or not self.stepped(batch_idx):
            return
        self._check_last()
        result = result_of(self._summed(self._tally), self.policy.config.strategies)
        self._tally, self.trained = self._empty(), result
        speed, waiting = self._stopwatch.lap()
        self.shown = {
            **{f"train/{name}": value for name, value in result.scalars().items()},
            "frames": self.frames,
            "learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
            "gradient_norm": float(self._gradient_norm),
            "frames_per_second": speed,
            "waiting": waiting,
            "memory_mb": memory_mb(self.device),
        }
        self._log(self.shown, step)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clips the gradient; one that is not finite does not reach the weights, and the run stops a step later."""
        trained = [parameter for parameter in self.policy.parameters() if parameter.grad is not None]
        self._gradient_norm = torch.nn.utils.clip_grad_norm_(trained, self.config.clip)
        assert self._last is not None
        # Processes average their gradients before this, so all of them stop, and none waits for another.
        finite = torch.isfinite(self._gradient_norm)
        self._last.finite = finite & self._last.finite if self.trainer.world_size == 1 else finite
        skip_unless(self._last.finite, optimizer)

    def on_validation_epoch_start(self) -> None:
        """Clears the memories and sums of the validation."""
        self._validation_memories.clear()
        self._validation_tally = self._empty()

    def validation_step(self, batch: TensorBatch, batch_idx: int) -> None:
        """Adds one batch to the sums."""
        with _seeded(VALIDATION_SEED + batch_idx, self.device):
            output, targets, _ = self._run(batch, self._validation_memories)
        self._validation_tally = self._validation_tally.to(self.device) + tally(output, targets)

    def on_validation_epoch_end(self) -> None:
        """Logs the result of the validation."""
        self._validation_memories.clear()
        result = result_of(self._summed(self._validation_tally), self.policy.config.strategies)
        self.validated = result
        values = {f"validation/{name}": value for name, value in result.scalars().items()}
        self.log("validation/action_nll", result.action_nll, logger=False, rank_zero_only=False)
        self._log(values | {"frames": self.frames}, self.trainer.global_step)
        self._stopwatch.start()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the policy's configuration, the frames, and the memories, random states and sums of every process.

        Raises:
            RunError: If the last batch gave numbers that are not finite, which the memories would keep.
        """
        self._check_last()
        mine = {
            "memories": {
                stream: {name: value.cpu() for name, value in state.items()} for stream, state in self._memories.items()
            },
            "rng": _rng_states(self.device),
            "tally": self._tally.to(torch.device("cpu")).sums(),
        }
        checkpoint["policy"] = self.policy.config.to_values()
        checkpoint["about"] = self.about
        checkpoint["cloning"] = {"frames": self.frames, "processes": _of_all_processes(mine, self.trainer.world_size)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the state of a run.

        Raises:
            InputError: If the run had another number of processes.
        """
        saved = checkpoint["cloning"]
        processes = saved["processes"]
        if len(processes) != self.trainer.world_size:
            raise InputError(f"devices: the run had {len(processes)} processes, here are {self.trainer.world_size}")
        mine = processes[self.trainer.global_rank]
        self.frames = saved["frames"]
        self._memories = {
            stream: {name: value.to(self.device) for name, value in state.items()}
            for stream, state in mine["memories"].items()
        }
        self._tally = Tally(*mine["tally"])
        self._rng = mine["rng"]

    def _averaged(self, value: Tensor) -> Tensor:
        """Returns the mean over all processes."""
        averaged: Tensor = self.trainer.strategy.reduce(value.clone(), reduce_op="mean")
        return averaged

    def _run(self, batch: TensorBatch, memories: dict[int, State]) -> tuple[PolicyOutput, Targets, CloningLoss]:
        stream = int(batch["stream"])
        state = memories.get(stream)
        if state is None:
            state = self.policy.initial_state(batch["first"].shape[1], self.device)
        targets = targets_of(batch, self.actions, self.strategies, self.label)
        inputs = inputs_of(batch, self.actions)
        output, after = self.policy.unroll(inputs, state, targets.strategies, batch["starts"])
        memories[stream] = {name: value.detach() for name, value in after.items()}
        config = self.config
        # In validation, processes do not wait for each other, since their streams are of unequal length.
        averaged = self._averaged if self.training and self.trainer.world_size > 1 else None
        loss = cloning_loss(output, targets, config.strategy_weight, self.class_weights, config.head_weight, averaged)
        return output, targets, loss

    def _check_last(self) -> None:
        """Checks the numbers of the last batch, once.

        Raises:
            RunError: If the loss or the gradient is not finite; the message names the games of the batch.
        """
        last, self._last = self._last, None
        if last is None or last.is_finite is None or last.is_finite.read():
            return
        lanes = torch.ones_like(last.logits[0, :, 0], dtype=torch.bool)
        found = f"gradient: {self._gradient_norm.item()}"
        if not torch.isfinite(last.loss):
            wrong = ~torch.isfinite(last.logits).all(-1).all(0)
            found, lanes = f"loss: {last.loss.item()}", wrong if wrong.any() else lanes
        games = self._names_of(last.batch, lanes.cpu())
        raise RunError(f"{found} at step {last.step}, in {games}{_SAFE}")

    def _names_of(self, batch: TensorBatch, lanes: Tensor) -> str:
        """Returns the names of the games in some lanes of a batch."""
        places = batch["game"][batch["mask"].cpu() & lanes].unique().tolist()
        rows = self.trainer.datamodule.dataset.select(split="train").rows
        names = [rows["game"][place].decode() for place in places]
        return ", ".join(names[:GAMES_NAMED]) + f" and {len(names) - GAMES_NAMED} more" * (len(names) > GAMES_NAMED)

    def stepped(self, batch_idx: int) -> bool:
        """Returns whether the optimiser took a step with this batch."""
        return (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0

    def _empty(self) -> Tally:
        return Tally.empty(len(self.policy.config.strategies))

    def _summed(self, sums: Tally) -> Tally:
        """Returns the sums over all processes."""
        if self.trainer.world_size == 1:
            return sums
        return Tally(*(self.trainer.strategy.reduce(value.to(self.device), reduce_op="sum") for value in sums.sums()))

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for logger in self.trainer.loggers:
            logger.log_metrics(dict(values), step)


@dataclass
class _Taken:
    """A batch that was learned from, until its numbers are known to be finite.

    Attributes:
        step: Optimiser steps before it.
        batch: The batch.
        loss: Its loss.
        logits: The logits of its actions, [T, B, actions].
        finite: Whether loss and gradient are finite, on the device.
        is_finite: The same on its way to the host.
    """

    step: int
    batch: TensorBatch
    loss: Tensor
    logits: Tensor
    finite: Tensor
    is_finite: ReadLater | None = None


_SAFE = "; stopped, and the checkpoints written before are as they were"


class _Stopwatch:
    """Measures the speed of training, and the share of time spent waiting for batches."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self._began = self._idle_since = time.monotonic()
        self._waited, self._frames = 0.0, 0

    def batch_came(self) -> None:
        self._waited += time.monotonic() - self._idle_since

    def batch_done(self, frames: int) -> None:
        self._frames += frames
        self._idle_since = time.monotonic()

    def lap(self) -> tuple[float, float]:
        """Returns frames per second and the share of time spent waiting, both since the last lap."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        speed, waiting = self._frames / seconds, self._waited / seconds
        self.start()
        return speed, waiting


def memory_mb(device: torch.device) -> float:
    """Returns the peak memory use so far, in MB: the GPU's if training is on one, else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _rng_states(device: torch.device) -> list[Tensor]:
    """Returns the random state of the CPU and, if training is on one, of the GPU."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_rng_states(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0].cpu())
    if len(states) > 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state(states[1].cpu())


def _of_all_processes(value: Any, processes: int) -> list[Any]:
    if processes == 1:
        return [value]
    gathered: list[Any] = [None] * processes
    torch.distributed.all_gather_object(gathered, value)
    return gathered
