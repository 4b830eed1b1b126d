"""Which chunks of which games are exported, and the rows they become."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from strathack.dataset.frames import FrameSource
from strathack.dataset.reading import Dataset, Game
from strathack.dataset.schema import OBSERVATIONS, BLStat
from strathack.text.balrog import action_text, carried_text, rewards_of, seen_text
from strathack.text.describing import NEEDED, Dialect, TextObservation, describe
from strathack.text.history import Changes, Chunk, History, Telling, tellings

Layout = Literal["completion", "messages", "balrog"]


@dataclass(frozen=True)
class Recipe:
    """How a chunk becomes a row.

    Attributes:
        dialect: The dialect of the observations.
        history: Whether changes are told as diffs or as whole observations.
        steps: Steps of a chunk.
        layout: ``completion``: the columns ``prompt`` and ``completion``. ``messages``: turns of user and assistant.
            ``balrog``: a record of BALROG.
        strategies: How strategies are told.
    """

    dialect: Dialect = "fair"
    history: History = "diff"
    steps: int = 64
    layout: Layout = "completion"
    strategies: Telling = "none"

    @property
    def observations(self) -> tuple[str, ...]:
        """The observation keys that are needed."""
        return (*NEEDED, *(("tty_colors",) if self.dialect == "fair" else ()))


@dataclass(frozen=True)
class Plan:
    """The chunks of an export.

    Attributes:
        starts: Game name → the first steps of its chunks, in order.
        too_short: Names of games that are shorter than a chunk.
        possible: How many different chunks there are.
    """

    starts: Mapping[str, tuple[int, ...]]
    too_short: tuple[str, ...]
    possible: int

    @property
    def chunks(self) -> int:
        """How many chunks are exported."""
        return sum(len(starts) for starts in self.starts.values())


def plan(dataset: Dataset, steps: int, chunks: int | None, seed: int) -> Plan:
    """Chooses chunks.

    Args:
        dataset: The games.
        steps: Steps of a chunk.
        chunks: How many to draw, without replacement, from all steps at which a chunk may start; None takes chunks side
            by side, as many as there are.
        seed: Determines the draw.
    """
    names = list(dataset.names)
    # As in LangHack, the last step of a chunk that is drawn is neither the game's last nor the one before.
    counts = np.maximum(dataset.rows["steps"].astype(np.int64) - steps + (1 if chunks is None else -1), 0)
    if chunks is None:
        found = [range(0, int(count), steps) for count in counts]
        possible = sum(map(len, found))
    else:
        ends, possible = counts.cumsum(), int(counts.sum())
        drawn = np.sort(np.random.default_rng(seed).choice(possible, min(chunks, possible), replace=False))
        of_games = np.split(drawn, np.searchsorted(drawn, ends[:-1]))
        found = [(part - begin).tolist() for part, begin in zip(of_games, ends - counts, strict=True)]
    return Plan(
        {name: tuple(starts) for name, starts in zip(names, found, strict=True) if starts},
        tuple(name for name, count in zip(names, counts, strict=True) if not count),
        possible,
    )


@dataclass
class Describer:
    """Describes the steps of a game that its chunks need, as they come by.

    Attributes:
        recipe: How chunks become rows.
        starts: The first steps of the chunks.
        texts: Step → observation as text.
        scores: Step → the score so far.
    """

    recipe: Recipe
    starts: Sequence[int]
    texts: dict[int, str] = field(default_factory=dict)
    scores: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Notes which steps are needed."""
        steps = self.recipe.steps
        self._needed = frozenset(step for start in self.starts for step in range(start, start + steps))

    def see(self, step: int, observation: Mapping[str, np.ndarray]) -> None:
        """Describes one observation, if a chunk needs it."""
        if step in self._needed:
            self.tell(step, observation, describe(observation, self.recipe.dialect))
            self.scores[step] = int(observation["blstats"][BLStat.SCORE])

    def tell(self, step: int, observation: Mapping[str, np.ndarray], told: TextObservation) -> None:
        """Keeps what rows tell of an observation."""
        self.texts[step] = told.text.strip()

    def rows(self, game: Labels) -> Iterator[dict[str, Any]]:
        """Yields a row for each chunk: its text, and what it is of.

        Args:
            game: The game's actions and labels.
        """
        recipe, told = self.recipe, self.telling(game)
        for start in self.starts:
            end = start + recipe.steps
            yield told(start) | {
                "game": game.name, "seed": game.seed, "role": game.role, "start": start, "steps": recipe.steps,
                "strategies": game.strategies[start:end], "substrategies": game.substrategies[start:end],
                "score": self.scores[start], "dialect": recipe.dialect,
            }  # fmt: skip

    def telling(self, game: Labels) -> Callable[[int], dict[str, Any]]:
        """Returns what gives the text of a row, and its actions, from the chunk's first step."""
        recipe, changes = self.recipe, Changes(self.texts.__getitem__, self.recipe.history)

        def told(start: int) -> dict[str, Any]:
            end = start + recipe.steps
            actions = game.actions[start:end]
            chunk = Chunk(
                self.texts[start],
                [changes.at(step) for step in range(start + 1, end)],
                actions,
                tellings(game.strategies[start:end], recipe.strategies),
            )
            if recipe.layout == "messages":
                return {"messages": chunk.messages, "actions": actions}
            return {"prompt": chunk.prompt, "completion": chunk.completion, "actions": actions}

        return told


