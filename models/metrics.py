"""Metrics of a cloned policy: sums over batches and processes, and the means and shares computed from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

from strathack.models.heads import PolicyOutput
from strathack.models.losses import Targets, nll_sum

TOP = 5


@dataclass(frozen=True)
class Sums:
    """Sums over batches and processes; subclasses have the fields, all of them tensors."""

    def __add__(self: AnySums, other: AnySums) -> AnySums:
        return type(self)(*(mine + its for mine, its in zip(self.sums(), other.sums(), strict=True)))

    def sums(self) -> list[Tensor]:
        """Returns all sums, in the order of the fields."""
        return [getattr(self, one.name) for one in fields(self)]

    def to(self: AnySums, device: torch.device) -> AnySums:
        """Returns the sums on another device."""
        return type(self)(*(value.to(device) for value in self.sums()))


AnySums = TypeVar("AnySums", bound=Sums)
AnyTally = TypeVar("AnyTally", bound="Tally")


@dataclass(frozen=True)
class Tally(Sums):
    """Sums over steps.

    Attributes:
        steps: Steps whose action is known.
        action_nll: Sum of the negative log-likelihoods of the actions, nats.
        correct: Steps whose most likely action is the one taken.
        top: Steps where the action taken is among the five most likely.
        strategy_nll: Sum of the negative log-likelihoods of the strategies.
        confusion: Steps by strategy pursued (rows) and most likely strategy (columns), [strategies, strategies].
        by_strategy: Steps by strategy pursued: all of them, and those that are ``correct``, [strategies, 2].
    """

    steps: Tensor
    action_nll: Tensor
    correct: Tensor
    top: Tensor
    strategy_nll: Tensor
    confusion: Tensor
    by_strategy: Tensor

    @classmethod
    def empty(cls: type[AnyTally], strategies: int, device: torch.device | None = None) -> AnyTally:
        """Returns sums of 0."""
        shapes = {"confusion": (strategies, strategies), "by_strategy": (strategies, 2)}
        return cls(
            **{
                one.name: torch.zeros(shapes.get(one.name, ()), dtype=torch.float64, device=device)
                for one in fields(cls)
            }
        )


@torch.no_grad()
def tally(output: PolicyOutput, targets: Targets) -> Tally:
    """Returns the sums of one batch.

    Args:
        output: A policy's outputs, [T, B, …].
        targets: The actions taken and the strategies pursued.
    """
    actions = targets.actions.flatten()
    logits = output.action_logits.flatten(0, -2).float()
    known = actions >= 0
    # Ties count against the policy; otherwise one with equal logits would always be right.
    rank = (logits >= logits.gather(1, actions.clamp(min=0)[:, None])).sum(1) - 1
    correct, top = (rank < 1) & known, (rank < TOP) & known
    strategies = 0 if output.strategy_logits is None else output.strategy_logits.shape[-1]
    sums = Tally.empty(strategies, logits.device)
    nll, steps = nll_sum(logits, actions)
    confusion, by_strategy, strategy_nll = sums.confusion, sums.by_strategy, sums.strategy_nll
    if output.strategy_logits is not None and targets.strategies is not None:
        pursued = targets.strategies.flatten()
        strategy_nll, _ = nll_sum(output.strategy_logits, pursued)
        guessed = output.strategy_logits.flatten(0, -2).argmax(1)
        confusion = counted(pursued * strategies + guessed, pursued >= 0, strategies**2).view(strategies, strategies)
        both = (pursued >= 0) & known
        by_strategy = torch.stack([counted(pursued, of, strategies) for of in (both, both & correct)], 1)
    return Tally(steps.double(), nll.double(), correct.sum().double(), top.sum().double(),
                 strategy_nll.double(), confusion, by_strategy)  # fmt: skip


def counted(indices: Tensor, mask: Tensor, size: int) -> Tensor:
    """Returns how often each index occurs, f64 [size]; never makes the host wait for a device.

    Args:
        indices: i64 [N], 0 to ``size − 1`` where ``mask`` is true.
        mask: Which of them count, bool [N].
        size: How many indices there are.
    """
    counts = torch.zeros(size, dtype=torch.float64, device=indices.device)
    return counts.index_add_(0, torch.where(mask, indices, 0), mask.double())


@dataclass(frozen=True)
class Confusion:
    """Steps by true name and most probable name, and shares of them; NaN without a step.

    Attributes:
        counts: f64 [names, names], on the CPU.
    """

    counts: Tensor

    @property
    def steps(self) -> Tensor:
        """Steps of each name, f64 [names]."""
        return self.counts.sum(1)

    @property
    def right(self) -> Tensor:
        """Steps of each name that are right, f64 [names]."""
        return self.counts.diagonal()

    @property
    def recall(self) -> Tensor:
        """Share of each name's steps that are right, f64 [names]; 0 for a name that does not occur."""
        return self.right / self.steps.clamp(min=1)

    @property
    def accuracy(self) -> float:
        """Share of all steps that are right."""
        return float(self.right.sum()) / (float(self.steps.sum()) or math.nan)

    @property
    def majority(self) -> float:
        """Accuracy of always saying the most frequent name."""
        return float(self.steps.max()) / (float(self.steps.sum()) or math.nan)

    @property
    def macro_recall(self) -> float:
        """Mean recall over the names that occur."""
        return float(self.recall[self.steps > 0].mean())

    def rows(self) -> tuple[tuple[int, ...], ...]:
        """Returns the counts as plain numbers."""
        return tuple(tuple(int(count) for count in row) for row in self.counts.tolist())


