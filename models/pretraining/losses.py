"""The losses of pre-training, as functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (as everywhere)


def info_nce(anchors: Tensor, later: Tensor, temperature: float, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE (van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018).

    The negatives of each pair are later frames of others. Vectors are compared by their cosine.

    Args:
        anchors: A vector for each pair's first frame, [N, D].
        later: A vector for each pair's later frame, [N, D].
        temperature: Divides the cosines.
        candidates: Among which later frames the pair of a row is to find its own, bool [N, N]; its own is always one.

    Returns:
        The cross-entropy of the right later frame for each pair, nats, f32 [N]; and whether that frame is the most
        similar one, bool [N].
    """
    with torch.autocast(anchors.device.type, enabled=False):  # in bf16, cosines near 1 are all the same
        logits = F.normalize(anchors.float(), dim=1) @ F.normalize(later.float(), dim=1).T / temperature
    logits = logits.masked_fill(~candidates, -torch.inf)
    right = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, right, reduction="none"), logits.argmax(1) == right


def signed_log_time(steps: Tensor) -> Tensor:
    """Returns sign(Δ) · log(1 + |Δ|), f32 [...] (Bruce et al., "Learning About Progress From Experts", 2023).

    Args:
        steps: Δ, by how many steps a frame is later than another, [...].
    """
    steps = steps.float()
    return steps.sign() * steps.abs().log1p()


def progress_loss(predicted: Tensor, steps: Tensor) -> Tensor:
    """Returns the squared error of a model of progress, f32 [N].

    Args:
        predicted: What the model says of each pair, [N].
        steps: By how many steps the second frame is later than the first, [N].
    """
    return (predicted.float() - signed_log_time(steps)) ** 2
