"""Predictions of a policy at each step of recorded games, beside the actions taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from strathack.dataset import Dataset
from strathack.dataset.errors import InputError
from strathack.dataset.streams import unrolls
from strathack.models.acting import without_draws
from strathack.models.cleaved import AnyPolicy
from strathack.models.heads import PolicyOutput
from strathack.models.losses import action_table, inputs_of

BELIEF = "belief_"
"""Prefix of the names of columns that hold a strategy's probability."""


def predictions(policy: AnyPolicy, dataset: Dataset, *, steps: int | None = None, unroll: int = 128) -> pd.DataFrame:
    """Runs a policy over games, carrying its memory through each game.

    Args:
        policy: The policy, in evaluation mode.
        dataset: The games, with stored observations.
        steps: How many steps of each game; by default all.
        unroll: Steps to process at a time.

    Returns:
        One row per step: ``game``, ``step``; by name, the ``strategy`` pursued, the ``action`` taken and the ``likely``
        one, most likely by the policy; ``nll``, the negative log-likelihood of the action in nats (NaN where no action
        is known; where strategies are sampled, of the exact marginal); and for a hierarchical policy
        ``belief_<strategy>``, a strategy's probability, f32.

    Raises:
        InputError: If there are no steps, an observation that the policy needs is not stored, or the policy has fewer
            actions than the games.
    """
    dataset = dataset.take(np.flatnonzero(dataset.rows["steps"]))
    if not len(dataset):
        raise InputError("predictions: the games have no steps")
    tables = [_of_game(policy, dataset.take([place]), steps, unroll) for place in range(len(dataset))]
    return pd.concat(tables, ignore_index=True)


def _of_game(policy: AnyPolicy, game: Dataset, steps: int | None, unroll: int) -> pd.DataFrame:
    only = game[0]
    steps = len(only) if steps is None else min(steps, len(only))
    outputs = [without_draws(output, policy.config) for output in _outputs(policy, game, steps, unroll)]
    logits = torch.cat([output.action_logits for output in outputs])[:steps].float()
    places = torch.from_numpy(action_table(policy.config.actions))[torch.from_numpy(only.actions[:steps]).long()]
    nll = -logits.log_softmax(-1).gather(-1, places.clamp(min=0)[:, None])[:, 0]
    nll[places < 0] = torch.nan
    columns = {
        "game": only.name,
        "step": np.arange(steps),
        "strategy": only.strategy.names(slice(0, steps)).astype(object),
        "action": only.action_names(slice(0, steps)).astype(object),
        "likely": np.array(policy.config.actions, dtype=object)[logits.argmax(-1).numpy()],
        "nll": nll.numpy(),
    }
    if outputs[0].strategy_logits is not None:
        parts = [output.strategy_logits for output in outputs if output.strategy_logits is not None]
        beliefs = torch.cat(parts)[:steps].float().softmax(-1).numpy()
        columns |= {f"{BELIEF}{name}": beliefs[:, place] for place, name in enumerate(policy.config.strategies)}
    return pd.DataFrame(columns)


@torch.inference_mode()
def _outputs(policy: AnyPolicy, game: Dataset, steps: int, unroll: int) -> Iterator[PolicyOutput]:
    """Yields the outputs of one game, [T, …] each, on the CPU."""
    device = next(policy.parameters()).device
    state, table = policy.initial_state(1), torch.from_numpy(action_table(policy.config.actions)).to(device)
    done = 0
    with closing(unrolls(game, lanes=1, steps=unroll, observations=policy.config.observations, epochs=1)) as stream:
        for batch in stream:
            inputs: dict[str, Tensor] = {name: torch.from_numpy(values).to(device) for name, values in batch.items()}
            output, state = policy.unroll(inputs_of(inputs, table), state)
            parts = {name: value[:, 0].cpu() for name, value in vars(output).items() if value is not None}
            yield PolicyOutput(**parts)
            done += unroll
            if done >= steps:
                return
