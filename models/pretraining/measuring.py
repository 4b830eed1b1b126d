"""What a model of progress says along a recorded game."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import torch

from strathack.dataset import Dataset
from strathack.dataset.errors import InputError
from strathack.dataset.streams import unrolls
from strathack.models.pretraining.networks import ProgressModel

UNROLL = 256
"""Steps that are encoded at a time."""


@torch.inference_mode()
def progress_along(model: ProgressModel, game: Dataset, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns by how much each frame looks later than the one some steps before it, and than the first one.

    Args:
        model: The model, in evaluation mode.
        game: One game.
        lag: Steps between the two frames.

    Returns:
        sign(Δ) · log(1 + |Δ|) as the model says, each f32 [T]; the first is NaN in the first ``lag`` steps.

    Raises:
        InputError: If it is not one game.
    """
    if len(game) != 1 or not len(game[0]):
        raise InputError(f"progress: {len(game)} games; expected one, with steps")
    device = next(model.parameters()).device
    parts = []
    keys = model.config.observations
    with closing(unrolls(game, lanes=1, steps=UNROLL, observations=keys, columns=())) as stream:
        for batch in stream:
            parts.append(model.encode({key: torch.from_numpy(batch[key]).flatten(0, 1).to(device) for key in keys}))
    encoded = torch.cat(parts)[: len(game[0])]
    since = torch.full((len(encoded),), torch.nan)
    if len(encoded) > lag:
        since[lag:] = model.between(encoded[:-lag], encoded[lag:]).cpu()
    first = model.between(encoded[:1].expand_as(encoded), encoded)
    return since.numpy(), first.cpu().numpy()
