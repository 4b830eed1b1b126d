"""The loop of fine-tuning: take unrolls, learn from them, tell of it, save."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from pytorch_lightning.loggers import Logger

from strathack.dataset.errors import InputError, RunError
from strathack.dataset.schedule import Share
from strathack.models.cleaved import AnyPolicy
from strathack.models.saving import LAST, POLICY, save_values
from strathack.rl.batches import Batch, assembled
from strathack.rl.display import Display
from strathack.rl.imitation import kept_skill
from strathack.rl.learner import BadNumbersError, Learner, learning_thread
from strathack.rl.options import DEFAULT_FRAMES, FinetuneConfig
from strathack.rl.preparing import Demos, slices_in_batch, threads_of
from strathack.rl.progress import Counters
from strathack.rl.rewards import Rewards
from strathack.rl.rollouts import Clock, Rollouts, Unroll, shares


def bad_batch(rank: int, ranks: int) -> str:
    """The name of the batch that made a loss no number, for whoever wants to look into it; each learner has its own."""
    return f"bad-batch-{rank}.safetensors" if ranks > 1 else "bad-batch.safetensors"


class Run:
    """The loop: take unrolls, learn from them, tell of it, save.

    Args:
        config: The options.
        fabric: Devices and processes.
        policy: What is trained.
        learner: Trains it.
        rollouts: Plays with it.
        rewards: Scales rewards.
        counters: What was done so far.
        held_out: Tells what is kept of the cloned skill; None for nothing.
        loggers: Take rows.
        about: Plain values to keep in checkpoints.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        fabric: Fabric,
        policy: AnyPolicy,
        learner: Learner,
        rollouts: Rollouts,
        rewards: Rewards,
        counters: Counters,
        held_out: Demos | None,
        loggers: list[Logger],
        about: Mapping[str, Any],
    ) -> None:
        self.config, self.fabric, self.policy, self.learner = config, fabric, policy, learner
        self.rollouts, self.rewards, self.counters, self.held_out = rollouts, rewards, counters, held_out
        self.display = Display(counters, self.share_done, config.quiet or not fabric.is_global_zero)
        self._loggers, self._about = loggers, dict(about)
        self._held_over: list[Unroll] = []
        self._clock, self._lap = Clock(), time.monotonic()
        self._frames_at_lap = counters.frames

    def share_done(self) -> float:
        """Of the budget, 0 to 1."""
        config = self.config
        frames = config.frames or (DEFAULT_FRAMES if config.minutes is None else None)
        by_frames = self.counters.frames / frames if frames else 0.0
        by_minutes = self.counters.seconds / 60 / config.minutes if config.minutes else 0.0
        return min(max(by_frames, by_minutes), 1.0)

    def until_it_ends(self, asked: list[int]) -> int | None:
        """Learns until the budget is spent or a signal asks for the end.

        Args:
            asked: Signals that came so far; it may grow.

        Returns:
            The signal that was obeyed; None for none.

        Raises:
            RunError: If the loss is no number, or actors cannot go on.
        """
        with learning_thread(self.fabric.device, threads_of(self.config)) as learning:
            self.rollouts.start()
            return self._until_it_ends(asked, learning)

    def _until_it_ends(self, asked: list[int], learning: Executor) -> int | None:
        config, counters = self.config, self.counters
        interrupted = None
        if config.validate_every and not counters.updates:
            self._validate()
        while self.share_done() < 1 and interrupted is None:
            began = time.monotonic()
            with self._clock.measure("waiting"):
                unrolls = self._unrolls(asked)
            if unrolls is None:
                interrupted = asked[0]
                break
            with self._clock.measure("learning"):
                batch = assembled(unrolls, self.rewards, self.fabric.device)
                metrics = self._learn(batch, learning)
            self._count(batch, time.monotonic() - began)
            if counters.updates % config.log_every == 0:
                self._log({name: float(value) for name, value in metrics.items()})
            if config.validate_every and counters.updates % config.validate_every == 0:
                self._validate()
            if counters.updates % config.checkpoint_every == 0:
                self.save()
            if self._any(bool(asked)):
                interrupted = asked[0] if asked else signal.SIGTERM  # another process was asked
        if config.validate_every and counters.updates % config.validate_every and interrupted is None:
            self._validate()
        self.save()
        return interrupted

    def _unrolls(self, asked: list[int]) -> list[Unroll] | None:
        """As many as make a batch, of different slices; None if the end is asked for in the meantime."""
        wanted = slices_in_batch(self.config)
        # Of two unrolls of one slice the second has to wait: memories go from batch to batch.
        taken: dict[int, Unroll] = {}
        held_over, self._held_over = self._held_over, []
        while len(taken) < wanted:
            try:
                unroll = held_over.pop(0) if held_over else self.rollouts.get(timeout=0.2)
            except queue.Empty:
                if asked and self.fabric.world_size == 1:
                    return None
                self.display.update()
                continue
            if unroll.index in taken:
                self._held_over.append(unroll)
            else:
                taken[unroll.index] = unroll
        self._held_over += held_over
        return list(taken.values())

    def _learn(self, batch: Batch, learning: Executor) -> dict[str, torch.Tensor]:
        try:
            return learning.submit(self.learner.update, batch).result()
        except BadNumbersError as error:
            assert self.config.out is not None
            path = self.config.out / bad_batch(self.fabric.global_rank, self.fabric.world_size)
            save_values(path, {name: value for name, value in vars(error.batch).items() if name != "slices"})
            raise RunError(f"{error}; stopped. The batch is in {path}, {LAST} is as it was last saved") from None

    def _count(self, batch: Batch, seconds: float) -> None:
        counters = self.counters
        counters.updates = self.learner.updates
        counters.frames += int(self._summed(batch.frames))
        # Rates and ends are to be the same everywhere, so one clock counts.
        counters.seconds += seconds if self.fabric.world_size == 1 else self.fabric.broadcast(seconds)
        self.display.update()

    def _summed(self, value: float) -> float:
        """Over all processes."""
        if self.fabric.world_size == 1:
            return value
        return float(self.fabric.all_reduce(torch.tensor(float(value), device=self.fabric.device), reduce_op="sum"))

    def _any(self, value: bool) -> bool:
        return self._summed(float(value)) > 0

    def _log(self, metrics: Mapping[str, float]) -> None:
        now, counters = time.monotonic(), self.counters
        speed = (counters.frames - self._frames_at_lap) / max(now - self._lap, 1e-9)
        self._lap, self._frames_at_lap = now, counters.frames
        row = {
            "frames": counters.frames,
            "frames_per_second": speed,
            "seconds": counters.seconds,
            "games": counters.games,
            "actors_lost": counters.lost,
            **counters.recent(),
            **metrics,
            **{f"learner/{name}": share for name, share in shares(self._clock.seconds).items()},
            **{f"acting/{name}": share for name, share in shares(self.rollouts.clock.seconds).items()},
            "reward_scale": self.rewards.scale.value,
        }
        self.display.show(row)
        for logger in self._loggers:
            logger.log_metrics(row, counters.updates)

    def _validate(self) -> None:
        """Tells what is kept of the cloned skill. Every process goes through its part of the games."""
        if self.held_out is None:
            return
        self.policy.eval()
        config, fabric = self.config, self.fabric
        summed = None if fabric.world_size == 1 else lambda value: fabric.all_reduce(value, reduce_op="sum")
        result = kept_skill(
            self.policy, self.held_out.dataset, self.held_out.tables, config.imitation.demos_lanes, config.appo.unroll,
            fabric.device, Share(fabric.global_rank, fabric.world_size), summed,
        )  # fmt: skip
        self.policy.train()
        row = {f"validation/{name}": value for name, value in result.scalars().items()}
        self.counters.validation_nll = result.action_nll
        for logger in self._loggers:
            logger.log_metrics(row | {"frames": self.counters.frames}, self.counters.updates)
        self._lap, self._frames_at_lap = time.monotonic(), self.counters.frames

    def save(self) -> None:
        """Writes the checkpoint."""
        mine = {
            "demos": None if self.learner.demonstrations is None else self.learner.demonstrations.state_dict(),
            "rewards": self.rewards.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.fabric.device) if self.fabric.device.type == "cuda" else None,
            "counters": self.counters.to_values(),
        }
        everyone = [mine]
        if self.fabric.world_size > 1:
            everyone = [None] * self.fabric.world_size  # type: ignore[list-item]
            torch.distributed.all_gather_object(everyone, mine)
        if not self.fabric.is_global_zero:
            return
        assert self.config.out is not None
        weights = {f"{POLICY}{name}": value for name, value in self.policy.state_dict().items()}
        values = {
            "state_dict": weights,
            "policy": self.policy.config.to_values(),
            "about": self._about,
            "optimizer": self.learner.optimizer.state_dict(),
            "counters": self.counters.to_values(),
            "processes": everyone,
        }
        save_values(self.config.out / LAST, values)

    def load(self, saved: Mapping[str, Any]) -> None:
        """Goes to where a run was.

        Raises:
            InputError: If it had another number of processes.
        """
        processes = saved["processes"]
        if len(processes) != self.fabric.world_size:
            raise InputError(f"devices: the run had {len(processes)} processes, here are {self.fabric.world_size}")
        mine = processes[self.fabric.global_rank]
        self.learner.optimizer.load_state_dict(saved["optimizer"])
        self.learner.updates = self.counters.updates
        self.rewards.load_state_dict(mine["rewards"])
        if self.learner.demonstrations is not None:
            self.learner.demonstrations.load_state_dict(mine["demos"], self.fabric.device)
        torch.set_rng_state(mine["rng"].cpu())
        if mine["cuda_rng"] is not None and self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(mine["cuda_rng"].cpu(), self.fabric.device)


@contextmanager
def asked_to_end() -> Iterator[list[int]]:
    """Notes SIGTERM and Ctrl-C instead of obeying them at once; a second Ctrl-C does not wait."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
