"""Tables and sentences that describe a dataset, computed from the dataset itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from strathack.dataset.figures import known_figures
from strathack.dataset.labels import PUBLISHED_STRATEGIES, count_by_name
from strathack.dataset.printing import told_score
from strathack.dataset.reading import Dataset

FREQUENT = 6
"""Strategies that have a column of their own in the table of roles."""

RARE = 0.001
"""The share of all steps below which a strategy is called rare."""


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table, its first column aligned to the left and the others to the right."""
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Statistics:
    """What is counted of a dataset's games; every game's labels are read once.

    Args:
        dataset: The games; at least one.

    Attributes:
        strategies: The names of the strategies.
        steps: Steps of each strategy in each game, i64 [games, strategies].
    """

    def __init__(self, dataset: Dataset) -> None:
        self.games = known_figures(dataset.games)
        self.strategies = dataset.vocabularies["strategy"]
        self.steps = np.zeros((len(dataset), len(self.strategies)), dtype=np.int64)
        self._published: Counter[int] = Counter()
        for place, game in enumerate(dataset):
            counts = count_by_name(game.strategy[:], game.strategy.codes)
            self.steps[place] = [counts.get(name, 0) for name in self.strategies]
            values, numbers = np.unique(game.hihack_strategy[:], return_counts=True)
            self._published.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))

    @property
    def total(self) -> int:
        """All steps."""
        return int(self.games["steps"].sum())

    def tables(self) -> list[str]:
        """Every table: games and scores by role, strategies by role, strategies, ends."""
        return [self.by_role(), self.shares_by_role(), self.shares(), self.ends()]

    def _groups(self) -> dict[str, np.ndarray]:
        roles = self.games["role"].replace("", "unknown")
        groups = {role: (roles == role).to_numpy() for role in sorted(roles.unique())}
        return {**groups, "all": np.ones(len(self.games), dtype=bool)}

    def by_role(self) -> str:
        """A table of games and scores by role."""
        games = self.games
        died_at_once = (games["end"] == "death") & (games["max_depth"] == 1)
        failed = games["end"] == "demonstrator_error"
        titles = (
            "role", "games", "steps", "mean score", "median score", "mean depth", "died on the first level",
            "bot failed",
        )  # fmt: skip
        rows = [
            (
                role, f"{own.sum():,}", f"{games['steps'][own].sum():,}", told_score(games["score"][own].mean()),
                told_score(games["score"][own].median()), _told_depth(games["max_depth"][own].mean()),
                str(died_at_once[own].sum()), str(failed[own].sum()),
            )
            for role, own in self._groups().items()
        ]  # fmt: skip
        return markdown(titles, rows)

    def shares_by_role(self) -> str:
        """A table of the most frequent strategies' shares of the steps, by role."""
        frequent = self._by_frequency()[:FREQUENT]
        rows = []
        for role, own in self._groups().items():
            steps = self.steps[own]
            rows.append((role, *(f"{steps[:, code].sum() / max(steps.sum(), 1):.1%}" for code in frequent)))
        return markdown(("role", *(self.strategies[code] for code in frequent)), rows)

    def shares(self) -> str:
        """A table of all strategies: their steps, and the games that have them."""
        total, all_steps = self.steps.sum(0), max(self.steps.sum(), 1)
        rows = [
            (self.strategies[code], f"{total[code]:,}", f"{total[code] / all_steps:.2%}", f"{games:,}")
            for code in self._by_frequency()
            for games in [(self.steps[:, code] > 0).sum()]
        ]
        return markdown(("strategy", "steps", "share", "games"), rows)

    def _by_frequency(self) -> np.ndarray:
        return np.argsort(-self.steps.sum(0), kind="stable")

    def ends(self, most: int = 12) -> str:
        """A table of the most frequent ways in which games ended."""
        ends = Counter(zip(self.games["end"], self.games["cause"].map(_kind), strict=True))
        rows = [(end, cause, str(count)) for (end, cause), count in ends.most_common(most)]
        return markdown(("end", "cause", "games"), rows)

    def faults(self) -> Iterator[str]:
        """Yields what a user should know to be wrong with the games, or one-sided, a sentence or two each."""
        games, count = self.games, len(self.games)
        first = int(((games["end"] == "death") & (games["max_depth"] == 1)).sum())
        if first > count / 10:
            yield (
                f"**{first / count:.0%} of the games ended by death on the first level.** A policy cloned from all "
                "games sees that level most of the time."
            )
        cut = games["completeness"] == "truncated"
        if cut.any():
            ways = ", ".join(f"{end} {number:,}" for end, number in games["end"][cut].value_counts().items() if number)
            yield (
                f"**{int(cut.sum()):,} games are `truncated`**: the recording ended before the game did ({ways}). "
                "`--select \"completeness == 'complete'\"` leaves them out."
            )
        roles = games["role"].value_counts()
        if len(roles) > 1:
            means = games.groupby("role", observed=True)["score"].mean()
            between = f"from {told_score(means.min())} to {told_score(means.max())}"
            yield (
                f"Roles differ in number, from {roles.min():,} games ({roles.idxmin()}) to {roles.max():,} "
                f"({roles.idxmax()}); mean scores by role go {between}."
            )
        yield from self._faults_of_labels()
        screens = int((games["origin"] == "screens").sum())
        if screens:
            yield f"{screens:,} games were imported as screens, and have no actions."

    def _faults_of_labels(self) -> Iterator[str]:
        total = self.steps.sum(0)
        unlabelled = self.total - int(total.sum())
        if unlabelled:
            yield f"{unlabelled / max(self.total, 1):.1%} of the steps have no strategy (`unlabelled`)."
        never = [name for name, steps in zip(self.strategies, total, strict=True) if not steps]
        rare = [name for name, steps in zip(self.strategies, total, strict=True) if 0 < steps < RARE * self.total]
        if never and total.any():
            yield f"Strategies that never occur: {', '.join(f'`{name}`' for name in never)}."
        if rare:
            yield f"Strategies at fewer than one step in a thousand: {', '.join(f'`{name}`' for name in rare)}."
        said = self._published[PUBLISHED_STRATEGIES.index("fight")]
        true = sum(int(steps) for name, steps in zip(self.strategies, total, strict=True) if name == "fight")
        if said > 2 * true > 0:
            yield (
                f"`hihack_strategy` is there for comparison only: it says `fight` at {said / self.total:.0%} of the "
                f"steps; the player fights at {true / self.total:.0%}."
            )


def _told_depth(depth: float) -> str:
    return "unknown" if np.isnan(depth) else f"{depth:.1f}"


def _kind(cause: str) -> str:
    """Returns a cause of an end without the details of an error, which differ from game to game."""
    return ":".join(cause.split(":")[:2]) if cause.startswith("RuntimeError") else cause
