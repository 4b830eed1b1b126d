"""Pre-trains an encoder and a model of progress on streams of recorded screens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from strathack.dataset.devices import TensorBatch
from strathack.dataset.errors import InputError
from strathack.dataset.options import given
from strathack.models.cores import State
from strathack.models.fitting import Ended, Fit, beginning_of, budget_of, fit_of, learned, streamed
from strathack.models.label_tables import check_observations
from strathack.models.learning import Learned, StreamModule
from strathack.models.metrics import Sums
from strathack.models.presets import preset
from strathack.models.pretraining.losses import info_nce, progress_loss, signed_log_time
from strathack.models.pretraining.networks import (
    BESIDE_THE_SCREEN,
    PRETRAINED,
    Pretrained,
    PretrainedConfig,
    screen_alone,
)
from strathack.models.pretraining.options import PretrainConfig
from strathack.models.pretraining.pairs import History, Places, candidates_of, far_pairs, later_pairs, places_of
from strathack.models.running import Run


@dataclass(frozen=True)
class PretrainingSums(Sums):
    """Sums over pairs of frames.

    Attributes:
        pairs: Pairs of the encoder.
        nll: Sum of their cross-entropies, nats.
        right: Pairs whose later frame is the most similar one.
        chance: Sum of the probabilities of finding them by a guess.
        far: Pairs of the model of progress, each in both directions.
        error: Sum of their squared errors.
        signs: Pairs whose order the model says rightly.
        squares: Sum of the squares of what it is to say.
    """

    pairs: Tensor
    nll: Tensor
    right: Tensor
    chance: Tensor
    far: Tensor
    error: Tensor
    signs: Tensor
    squares: Tensor

    @classmethod
    def empty(cls, device: torch.device | None = None) -> PretrainingSums:
        """Returns sums of 0."""
        return cls(*(torch.zeros((), dtype=torch.float64, device=device) for _ in range(8)))


@dataclass(frozen=True)
class PretrainingResult:
    """Means over pairs of frames.

    Attributes:
        loss: The sum of ``nll`` and ``squared_error``, as far as there are any.
        nll: Mean cross-entropy of the right later frame, nats; None without an encoder.
        accuracy: Share of pairs whose later frame is the most similar one; None without an encoder.
        chance: The accuracy of a guess; None without an encoder.
        squared_error: Mean squared error of the model of progress; None without one.
        explained: Share of the variance that the model of progress explains; None without one.
        order: Share of pairs whose order it says rightly; None without one.
    """

    loss: float
    nll: float | None
    accuracy: float | None
    chance: float | None
    squared_error: float | None
    explained: float | None
    order: float | None

    def scalars(self) -> dict[str, float]:
        """Returns the numbers by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


def result_of(sums: PretrainingSums) -> PretrainingResult:
    """Computes means from sums."""
    values = {name: float(value) for name, value in vars(sums).items()}
    nll = values["nll"] / values["pairs"] if values["pairs"] else None
    error = values["error"] / values["far"] if values["far"] else None
    known = [value for value in (nll, error) if value is not None]
    return PretrainingResult(
        loss=sum(known) if known else math.nan,
        nll=nll,
        accuracy=None if nll is None else values["right"] / values["pairs"],
        chance=None if nll is None else values["chance"] / values["pairs"],
        squared_error=error,
        # Each pair counts in both directions, so that the mean of what is to be said is zero.
        explained=None if error is None else 1 - values["error"] / max(values["squares"], 1e-9),
        order=None if error is None else values["signs"] / values["far"],
    )


