"""Behavioural cloning as a LightningModule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from strathack.dataset.devices import TensorBatch
from strathack.models.acting import without_draws
from strathack.models.cleaved import AnyPolicy, in_training_mode
from strathack.models.cores import State
from strathack.models.label_tables import LabelTables
from strathack.models.learning import Learned, StreamModule
from strathack.models.losses import cloning_loss, inputs_of, targets_of
from strathack.models.metrics import Result, Tally, result_of, tally
from strathack.models.options import CloningOptions


class CloningModule(StreamModule):
    """Clones actions and strategies.

    Args:
        policy: The policy.
        config: Options of the loss and the optimiser.
        tables: Tables from the dataset's codes to the policy's indices.
        share_done: Returns the share of the training that is done, 0 to 1.
        about: Plain values to save in checkpoints, which describe the training data.
        log_every: Optimiser steps between logged rows.
    """

    network = "policy"
    monitored = "action_nll"
    headline = "NLL"
    # The value head; and of a cleaved policy, the heads that its other part replaces.
    has_idle_parameters = True
    config: CloningOptions
    trained: Result | None
    validated: Result | None

    def __init__(
        self,
        policy: AnyPolicy,
        config: CloningOptions,
        tables: LabelTables,
        share_done: Callable[[], float],
        about: Mapping[str, Any] | None = None,
        log_every: int = 50,
    ) -> None:
        super().__init__(config, share_done, about, log_every)
        self.policy = policy
        self.label = tables.label
        for name in ("actions", "strategies", "class_weights"):
            value = getattr(tables, name)
            self.register_buffer(name, None if value is None else torch.from_numpy(value), persistent=False)

    @property
    def model(self) -> AnyPolicy:
        """The policy."""
        return self.policy

    def initial_memory(self, lanes: int) -> State:
        """See :meth:`StreamModule.initial_memory`."""
        return self.policy.initial_state(lanes, self.device)

    def learn(self, batch: TensorBatch, memory: State) -> Learned:
        """See :meth:`StreamModule.learn`."""
        assert not self.training or in_training_mode(self.policy), "dropout, labels' heads and cuDNN depend on it"
        targets = targets_of(batch, self.actions, self.strategies, self.label)
        inputs = inputs_of(batch, self.actions)
        output, after = self.policy.unroll(inputs, memory, targets.strategies, batch["starts"])
        config = self.config
        # In validation, processes do not wait for each other, since their streams are of unequal length.
        averaged = self.averaged if self.training and self.trainer.world_size > 1 else None
        loss = cloning_loss(output, targets, config.strategy_weight, self.class_weights, config.head_weight, averaged)
        # Where strategies are drawn, the policy acts by all of them together, and that is what is validated.
        shown = output if self.training else without_draws(output, self.policy.config)
        return Learned(loss.total, output.action_logits, tally(shown, targets), after)

    def empty(self) -> Tally:
        """See :meth:`StreamModule.empty`."""
        return Tally.empty(len(self.policy.config.strategies))

    def summary(self, sums: Tally) -> Result:
        """See :meth:`StreamModule.summary`."""
        return result_of(sums, self.policy.config.strategies)
