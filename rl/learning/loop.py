"""The loop of fine-tuning: take unrolls, learn from them, log metrics, save."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager

import torch

from strathack.dataset.errors import RunError
from strathack.dataset.schedule import Share
from strathack.dataset.signals import StopOnSignal
from strathack.models.places import LAST
from strathack.models.saving import save_values
from strathack.rl.acting.rollouts import Stopwatch, Unroll, shares
from strathack.rl.learning.batches import Batch, assembled
from strathack.rl.learning.checkpoints import Finetuning, save_checkpoint
from strathack.rl.learning.display import Display
from strathack.rl.learning.imitation import validation_nll
from strathack.rl.learning.learner import BadNumbersError, learning_thread
from strathack.rl.options import DEFAULT_FRAMES


def bad_batch(rank: int, ranks: int) -> str:
    """Returns the file name for a batch whose loss was not finite, kept for inspection; each learner has its own."""
    return f"bad-batch-{rank}.safetensors" if ranks > 1 else "bad-batch.safetensors"


class FinetuningLoop:
    """The loop: take unrolls, learn from them, log metrics, save.

    Args:
        parts: The parts that the loop uses.
    """

    def __init__(self, parts: Finetuning) -> None:
        self.parts = parts
        self._config, self._counters = parts.run.options, parts.counters
        quiet = self._config.quiet or not parts.fabric.is_global_zero
        self._display = Display(parts.counters, self.share_done, quiet)
        self._held_over: list[Unroll] = []
        self._stopwatch = Stopwatch()
        self._lap = self._since = time.monotonic()
        self._frames_at_lap = parts.counters.frames

    def share_done(self) -> float:
        """Returns the share of the budget that is spent, 0 to 1."""
        config = self._config
        frames = config.frames or (DEFAULT_FRAMES if config.minutes is None else None)
        by_frames = self._counters.frames / frames if frames else 0.0
        by_minutes = self._counters.seconds / 60 / config.minutes if config.minutes else 0.0
        return min(max(by_frames, by_minutes), 1.0)

    def run(self, stop: StopOnSignal) -> int | None:
        """Learns until the budget is spent or a signal asks for the end.

        Args:
            stop: Notes signals.

        Returns:
            The signal that ended the loop; None if none did.

        Raises:
            RunError: If the loss is not finite, or the rollout workers cannot go on.
        """
        config, counters, parts = self._config, self._counters, self.parts
        interrupted = None
        with self._display, learning_thread(parts.fabric.device, parts.threads) as learning:
            parts.rollouts.start()
            self._since = time.monotonic()
            if config.validate_every and not counters.updates:
                self._validate()
            while self.share_done() < 1 and interrupted is None:
                with self._stopwatch.measure("waiting"):
                    unrolls = self._unrolls(stop)
                if unrolls is None:
                    interrupted = stop.number
                    break
                with self._stopwatch.measure("learning"):
                    batch = assembled(unrolls, parts.rewards, parts.fabric.device)
                    batch, apart = (batch, {}) if parts.progress is None else parts.progress.added(batch)
                    metrics = self._learn(batch, learning) | apart
                self._count(batch)
                logs, validates, saves = (
                    bool(every) and counters.updates % every == 0
                    for every in (config.log_every, config.validate_every, config.checkpoint_every)
                )
                if logs or validates or saves:
                    self._check()
                if logs:
                    self._log({name: float(value) for name, value in metrics.items()})
                if validates:
                    self._validate()
                if saves:
                    save_checkpoint(parts)
                if self._any(bool(stop)):
                    interrupted = stop.number or signal.SIGTERM  # another process got the signal
            self._check()
            if config.validate_every and counters.updates % config.validate_every and interrupted is None:
                self._validate()
            save_checkpoint(parts)
        return interrupted

    def _unrolls(self, stop: StopOnSignal) -> list[Unroll] | None:
        """Returns the unrolls of one batch, of different env groups; None if a signal asks for the end meanwhile."""
        wanted = self.parts.groups
        # A second unroll of an env group waits for the next batch, since memories go from batch to batch.
        taken: dict[int, Unroll] = {}
        held_over, self._held_over = self._held_over, []
        while len(taken) < wanted:
            try:
                unroll = held_over.pop(0) if held_over else self.parts.rollouts.get(timeout=0.2)
            except queue.Empty:
                if stop and self.parts.fabric.world_size == 1:
                    return None
                self._display.update()
                continue
            if unroll.index in taken:
                self._held_over.append(unroll)
            else:
                taken[unroll.index] = unroll
        self._held_over += held_over
        return list(taken.values())

    def _learn(self, batch: Batch, learning: Executor) -> dict[str, torch.Tensor]:
        with self._keeping_bad_batches():
            return learning.submit(self.parts.learner.update, batch).result()

    def _check(self) -> None:
        """Makes sure that the last update's numbers are finite, before anything of it is shown or saved.

        Raises:
            RunError: If they are not.
        """
        with self._keeping_bad_batches():
            self.parts.learner.check()

    @contextmanager
    def _keeping_bad_batches(self) -> Iterator[None]:
        try:
            yield
        except BadNumbersError as error:
            fabric = self.parts.fabric
            path = self.parts.run.folder / bad_batch(fabric.global_rank, fabric.world_size)
            save_values(path, {name: value for name, value in vars(error.batch).items() if name != "groups"})
            raise RunError(f"{error}; stopped. The batch is in {path}, {LAST} is as it was last saved") from None

    def _count(self, batch: Batch) -> None:
        counters = self._counters
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        counters.updates = self.parts.learner.updates
        counters.frames += int(self._summed(batch.frames))
        # Rates and the end have to be the same in all processes, so the seconds of one process count.
        counters.seconds += seconds if self.parts.fabric.world_size == 1 else self.parts.fabric.broadcast(seconds)
        self._display.update()

    def _summed(self, value: float) -> float:
        """Returns the sum of a value over all processes."""
        if self.parts.fabric.world_size == 1:
            return value
        # In 32 bits, sums above 2 ** 24 would be rounded.
        mine = torch.tensor(value, dtype=torch.float64, device=self.parts.fabric.device)
        return float(self.parts.fabric.all_reduce(mine, reduce_op="sum"))

    def _any(self, value: bool) -> bool:
        return self._summed(float(value)) > 0

    def _log(self, metrics: Mapping[str, float]) -> None:
        now, counters = time.monotonic(), self._counters
        speed = (counters.frames - self._frames_at_lap) / max(now - self._lap, 1e-9)
        self._lap, self._frames_at_lap = now, counters.frames
        row = {
            "frames": counters.frames,
            "frames_per_second": speed,
            "seconds": counters.seconds,
            # Each process plays its own games.
            "games": int(self._summed(counters.games)),
            "return/total": self._summed(counters.total_return),
            "workers_lost": int(self._summed(counters.lost)),
            **counters.recent(),
            **metrics,
            **{f"learner/{name}": share for name, share in shares(self._stopwatch.seconds).items()},
            **{f"acting/{name}": share for name, share in shares(self.parts.rollouts.stopwatch.seconds).items()},
            "reward_scale": self.parts.rewards.scale.value,
        }
        self._display.show(row)
        for logger in self.parts.loggers:
            logger.log_metrics(row, counters.updates)

    def _validate(self) -> None:
        """Measures how much of the cloned skill is kept; every process goes through its part of the games."""
        config, parts = self._config, self.parts
        if parts.held_out is None:
            return
        fabric, policy = parts.fabric, parts.policy
        policy.eval()
        summed = None if fabric.world_size == 1 else lambda value: fabric.all_reduce(value, reduce_op="sum")
        share = Share(fabric.global_rank, fabric.world_size)
        result = validation_nll(
            policy, parts.held_out, config.imitation.demos_lanes, config.appo.unroll, fabric.device, share, summed
        )
        policy.train()
        row = {f"validation/{name}": value for name, value in result.scalars().items()}
        self._counters.validation_nll = result.action_nll
        for logger in parts.loggers:
            logger.log_metrics(row | {"frames": self._counters.frames}, self._counters.updates)
        self._lap, self._frames_at_lap = time.monotonic(), self._counters.frames