class PretrainingModule(StreamModule):
    """Learns from pairs of frames.

    Args:
        networks: What is trained.
        config: The options.
        share_done: Returns the share of the training that is done, 0 to 1.
        about: Plain values to save in checkpoints, which describe the training data.
        log_every: Optimiser steps between logged rows.
    """

    network = PRETRAINED
    monitored = "loss"
    headline = "loss"
    config: PretrainConfig
    validated: PretrainingResult | None

    def __init__(
        self,
        networks: Pretrained,
        config: PretrainConfig,
        share_done: Callable[[], float],
        about: Mapping[str, Any] | None = None,
        log_every: int = 50,
    ) -> None:
        super().__init__(config, share_done, about, log_every)
        self.pretrained = networks
        slots = -(-config.longest // config.unroll) if networks.progress is not None else 0
        self.history = History(networks.config.observations, slots)

    @property
    def model(self) -> Pretrained:
        """What is trained."""
        return self.pretrained

    def initial_memory(self, lanes: int) -> State:
        """See :meth:`StreamModule.initial_memory`: earlier frames of each lane's game, and how old it is."""
        return self.history.empty(lanes, self.device)

    def learn(self, batch: TensorBatch, memory: State) -> Learned:
        """See :meth:`StreamModule.learn`."""
        first, mask = batch["first"].bool(), batch["mask"]
        places = places_of(first, mask, memory["age"])
        sums = vars(PretrainingSums.empty(mask.device))
        loss = torch.zeros((), device=mask.device)
        if self.pretrained.contrastive is not None:
            part, own = self._compare(batch, mask, places)
            loss, sums = loss + part, sums | own
        after: State = {"age": places.age[-1] + 1}
        if self.pretrained.progress is not None:
            part, own = self._measure_progress(batch, mask, places, memory)
            loss, sums = loss + part, sums | own
            after = self.history.after(memory, batch, first, places)
        scores = loss.detach().expand(*mask.shape, 1)
        totals = PretrainingSums(**{name: value.detach().double() for name, value in sums.items()})
        return Learned(loss, scores, totals, after)

    def _compare(self, batch: TensorBatch, mask: Tensor, places: Places) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the encoder's loss and its sums."""
        assert self.pretrained.contrastive is not None
        pairs = later_pairs(places, mask, self.config.pairs, self.config.continuation)
        steps, lanes = torch.cat([pairs.first, pairs.second]), pairs.lane.repeat(2)
        vectors = self.pretrained.contrastive({key: batch[key][steps, lanes] for key in self.history.keys})
        anchors, later = vectors.chunk(2)
        candidates = candidates_of(pairs)
        nll, right = info_nce(anchors, later, self.config.temperature, candidates)
        known, count = pairs.known, pairs.known.sum()
        total, chance = (nll * known).sum(), (known / candidates.sum(1)).sum()
        own = {"pairs": count, "nll": total, "right": (right & known).sum(), "chance": chance}
        return total / count.clamp(min=1), own

    def _measure_progress(
        self, batch: TensorBatch, mask: Tensor, places: Places, memory: State
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of the model of progress and its sums."""
        progress, config = self.pretrained.progress, self.config
        assert progress is not None
        pairs = far_pairs(places, mask, memory["history_age"], config.pairs, config.longest)
        earlier = self.history.frames(memory, batch, pairs)
        both = {key: torch.cat([earlier[key], batch[key][pairs.step, pairs.lane]]) for key in self.history.keys}
        one, other = progress.encode(both).chunk(2)
        # Each pair in both directions, so that neither is the more frequent one.
        said = torch.cat([progress.between(one, other), progress.between(other, one)])
        distance = torch.cat([pairs.distance, -pairs.distance])
        known = pairs.known.repeat(2)
        errors, target = progress_loss(said, distance), signed_log_time(distance)
        count, total = known.sum(), (errors * known).sum()
        own = {
            "far": count,
            "error": total,
            "signs": ((said * target > 0) & known).sum(),
            "squares": (target**2 * known).sum(),
        }
        return total / count.clamp(min=1), own

    def empty(self) -> PretrainingSums:
        """See :meth:`StreamModule.empty`."""
        return PretrainingSums.empty()

    def summary(self, sums: PretrainingSums) -> PretrainingResult:
        """See :meth:`StreamModule.summary`."""
        return result_of(sums)


def pretrain(options: PretrainConfig) -> Ended[PretrainingModule]:
    """Pre-trains, or resumes a run; see :func:`strathack.models.fitting.learned`."""
    return learned(options, pretraining_of)


def pretraining_of(run: Run[PretrainConfig]) -> Fit[PretrainingModule]:
    """Makes and checks everything that training needs; afterwards the run's folder exists.

    Raises:
        InputError: If the options and the data do not fit together.
    """
    begun = beginning_of(run)
    options, dataset = begun.run.options, begun.dataset
    if run.saved is None:
        check_used(options)
    config = config_of(options) if run.saved is None else PretrainedConfig.from_values(run.saved[PRETRAINED])
    check_observations(config.observations, dataset, options.data[0], "the encoder")
    about = {**begun.about, "longest_game": int(dataset.select(split="train").rows["steps"].max())}
    data = streamed(options, dataset, begun.lanes, config.observations, ())
    budget = budget_of(options, data)
    module = PretrainingModule(Pretrained(config), options, budget.share_done, about, options.log_every)
    return fit_of(begun, module, data, budget)


def check_used(options: PretrainConfig) -> None:
    """Checks that what is asked of a new run has an effect.

    Raises:
        InputError: If an option has none.
    """
    unused = {"encoder": ("longest",), "progress": ("continuation", "temperature", "projection"), "both": ()}
    for name in given(options, *unused[options.objective]):
        raise InputError(f"{name}: --objective {options.objective} has no use for it")
    for change in options.changes:
        name = change.split("=")[0].strip()
        if name.partition(".")[0] != "encoder" or name.partition(".")[2] in BESIDE_THE_SCREEN:
            raise InputError(f"set: {name}: an encoder is trained, of the screen alone")


def config_of(options: PretrainConfig) -> PretrainedConfig:
    """Returns the configuration that the options ask for."""
    encoder = preset(options.policy).changed(options.changes).encoder
    return PretrainedConfig(screen_alone(encoder), options.objective, options.projection, longest=options.longest)