@dataclass
class RecordDescriber(Describer):
    """Describes steps for records of BALROG.

    Attributes:
        carried: Step → what is told of the current observation alone.
    """

    carried: dict[int, str] = field(default_factory=dict)

    def tell(self, step: int, observation: Mapping[str, np.ndarray], told: TextObservation) -> None:
        """See :class:`Describer`."""
        self.texts[step] = seen_text(told, observation["tty_chars"], observation["tty_cursor"])
        self.carried[step] = carried_text(told)

    def telling(self, game: Labels) -> Callable[[int], dict[str, Any]]:
        """See :class:`Describer`; a record's actions are those between its observations."""

        def told(start: int) -> dict[str, Any]:
            steps = range(start, start + self.recipe.steps)
            return {
                "seen": [self.texts[step] for step in steps],
                "carried": [self.carried[step] for step in steps],
                "actions": [action_text(action) for action in game.actions[start : steps[-1]]],
                "rewards": rewards_of([self.scores[step] for step in steps]),
                "start_time": game.start_time,
            }

        return told


def make_describer(recipe: Recipe, starts: Sequence[int]) -> Describer:
    """Makes what describes the steps of a game.

    Args:
        recipe: How chunks become rows.
        starts: The first steps of the chunks.
    """
    return (RecordDescriber if recipe.layout == "balrog" else Describer)(recipe, starts)


BLOCK_STEPS = 256


def see(game: Game, frames: FrameSource, describer: Describer) -> None:
    """Shows a game to a describer, from the first step that it needs to the last."""
    first, last = min(describer.starts), max(describer.starts) + describer.recipe.steps
    shapes = {key: OBSERVATIONS[key].shape for key in describer.recipe.observations}
    with closing(frames.open(game, list(shapes), first)) as reader:
        for start in range(first, last, BLOCK_STEPS):
            stop = min(start + BLOCK_STEPS, last)
            block = {
                key: np.empty((stop - start, int(np.prod(shape))), OBSERVATIONS[key].dtype)
                for key, shape in shapes.items()
            }
            reader.copy(start, stop, block)
            for step in range(start, stop):
                describer.see(step, {key: block[key][step - start].reshape(shape) for key, shape in shapes.items()})


@dataclass(frozen=True)
class Labels:
    """What rows tell of a game besides its observations.

    Attributes:
        name: Its name.
        seed: Its seed; −1 if it is not known.
        start_time: When it began, in seconds since 1970.
        role: Its role.
        actions: Actions by name.
        strategies: Strategies by name.
        substrategies: Substrategies by name.
    """

    name: str
    seed: int
    start_time: int
    role: str
    actions: list[str]
    strategies: list[str]
    substrategies: list[str]

    @classmethod
    def of(cls, game: Game) -> Labels:
        """Those of a stored game."""
        info = game.info
        strategies, substrategies = (column.names().tolist() for column in (game.strategy, game.substrategy))
        return cls(
            game.name, int(info["core"]), int(info["start_time"]), str(info["role"]), game.action_names().tolist(),
            strategies, substrategies,
        )  # fmt: skip
