"""Labels games, and writes them with what is inferred into a new dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from strathack.dataset import Dataset
from strathack.dataset.content import content_digest
from strathack.dataset.copying import shard_with_inferred
from strathack.dataset.errors import InputError
from strathack.dataset.files import absolute, path_text
from strathack.dataset.labels import Vocabulary
from strathack.dataset.manifest import sha256_of
from strathack.dataset.progress import progress
from strathack.dataset.remote.addresses import place_text
from strathack.dataset.schema import INFERRED
from strathack.dataset.shard import InferredLabels
from strathack.dataset.streams import unrolls
from strathack.dataset.writer import CONTENT, DatasetWriter, agreed_settings
from strathack.models.label_tables import check_observations
from strathack.models.labelling.labeller import Labeller, load_labeller
from strathack.models.labelling.options import BLOCK, LabelApplyConfig
from strathack.models.places import checkpoint_at
from strathack.models.running import usable_gpus

GAMES_AT_A_TIME = 64
"""Games that are labelled and then written, or as many as there are lanes if these are more; an interrupted run repeats
them."""


def apply(config: LabelApplyConfig) -> tuple[int, int]:
    """Labels the games that are not in the new dataset yet, and returns how many games and steps it has then.

    Raises:
        InputError: If the labeller and the dataset do not fit together, or the new dataset holds something else.
        RunError: If the new dataset cannot be written.
    """
    labeller = load_labeller(config.run, "cuda" if usable_gpus(config.device) else "cpu")
    dataset = Dataset(config.data).select(config.select)
    check_applicable(labeller, dataset, config)
    checkpoint = checkpoint_at(config.run)
    settings = {
        "labelled_from": place_text(config.data),
        CONTENT: content_digest(dataset),
        "labeller": path_text(absolute(checkpoint)),
        "labeller_sha256": sha256_of(checkpoint),
        "ahead": config.ahead,
    }
    agreed_settings(config.out, settings, newer=(CONTENT, "labeller_sha256"))  # of which earlier releases did not tell
    label, codes = labeller.config.label, Vocabulary(labeller.config.names).codes
    with (
        DatasetWriter(config.out, settings, fractions=dataset.fractions) as out,
        progress("labelling", dataset.steps, quiet=config.quiet) as advance,
    ):
        out.begin()
        missing = [place for place, name in enumerate(dataset.names) if name not in out.present]
        advance(dataset.steps - dataset.take(missing).steps)
        at_a_time = max(GAMES_AT_A_TIME, config.lanes)
        for start in range(0, len(missing), at_a_time):
            games = dataset.take(missing[start : start + at_a_time])
            for place, found in enumerate(inferred(labeller, games, config.lanes, config.ahead, advance)):
                labels = InferredLabels(found.names, found.probability, codes)
                game = games[place]
                out.add(game.name, shard_with_inferred(game, {label: labels}), made_of=game)
        out.merge(config.games_per_shard)
    made = Dataset(config.out)
    return len(made), made.steps


def check_applicable(labeller: Labeller, dataset: Dataset, config: LabelApplyConfig) -> None:
    """Checks that a labeller can label the games.

    Raises:
        InputError: If there are none, they lack what it needs, or have such labels already.
    """
    if not len(dataset):
        raise InputError(f"{config.data}: no game meets the condition; nothing to label")
    check_observations(labeller.config.observations, dataset, config.data, "the labeller")
    if labeller.config.action and not dataset.rows["keys_sha256"].astype(bool).all():
        raise InputError(f"{config.data}: the labeller sees keys, and not all of these games have any")
    name = INFERRED[labeller.config.label]
    if dataset.names_of(name):
        raise InputError(f"{config.data}: has {name} already, which is not written over")


@dataclass(frozen=True)
class Found:
    """What is inferred of a game.

    Attributes:
        names: The index of the most probable name at each step, u8 [T].
        probability: Its probability, f16 [T].
    """

    names: np.ndarray
    probability: np.ndarray


@torch.inference_mode()
def inferred(
    labeller: Labeller, dataset: Dataset, lanes: int, ahead: int, on_steps: Callable[[int], None] = lambda steps: None
) -> list[Found]:
    """Labels every step of some games.

    Args:
        labeller: The labeller, in evaluation mode.
        dataset: The games.
        lanes: Number of games side by side.
        ahead: The least number of steps after a step that are looked at for its label, as far as its game goes: steps
            are labelled in blocks of ``BLOCK``, each with so many of the next.
        on_steps: Called with the number of steps that were labelled.

    Returns:
        What is inferred of each game.
    """
    found = [Found(np.zeros(int(steps), np.uint8), np.zeros(int(steps), np.float16)) for steps in dataset.rows["steps"]]
    for batch, logits in label_blocks(labeller, dataset, min(lanes, max(len(dataset), 1)), ahead):
        probability, names = logits.float().softmax(-1).max(-1)
        mask = batch["mask"].numpy()
        games, steps = batch["game"].numpy()[mask], batch["step"].numpy()[mask]
        which, certain = names.cpu().numpy()[mask].astype(np.uint8), probability.cpu().numpy()[mask].astype(np.float16)
        for game in np.unique(games):
            mine = games == game
            found[game].names[steps[mine]], found[game].probability[steps[mine]] = which[mine], certain[mine]
        on_steps(len(games))
    return found


def label_blocks(
    labeller: Labeller, dataset: Dataset, lanes: int, ahead: int, columns: Sequence[str] = ()
) -> Iterator[tuple[Mapping[str, Tensor], Tensor]]:
    """Yields batches of a stream and their logits; a batch waits for the next, of which it sees the beginning.

    Args:
        labeller: The labeller, in evaluation mode.
        dataset: The games.
        lanes: Number of games side by side.
        ahead: Steps after a step that are looked at for its label.
        columns: Columns that the batches are to have.

    Yields:
        A batch, arrays [T, B, …] as tensors, and the logits of the names, [T, B, names].
    """
    device = labeller.head.weight.device
    wanted = {*columns, *(("actions",) if labeller.config.action else ())}
    if not (dataset.rows["steps"] > 0).any():
        return
    waiting: tuple[Mapping[str, Tensor], Tensor, Tensor] | None = None
    state = labeller.initial_state(lanes)
    stream = unrolls(
        dataset,
        lanes=lanes,
        steps=BLOCK,
        observations=labeller.config.observations,
        columns=tuple(sorted(wanted)),
        places=True,
        seed=None,
    )
    with closing(stream):
        for arrays in stream:
            batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
            inputs = {name: value.to(device) for name, value in batch.items()}
            # Padding after a lane's last game is no part of it.
            first = inputs["first"] | ~inputs["mask"]
            encoded = labeller.encode(inputs)
            if waiting is not None:
                before, state = _labelled(labeller, waiting, (encoded[:ahead], first[:ahead]), state)
                yield waiting[0], before
            waiting = batch, encoded, first
        if waiting is not None:
            nothing = waiting[1][:0], waiting[2][:0]
            yield waiting[0], _labelled(labeller, waiting, nothing, state)[0]


def _labelled(
    labeller: Labeller,
    block: tuple[Mapping[str, Tensor], Tensor, Tensor],
    following: tuple[Tensor, Tensor],
    state: Mapping[str, Tensor],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the logits of a block, and the memory after it."""
    _, encoded, first = block
    before, after = labeller.remember(encoded, first, state)
    later = labeller.foresee(torch.cat([encoded, following[0]]), torch.cat([first, following[1]]))
    return labeller.head(torch.cat([before, later[: len(encoded)]], -1)), after