@dataclass(frozen=True)
class StrategyResult:
    """A policy's result on the steps of one strategy.

    Attributes:
        name: The strategy.
        steps: Steps on which it was pursued.
        recall: Share of these steps on which the policy finds this strategy most likely.
        accuracy: Share of these steps whose most likely action is the one taken.
    """

    name: str
    steps: int
    recall: float
    accuracy: float


@dataclass(frozen=True)
class Result:
    """Means and shares computed from the sums.

    Attributes:
        steps: Steps whose action is known.
        action_nll: Mean negative log-likelihood of the actions, nats.
        accuracy: Share of steps whose most likely action is the one taken.
        top5: Share of steps where the action taken is among the five most likely.
        strategy_nll: Mean negative log-likelihood of the strategies, nats; None without labels.
        strategy_accuracy: Share of labelled steps whose most likely strategy is the one pursued.
        majority: Strategy accuracy of always predicting the most frequent strategy.
        macro_recall: Mean recall over the strategies that occur; a constant prediction scores 1 / their number.
        by_strategy: Results of each strategy that occurs, most frequent first.
        confusion: Steps by strategy pursued and most likely strategy.
    """

    steps: int
    action_nll: float
    accuracy: float
    top5: float
    strategy_nll: float | None
    strategy_accuracy: float | None
    majority: float | None
    macro_recall: float | None
    by_strategy: tuple[StrategyResult, ...]
    confusion: tuple[tuple[int, ...], ...]

    def scalars(self) -> dict[str, float]:
        """Returns the numbers by name, including ``accuracy/<strategy>`` and ``recall/<strategy>``."""
        names = ("action_nll", "accuracy", "top5", "strategy_nll", "strategy_accuracy", "majority", "macro_recall")
        values = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        for one in self.by_strategy:
            values |= {f"accuracy/{one.name}": one.accuracy, f"recall/{one.name}": one.recall}
        return values


def result_of(sums: Tally, strategies: Sequence[str]) -> Result:
    """Computes means and shares from sums.

    Args:
        sums: The sums.
        strategies: Names of the strategies.
    """
    # Without a step nothing is known, and least of all that the policy is perfect.
    steps = float(sums.steps) or math.nan
    confusion = Confusion(sums.confusion.cpu())
    pursued, recall, labelled = confusion.steps, confusion.recall, float(confusion.steps.sum())
    counts, correct = sums.by_strategy.cpu().unbind(1)
    rows = [
        StrategyResult(
            name, int(pursued[place]), float(recall[place]), float(correct[place] / counts[place].clamp(min=1))
        )
        for place, name in enumerate(strategies)
        if pursued[place]
    ]
    return Result(
        steps=int(sums.steps),
        action_nll=float(sums.action_nll) / steps,
        accuracy=float(sums.correct) / steps,
        top5=float(sums.top) / steps,
        strategy_nll=float(sums.strategy_nll) / labelled if labelled else None,
        strategy_accuracy=confusion.accuracy if labelled else None,
        majority=confusion.majority if labelled else None,
        macro_recall=confusion.macro_recall if labelled else None,
        by_strategy=tuple(sorted(rows, key=lambda row: -row.steps)),
        confusion=confusion.rows(),
    )
