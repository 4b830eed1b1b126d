"""The workers of ``strathack text export``: each describes a game at a time, replaying it if need be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from strathack.collect.playing.clock import default_clock
from strathack.collect.replaying.replay import DepartedError, Recording, check_replayed, replay
from strathack.collect.running.display import Report
from strathack.collect.running.jobs import Work, Workers
from strathack.collect.running.pools import OnStep
from strathack.collect.running.results import GameText, JobResult, Refused
from strathack.collect.running.workplace import Workplace
from strathack.dataset import Dataset
from strathack.dataset.errors import InputError
from strathack.dataset.frames import StoredFrames
from strathack.dataset.keys import keys_only
from strathack.dataset.shard import GameData
from strathack.text.chunks import Labels, Plan, Recipe, make_describer, see
from strathack.text.exporting import encode_rows
from strathack.text.names import glyph_names
from strathack.text.options import ExportConfig


@dataclass(frozen=True)
class TextJob:
    """A game to be described.

    Attributes:
        labels: Its actions and labels.
        starts: The first steps of its chunks.
        keys: Its keys, to be replayed; None if the observations are stored.
        path: The shard that holds the stored observations.
    """

    labels: Labels
    starts: tuple[int, ...]
    keys: GameData | None
    path: Path


class TextWorker:
    """Describes game after game; a :class:`strathack.collect.running.pools.Worker`.

    Args:
        recipe: How chunks become rows.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._workplace = Workplace()

    def warm_up(self) -> None:
        """Makes the table of names."""
        glyph_names(self._recipe.dialect)

    def work(self, payload: TextJob, on_step: OnStep) -> JobResult:
        """Describes one game; returns ``Refused`` if it is damaged or cannot be replayed."""
        describer = make_describer(self._recipe, payload.starts)
        try:
            if payload.keys is None:
                see(Dataset(payload.path)[payload.labels.name], StoredFrames(), describer)
                on_step(len(payload.labels.actions))
            else:
                recording = Recording.of_game(payload.keys)
                replayed = replay(recording, (), on_step, describer.see, shown=self._recipe.observations)
                check_replayed(payload.keys, replayed)
        except (DepartedError, InputError) as error:
            return Refused(str(error))
        rows = list(describer.rows(payload.labels))
        return GameText(payload.labels.name, len(payload.labels.actions), encode_rows(rows, self._recipe.layout))

    def close(self) -> None:
        """Removes the scratch folder."""
        self._workplace.close()


def describing(dataset: Dataset, planned: Plan, config: ExportConfig) -> Work:
    """Returns the jobs that describe the games of a plan, by game name.

    With 0 workers, this process is restarted under the default clock.

    Args:
        dataset: The games.
        planned: The chunks of each game.
        config: How to describe them.
    """
    recipe = config.recipe
    is_stored = set(recipe.observations) <= set(dataset.observations)
    clock = default_clock(here=config.workers == 0)

    def load(name: str) -> TextJob:
        game = dataset[name]
        return TextJob(Labels.of(game), planned.starts[name], None if is_stored else keys_only(game), game.path)

    return Work(
        jobs={name: name for name in planned.starts},
        by=Workers(partial(TextWorker, recipe), config, clock.environment()),
        describe=partial(_described, config.quiet),
        load=load,
        retries=config.retries,
    )


def _described(quiet: bool, name: str, result: JobResult) -> Report:
    if isinstance(result, Refused):
        return Report(f"{name}: {result.reason}", failed=True)
    assert isinstance(result, GameText), "games are described or not"
    return Report(f"{name}: {result.steps} steps seen" if quiet else "")
