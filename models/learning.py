"""Learning from streams as a LightningModule: memory carried from batch to batch, exact checkpoints, NaNs caught."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from strathack.dataset.devices import TensorBatch
from strathack.dataset.errors import RunError
from strathack.models.cores import State
from strathack.models.metrics import Sums
from strathack.models.numbers import ReadLater, skip_unless
from strathack.models.options import OptimizerOptions
from strathack.models.processes import of_all, own_of, random_states, set_random_states
from strathack.models.saving import STATE, VALIDATED

VALIDATION_SEED = 0
"""Seed for models that draw, so that validations are comparable."""

GAMES_NAMED = 8


class Summary(Protocol):
    """Means and shares computed from the sums over some batches."""

    def scalars(self) -> dict[str, float]:
        """Returns the numbers by name."""
        ...


@dataclass(frozen=True)
class Learned:
    """What a batch gives.

    Attributes:
        loss: The loss, a scalar.
        scores: Outputs, [T, B, …], by which the lanes with numbers that are not finite are found.
        sums: What is summed over batches.
        memory: The memory after the batch; name → [B, …].
    """

    loss: Tensor
    scores: Tensor
    sums: Sums
    memory: State


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


class StreamModule(pl.LightningModule):
    """Learns from the unrolls of a :class:`strathack.dataset.datamodule.DemonstrationModule`.

    Subclasses have the model, and say what a batch gives.

    Args:
        config: Options of the optimiser.
        share_done: Returns the share of the training that is done, 0 to 1.
        about: Plain values to save in checkpoints, which describe the training data.
        log_every: Optimiser steps between logged rows.

    Attributes:
        frames: Frames learned from.
        shown: The last logged row.
        trained: The summary of the last logged row's batches.
        validated: The summary of the last validation.
    """

    network: ClassVar[str]
    """Name of the attribute that holds the network; in checkpoints, that of its configuration, and the prefix of its
    weights' names."""

    monitored: ClassVar[str]
    """The figure of a summary that tells which validation is the best; lower is better."""

    headline: ClassVar[str]
    """What the progress line calls that figure."""

    has_idle_parameters: ClassVar[bool] = False
    """Whether some of the parameters that are trained have no gradient in some steps."""

    keeps_best: ClassVar[bool] = True
    """Whether the checkpoint of the best validation is kept, to be used rather than the last one."""

    def __init__(
        self,
        config: OptimizerOptions,
        share_done: Callable[[], float],
        about: Mapping[str, Any] | None = None,
        log_every: int = 50,
    ) -> None:
        super().__init__()
        self.config = config
        self.about = dict(about or {})
        self.log_every = log_every
        self.frames = 0
        self.shown: dict[str, float] = {}
        self.trained: Any = None
        self.validated: Any = None
        self._validated_at = -1
        self._share_done = share_done
        self._memories: dict[int, State] = {}
        self._validation_memories: dict[int, State] = {}
        self._rng: list[Tensor] | None = None
        self._tally: Sums | None = None
        self._validation_tally: Sums | None = None
        self._stopwatch = _Stopwatch()
        self._gradient_norm = torch.zeros(())
        self._last: _Taken | None = None

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        raise NotImplementedError

    def initial_memory(self, lanes: int) -> State:
        """Returns the model's memory before a game: name → [B, …]."""
        raise NotImplementedError

    def learn(self, batch: TensorBatch, memory: State) -> Learned:
        """Returns what a batch gives.

        Args:
            batch: The batch.
            memory: The memory before it.
        """
        raise NotImplementedError

    def empty(self) -> Sums:
        """Returns sums of 0."""
        raise NotImplementedError

    def summary(self, sums: Any) -> Summary:
        """Computes means and shares from sums."""
        raise NotImplementedError

    def configure_optimizers(self) -> dict[str, Any]:
        """Returns AdamW, with a learning rate that rises and then falls as a cosine."""
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
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
            set_random_states(self._rng, self.device)
            self._rng = None

    def training_step(self, batch: TensorBatch, batch_idx: int) -> Tensor:
        """Returns the loss of one batch.

        Raises:
            RunError: If the batch before gave numbers that are not finite; its step did not change the weights.
        """
        self._check_last()
        learned = self._run(batch, self._memories)
        total = learned.loss.detach()
        self._last = _Taken(self.trainer.global_step, batch, total, learned.scores.detach(), torch.isfinite(total))
        self._tally = (self._tally or self.empty()).to(self.device) + learned.sums
        self.frames += batch["frames"] * self.trainer.world_size
        return learned.loss

    def after_step(self) -> None:
        """Called after each step of the optimiser."""

    def end_batch(self, batch: TensorBatch, batch_idx: int) -> None:
        """Ends a batch: :meth:`after_step`, if the optimiser took a step, and a logged row every ``log_every`` steps.

        Raises:
            RunError: If the numbers that would be logged are not finite.
        """
        if self.stepped(batch_idx):
            self.after_step()
        self._stopwatch.batch_done(batch["mask"].numel() * self.trainer.world_size)
        assert self._last is not None
        if self.trainer.world_size == 1 or self.stepped(batch_idx):
            self._last.is_finite = ReadLater(self._last.finite)
        step = self.trainer.global_step
        if step % self.log_every or not self.stepped(batch_idx):
            return
        self._check_last()
        assert self._tally is not None
        result = self.summary(self._summed(self._tally))
        self._tally, self.trained = None, result
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
        trained = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        self._gradient_norm = torch.nn.utils.clip_grad_norm_(trained, self.config.clip)
        assert self._last is not None
        # Processes average their gradients before this, so all of them stop, and none waits for another.
        finite = torch.isfinite(self._gradient_norm)
        self._last.finite = finite & self._last.finite if self.trainer.world_size == 1 else finite
        skip_unless(self._last.finite, optimizer)

    def on_validation_epoch_start(self) -> None:
        """Clears the memories and sums of the validation."""
        self._validation_memories.clear()
        self._validation_tally = None

    def validation_step(self, batch: TensorBatch, batch_idx: int) -> None:
        """Adds one batch to the sums."""
        with _seeded(VALIDATION_SEED + batch_idx, self.device):
            learned = self._run(batch, self._validation_memories)
        self._validation_tally = (self._validation_tally or self.empty()).to(self.device) + learned.sums

    def on_validation_epoch_end(self) -> None:
        """Logs the result of the validation."""
        self._validation_memories.clear()
        result = self.summary(self._summed(self._validation_tally or self.empty()))
        self.validated, self._validated_at = result, self.trainer.global_step
        values = {f"validation/{name}": value for name, value in result.scalars().items()}
        name = f"validation/{self.monitored}"
        self.log(name, values[name], logger=False, rank_zero_only=False)
        self._log(values | {"frames": self.frames}, self.trainer.global_step)
        self._stopwatch.start()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the network's configuration, the frames, the validation of these weights, and every process's state.

        Raises:
            RunError: If the last batch gave numbers that are not finite, which the memories would keep.
        """
        self._check_last()
        mine = {
            "memories": {
                stream: {name: value.cpu() for name, value in state.items()} for stream, state in self._memories.items()
            },
            "rng": self._rng or random_states(self.device),  # those of a resumed run that has not gone on yet
            "tally": (self._tally or self.empty()).to(torch.device("cpu")).sums(),
        }
        checkpoint["about"] = self.about
        checkpoint[self.network] = getattr(self, self.network).config.to_values()
        if self.is_validated and self.validated is not None:
            checkpoint[VALIDATED] = asdict(self.validated)
        checkpoint[STATE] = {"frames": self.frames, "processes": of_all(mine, self.trainer.world_size)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the state of a run.

        Raises:
            InputError: If the run had another number of processes.
        """
        saved = checkpoint[STATE]
        mine = own_of(saved["processes"], self.trainer.global_rank, self.trainer.world_size)
        self.frames = saved["frames"]
        self._memories = {
            stream: {name: value.to(self.device) for name, value in state.items()}
            for stream, state in mine["memories"].items()
        }
        self._tally = type(self.empty())(*mine["tally"])
        self._rng = mine["rng"]
        if VALIDATED in checkpoint:
            self._validated_at = checkpoint["global_step"]

    @property
    def is_validated(self) -> bool:
        """Whether the weights were validated as they are."""
        return self._validated_at == self.trainer.global_step

    def averaged(self, value: Tensor) -> Tensor:
        """Returns the mean over all processes."""
        averaged: Tensor = self.trainer.strategy.reduce(value.clone(), reduce_op="mean")
        return averaged

    def _run(self, batch: TensorBatch, memories: dict[int, State]) -> Learned:
        stream = int(batch["stream"])
        memory = memories.get(stream)
        learned = self.learn(batch, self.initial_memory(batch["first"].shape[1]) if memory is None else memory)
        memories[stream] = {name: value.detach() for name, value in learned.memory.items()}
        return learned

    def _check_last(self) -> None:
        """Checks the numbers of the last batch, once.

        Raises:
            RunError: If the loss or the gradient is not finite; the message names the games of the batch.
        """
        last, self._last = self._last, None
        if last is None or last.is_finite is None or last.is_finite.read():
            return
        scores = last.scores.flatten(2)
        lanes = torch.ones_like(scores[0, :, 0], dtype=torch.bool)
        found = f"gradient: {self._gradient_norm.item()}"
        if not torch.isfinite(last.loss):
            wrong = ~torch.isfinite(scores).all(-1).all(0)
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

    def _summed(self, sums: Sums) -> Sums:
        """Returns the sums over all processes."""
        if self.trainer.world_size == 1:
            return sums
        return type(sums)(
            *(self.trainer.strategy.reduce(value.to(self.device), reduce_op="sum") for value in sums.sums())
        )

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
        scores: The outputs of :class:`Learned`.
        finite: Whether loss and gradient are finite, on the device.
        is_finite: The same on its way to the host.
    """

    step: int
    batch: TensorBatch
    loss: Tensor
    scores: Tensor
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
