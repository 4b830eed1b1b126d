"""Trains a labeller on games that have labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from strathack.dataset.devices import TensorBatch
from strathack.dataset.errors import InputError
from strathack.models.cores import State
from strathack.models.fitting import Ended, Fit, beginning_of, budget_of, fit_of, learned, streamed
from strathack.models.label_tables import check_labelled, check_observations, dataset_names, held_names
from strathack.models.labelling.labeller import LABELLER, Labeller, LabellerConfig
from strathack.models.labelling.metrics import LabelResult, LabelSums, label_result, label_sums
from strathack.models.labelling.options import LabelTrainConfig
from strathack.models.learning import Learned, StreamModule
from strathack.models.losses import UNKNOWN, nll_sum, strategy_table
from strathack.models.options import OptimizerOptions
from strathack.models.running import Run

ACTION = 32
"""Elements of the embedding of the keys, for a labeller that sees them."""


class LabellingModule(StreamModule):
    """Learns labels.

    Args:
        labeller: The labeller.
        config: Options of the optimiser.
        table: From the dataset's codes to the labeller's names, i64 [256].
        share_done: Returns the share of the training that is done, 0 to 1.
        about: Plain values to save in checkpoints, which describe the training data.
        log_every: Optimiser steps between logged rows.
    """

    network = LABELLER
    monitored = "nll"
    headline = "NLL"
    validated: LabelResult | None

    def __init__(
        self,
        labeller: Labeller,
        config: OptimizerOptions,
        table: np.ndarray,
        share_done: Callable[[], float],
        about: Mapping[str, Any] | None = None,
        log_every: int = 50,
    ) -> None:
        super().__init__(config, share_done, about, log_every)
        self.labeller = labeller
        self.register_buffer("table", torch.from_numpy(table), persistent=False)

    @property
    def model(self) -> Labeller:
        """The labeller."""
        return self.labeller

    def initial_memory(self, lanes: int) -> State:
        """See :meth:`StreamModule.initial_memory`."""
        return self.labeller.initial_state(lanes, self.device)

    def learn(self, batch: TensorBatch, memory: State) -> Learned:
        """See :meth:`StreamModule.learn`."""
        codes = batch[self.labeller.config.label].long()
        labels = torch.where(batch["mask"], self.table[codes], UNKNOWN)
        # In training, games follow each other without end; elsewhere, a game read backwards must not begin in padding.
        starts = batch["starts"] if self.training else None
        inputs = batch if self.training else {**batch, "first": batch["first"].bool() | ~batch["mask"].bool()}
        logits, after = self.labeller(inputs, memory, starts)
        total, count = nll_sum(logits, labels)
        # Each process's mean counts as much as another's: the labels of rare steps are not weighted.
        return Learned(total / count.clamp(min=1), logits, label_sums(logits, labels), after)

    def empty(self) -> LabelSums:
        """See :meth:`StreamModule.empty`."""
        return LabelSums.empty(len(self.labeller.config.names))

    def summary(self, sums: LabelSums) -> LabelResult:
        """See :meth:`StreamModule.summary`."""
        return label_result(sums, self.labeller.config.names)


def train_labeller(options: LabelTrainConfig) -> Ended[LabellingModule]:
    """Trains a labeller, or resumes a run; see :func:`strathack.models.fitting.learned`."""
    return learned(options, labelling_of)


def labelling_of(run: Run[LabelTrainConfig]) -> Fit[LabellingModule]:
    """Makes and checks everything that training needs; afterwards the run's folder exists.

    Raises:
        InputError: If the options and the data do not fit together.
    """
    begun = beginning_of(run)
    options, dataset = begun.run.options, begun.dataset
    names, held = dataset_names(dataset, options.label), held_names(dataset, options.label)
    config = config_of(options, held) if run.saved is None else LabellerConfig.from_values(run.saved[LABELLER])
    check_observations(config.observations, dataset, options.data[0], "the labeller")
    table = strategy_table(names, config.names, options.label, held)
    check_labelled(dataset, options.data[0], options.label, table)
    columns = (config.label, *(("actions",) if config.action else ()))
    data = streamed(options, dataset, begun.lanes, config.observations, columns)
    budget = budget_of(options, data)
    module = LabellingModule(Labeller(config), options, table, budget.share_done, begun.about, options.log_every)
    return fit_of(begun, module, data, budget)


def config_of(options: LabelTrainConfig, names: tuple[str, ...]) -> LabellerConfig:
    """Returns the configuration that the options ask for.

    Raises:
        InputError: If the dataset has no such labels.
    """
    if not names:
        raise InputError(f"{options.data[0]}: no step has a {options.label} to learn from")
    return LabellerConfig(
        hidden=options.hidden, action=ACTION if options.actions else 0, label=options.label, names=names
    )
