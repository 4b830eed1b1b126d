"""How good labels are: how often they are right, by name, and whether they are as often right as they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from strathack.models.losses import nll_sum
from strathack.models.metrics import Confusion, Sums, counted

BINS = 10
"""Bins of the probability of the most probable name, for the calibration."""


@dataclass(frozen=True)
class LabelSums(Sums):
    """Sums over steps whose label is known.

    Attributes:
        nll: Sum of the negative log-likelihoods of the labels, nats.
        confusion: Steps by label (rows) and most probable name (columns), [names, names].
        bins: Steps, the sum of the most probable name's probability, and steps where that name is right, by that
            probability, [BINS, 3].
    """

    nll: Tensor
    confusion: Tensor
    bins: Tensor

    @classmethod
    def empty(cls, names: int, device: torch.device | None = None) -> LabelSums:
        """Returns sums of 0."""
        shapes = (), (names, names), (BINS, 3)
        return cls(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))


@torch.no_grad()
def label_sums(logits: Tensor, labels: Tensor) -> LabelSums:
    """Returns the sums of a batch.

    Args:
        logits: Unnormalised log-probabilities of the names, [..., names].
        labels: Indices of the names, i64 [...], below 0 where unknown.
    """
    names = logits.shape[-1]
    labels = labels.flatten()
    known = labels >= 0
    nll, _ = nll_sum(logits, labels)
    probability, guessed = logits.flatten(0, -2).float().softmax(-1).max(-1)
    confusion = counted(labels * names + guessed, known, names**2).view(names, names)
    bins = (probability * BINS).long().clamp(max=BINS - 1)
    sums = torch.zeros(BINS, 3, dtype=torch.float64, device=logits.device)
    each = torch.stack([torch.ones_like(probability), probability, (guessed == labels).float()], 1)
    sums.index_add_(0, bins, (each * known[:, None]).double())
    return LabelSums(nll.double(), confusion, sums)


@dataclass(frozen=True)
class NameResult:
    """A labeller's result on the steps of one name.

    Attributes:
        name: The name.
        steps: Steps that have it.
        recall: Share of these steps on which it is the most probable.
        precision: Share of the steps on which it is the most probable that have it; 0 if there are none.
    """

    name: str
    steps: int
    recall: float
    precision: float


@dataclass(frozen=True)
class LabelResult:
    """Means and shares computed from the sums.

    Attributes:
        steps: Steps whose label is known.
        nll: Mean negative log-likelihood of the labels, nats.
        accuracy: Share of steps whose most probable name is right.
        majority: Accuracy of always naming the most frequent.
        macro_recall: Mean recall over the names that occur; a constant scores 1 / their number.
        calibration_error: Expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", 2017):
            the mean distance, over bins of the most probable name's probability, of that probability from the share of
            steps where the name is right, weighted by steps.
        by_name: Results of each name that occurs, most frequent first.
        bins: For each bin of the probability: steps, mean probability, share of steps that are right.
        confusion: Steps by label and most probable name.
    """

    steps: int
    nll: float
    accuracy: float
    majority: float
    macro_recall: float
    calibration_error: float
    by_name: tuple[NameResult, ...]
    bins: tuple[tuple[float, float, float], ...]
    confusion: tuple[tuple[int, ...], ...]

    def scalars(self) -> dict[str, float]:
        """Returns the numbers by name, including ``recall/<name>``."""
        names = ("nll", "accuracy", "majority", "macro_recall", "calibration_error")
        values = {name: float(getattr(self, name)) for name in names}
        return values | {f"recall/{one.name}": one.recall for one in self.by_name}


def label_result(sums: LabelSums, names: Sequence[str]) -> LabelResult:
    """Computes means and shares from sums.

    Args:
        sums: The sums.
        names: The names, in order of their indices.
    """
    confusion, bins = Confusion(sums.confusion.cpu()), sums.bins.cpu()
    having, recall = confusion.steps, confusion.recall
    precision = confusion.right / confusion.counts.sum(0).clamp(min=1)
    steps = float(having.sum()) or math.nan  # without a step nothing is known
    rows = [
        NameResult(name, int(having[place]), float(recall[place]), float(precision[place]))
        for place, name in enumerate(names)
        if having[place]
    ]
    in_bin = bins[:, 0].clamp(min=1)
    confidence, share = bins[:, 1] / in_bin, bins[:, 2] / in_bin
    return LabelResult(
        steps=int(having.sum()),
        nll=float(sums.nll) / steps,
        accuracy=confusion.accuracy,
        majority=confusion.majority,
        macro_recall=confusion.macro_recall,
        calibration_error=float((bins[:, 0] * (confidence - share).abs()).sum()) / steps,
        by_name=tuple(sorted(rows, key=lambda row: -row.steps)),
        bins=tuple(zip(bins[:, 0].tolist(), confidence.tolist(), share.tolist(), strict=True)),
        confusion=confusion.rows(),
    )
