"""What keeps a policy from forgetting: batches of demonstrations, and a frozen teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strathack.dataset import Dataset
from strathack.dataset.datamodule import DemonstrationBatches, OnePass, Position, StreamSpec
from strathack.dataset.devices import TensorBatch, allocate_for, on_device
from strathack.dataset.errors import InputError
from strathack.dataset.schedule import Share
from strathack.models.acting import without_draws
from strathack.models.cleaved import AnyConfig, AnyPolicy
from strathack.models.cores import State
from strathack.models.heads import PolicyOutput
from strathack.models.label_tables import LabelTables, check_observations, label_tables
from strathack.models.losses import CloningLoss, Targets, cloning_loss, inputs_of, targets_of
from strathack.models.metrics import Result, Tally, result_of, tally
from strathack.rl.acting.inference import joined
from strathack.rl.config import ImitationConfig
from strathack.rl.learning.batches import Batch

Averaged = Callable[[Tensor], Tensor]
"""Maps a tensor of this learner to its mean over all learners."""


@dataclass(frozen=True)
class Demos:
    """Demonstrations to clone, or to measure how much of a skill is kept.

    Attributes:
        dataset: The games.
        tables: Map the dataset's codes to the policy's indices.
    """

    dataset: Dataset
    tables: LabelTables

    @classmethod
    def at(cls, path: Path, policy: AnyConfig) -> Demos:
        """Opens the demonstrations of a dataset.

        Raises:
            InputError: If the demonstrations do not fit the policy.
        """
        dataset = Dataset([path])
        check_observations(policy.observations, dataset, path)
        return cls(dataset, label_tables(policy, dataset, path))

    def games(self, split: str) -> int:
        """Returns how many games of a split have steps."""
        return int((self.dataset.select(split=split).rows["steps"] > 0).sum())


class Demonstrations:
    """Streams the train split of a dataset without end; the policy's memory is carried from batch to batch.

    Args:
        dataset: The games.
        policy: The policy that the stream is for.
        tables: Map the dataset's codes to the policy's indices.
        config: The settings of the loss.
        steps: Steps of a batch.
        seed: Decides the order of games.
        share: This rank's part of the games.

    Attributes:
        position: How much was streamed so far.
    """

    def __init__(
        self,
        dataset: Dataset,
        policy: AnyConfig,
        tables: LabelTables,
        config: ImitationConfig,
        steps: int,
        seed: int,
        share: Share,
    ) -> None:
        self.config, self.tables = config, tables
        self.position = Position([0])
        self._spec = stream_of(dataset.select(split="train"), policy, tables, config.demos_lanes, steps)
        self._spec = replace(self._spec, options={**self._spec.options, "seed": seed, "epochs": None}, share=share)
        self._state: State | None = None
        self._source: Iterator[TensorBatch] | None = None
        self._batches: Iterator[TensorBatch] | None = None
        self._on: _TablesOn | None = None

    def loss(self, policy: AnyPolicy, device: torch.device, averaged: Averaged | None = None) -> CloningLoss:
        """Returns the cloning loss of the next batch.

        Args:
            policy: The policy that is trained.
            device: The device of the policy.
            averaged: See :func:`strathack.models.losses.cloning_loss`.
        """
        if self._batches is None or self._on is None:
            self._source = iter(DemonstrationBatches(self._spec, self.position, allocate_for(device)))
            self._batches = on_device(self._source, device)
            self._on = _TablesOn.of(self.tables, device)
        batch = next(self._batches)
        self.position.take(batch)
        state = self._state if self._state is not None else policy.initial_state(batch["first"].shape[1], device)
        output, after, targets = _targets_and_output(policy, batch, state, self._on)
        self._state = {name: value.detach() for name, value in after.items()}
        config = self.config
        return cloning_loss(output, targets, config.strategy_weight, None, config.head_weight, averaged)

    def state_dict(self) -> dict[str, Any]:
        """Returns the position of the stream, and the policy's memory of its games."""
        memory = None if self._state is None else {name: value.cpu() for name, value in self._state.items()}
        return {"position": self.position.state_dict(), "memory": memory}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continues from what :meth:`state_dict` returned."""
        self.position.load_state_dict(state["position"])
        memory = state["memory"]
        self._state = None if memory is None else {name: value.to(device) for name, value in memory.items()}

    def close(self) -> None:
        """Ends the stream."""
        if self._source is not None:
            self._source.close()  # type: ignore[attr-defined]


def stream_of(dataset: Dataset, policy: AnyConfig, tables: LabelTables, lanes: int, steps: int) -> StreamSpec:
    """Returns a stream of the arrays that a policy needs, one pass through the games."""
    columns = ("actions", *([tables.label] if tables.label else []))
    options = {"lanes": lanes, "steps": steps, "observations": policy.observations, "columns": columns}
    return StreamSpec(dataset, options=options)


@torch.no_grad()
def validation_nll(
    policy: AnyPolicy,
    demos: Demos,
    lanes: int,
    steps: int,
    device: torch.device,
    share: Share = Share(),
    summed: Callable[[Tensor], Tensor] | None = None,
) -> Result:
    """Measures how well a policy still predicts the demonstrations of a dataset's validation split.

    Args:
        policy: The policy, in evaluation mode.
        demos: The games.
        lanes: Games side by side.
        steps: Steps of a batch.
        device: Where the policy is.
        share: This learner's part of the games.
        summed: Maps a tensor to its sum over all learners; None for a single learner.
    """
    tables = demos.tables
    games = demos.dataset.select(split="validation")
    games = games.take(np.flatnonzero(games.rows["steps"])[share.index :: share.of])
    strategies = policy.config.strategies
    sums = Tally.empty(len(strategies)).to(device)
    if len(games):
        lanes = min(lanes, len(games))
        state, on = policy.initial_state(lanes, device), _TablesOn.of(tables, device)
        for batch in OnePass(stream_of(games, policy.config, tables, lanes, steps), device):
            output, state, targets = _targets_and_output(policy, batch, state, on)
            sums = sums + tally(without_draws(output, policy.config), targets)
    return result_of(sums if summed is None else Tally(*map(summed, sums.sums())), strategies)


@dataclass(frozen=True)
class _TablesOn:
    """:class:`strathack.models.label_tables.LabelTables` on a device."""

    actions: Tensor
    strategies: Tensor | None
    label: str | None

    @classmethod
    def of(cls, tables: LabelTables, device: torch.device) -> _TablesOn:
        strategies = None if tables.strategies is None else torch.from_numpy(tables.strategies).to(device)
        return cls(torch.from_numpy(tables.actions).to(device), strategies, tables.label)


def _targets_and_output(
    policy: AnyPolicy, batch: TensorBatch, state: State, tables: _TablesOn
) -> tuple[PolicyOutput, State, Targets]:
    targets = targets_of(batch, tables.actions, tables.strategies, tables.label)
    output, after = policy.unroll(inputs_of(batch, tables.actions), state, targets.strategies, batch["starts"])
    return output, after, targets


class Teacher:
    """A frozen policy that sees the games that are played, with a memory of its own for each env group.

    Args:
        policy: The policy.
    """

    def __init__(self, policy: AnyPolicy) -> None:
        self.policy = policy.eval().requires_grad_(False)
        self._states: dict[int, State] = {}

    @torch.no_grad()
    def outputs(self, batch: Batch) -> PolicyOutput:
        """Returns its outputs on the steps of a batch, [T, B, …]. Batches have to come in the order of play."""
        lanes = batch.actions.shape[1] // len(batch.groups)
        device = batch.actions.device
        states = [
            self.policy.initial_state(lanes, device) if begins or index not in self._states else self._states[index]
            for index, begins in batch.groups
        ]
        inputs = {name: value[:-1] for name, value in batch.inputs.items()}
        starts = [step for step in batch.starts if step < len(batch.actions)]
        output, after = self.policy.unroll(inputs, joined(states), starts=starts)
        output = without_draws(output, self.policy.config)
        for number, (index, _) in enumerate(batch.groups):
            own = slice(number * lanes, (number + 1) * lanes)
            self._states[index] = {name: value[own] for name, value in after.items()}
        return output


def check_teacher(teacher: AnyConfig, student: AnyConfig, path: Path) -> None:
    """Checks that a teacher can be compared with its student.

    Raises:
        InputError: If the teacher's actions or strategies differ from the student's.
    """
    if teacher.actions != student.actions:
        raise InputError(f"teacher: {path} has {len(teacher.actions)} actions, others than the policy's")
    if teacher.strategies and student.strategies and teacher.strategies != student.strategies:
        others = [name for name in (*teacher.strategies, *student.strategies)
                  if (name in teacher.strategies) != (name in student.strategies)]  # fmt: skip
        said = f"they differ in {', '.join(others)}" if others else "they are in another order"
        raise InputError(f"teacher: {path} has {len(teacher.strategies)} strategies, the policy has "
                         f"{len(student.strategies)}; {said}")  # fmt: skip
