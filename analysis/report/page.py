"""Makes the page from the data that were read of the games."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from strathack.analysis import plots
from strathack.analysis.palette import COLOURS, OTHER_COLOUR, TERMINAL, colour_of, in_order
from strathack.analysis.report.films import PackedFilm
from strathack.analysis.report.pictures import svg
from strathack.analysis.runs import columns_of, runs_of
from strathack.analysis.scores import Summary, summary_of
from strathack.analysis.steps import (
    GameSteps,
    before_death,
    counts_by,
    counts_by_game,
    durations_of,
    published_against_true,
    transitions_of,
)
from strathack.analysis.tables import told
from strathack.dataset.figures import LEAST, known_figures
from strathack.dataset.printing import told_score

TIMELINE_COLUMNS = 240
"""Columns of a game's timeline in the table."""


@dataclass(frozen=True)
class ReportData:
    """The data that a report is made from.

    Attributes:
        title: The report's title.
        subtitle: One line below the title.
        card: What the data are and how they were made, as pairs of label and value.
        games: The games, in the order in which the table first shows them.
        films: The games that can be watched.
        notes: Sentences about what the page lacks, and why.
        left_out: One line for each game or shard that could not be read or watched.
        version: Version of this package.
    """

    title: str
    subtitle: str
    card: Sequence[tuple[str, str]]
    games: Sequence[GameSteps]
    films: Sequence[PackedFilm] = ()
    notes: Sequence[str] = ()
    left_out: Sequence[str] = ()
    version: str = ""


@dataclass(frozen=True)
class Picture:
    """A section with one figure."""

    anchor: str
    title: str
    svg: Markup
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column of the table of games."""

    name: str
    title: str
    digits: int = 0
    text: bool = False
    narrow: bool = True
    classes: list[str] = field(default_factory=list)

    def to_values(self) -> dict[str, Any]:
        """Returns the column in the form that the page's script reads."""
        classes = [*(["text"] if self.text else []), *([] if self.narrow else ["narrow-hidden"]), *self.classes]
        return {"name": self.name, "title": self.title, "digits": self.digits, "class": " ".join(classes)}


UNKNOWN = "unknown"

TABLE: tuple[Column, ...] = (
    Column("game", "Game", text=True),
    Column("core", "Seed", narrow=False),
    Column("role", "Role", text=True),
    Column("who", "Character", text=True, narrow=False),
    Column("score", "Score"),
    Column("turns", "Turns", narrow=False),
    Column("steps", "Steps"),
    Column("max_depth", "Depth"),
    Column("experience_level", "Level"),
    Column("progression", "Progression", digits=3, narrow=False),
    Column("end", "End", text=True),
    Column("cause", "Cause", text=True, classes=["cause"]),
    Column("seconds", "Seconds", narrow=False),
)
"""The table's columns, by the names of ``/games``; ``who`` is race, gender and alignment."""


def page_of(data: ReportData) -> str:
    """Returns the page as HTML that needs no other files.

    Raises:
        ValueError: If there is no game.
    """
    scores = known_figures(pd.DataFrame([game.info for game in data.games]))
    labelled = any(game.counts[:-1].any() for game in data.games)
    names = in_order(dict.fromkeys(game.names[code] for game in data.games for code in np.unique(game.codes)))
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(_read("page.html"))
    return template.render(
        title=data.title,
        subtitle=data.subtitle,
        version=data.version,
        tiles=_tiles(summary_of(scores), scores),
        card=data.card,
        notes=data.notes,
        left_out=data.left_out,
        films=data.films,
        labelled=labelled,
        colours={name: colour_of(name) for name in names} if labelled else {},
        pictures=[*_pictures_of_scores(scores), *(_pictures_of_strategies(data.games) if labelled else [])],
        data=Markup(_as_script(_table(data, names if labelled else []))),
        style=Markup(_read("style.css")),
        script=Markup(_read("script.js")),
    )


def _read(name: str) -> str:
    return resources.files("strathack.analysis.report").joinpath(name).read_text(encoding="utf-8")


def _as_script(values: Any) -> str:
    """Returns values as JSON that cannot close the HTML element that contains it."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _tiles(summary: Summary, scores: pd.DataFrame) -> list[tuple[str, str, str]]:
    score, mean = summary.figures["score"], summary.figures["progression"].mean.value
    error = "" if np.isnan(score.standard_error) else f" ± {score.standard_error:,.0f}"
    died = float((scores["end"] == "death").mean())
    return [
        ("Games", f"{summary.games:,}", f"{died:.0%} ended by death"),
        ("Steps", f"{int(scores['steps'].sum()):,}", f"{scores['steps'].mean():,.0f} a game"),
        ("Mean score", f"{told_score(score.mean.value)}{error}", "± standard error"),
        ("Median score", *_parts(told(score.median, 0))),
        ("Interquartile mean", *_parts(told(score.interquartile_mean, 0))),
        ("Progression", "–" if np.isnan(mean) else f"{mean:.3f}", "mean, BALROG's measure"),
    ]


def _parts(estimate: str) -> tuple[str, str]:
    """Splits ``1,234 (1,100–1,400)`` into the value and a text on its interval."""
    value, _, interval = estimate.partition(" (")
    return value, f"95 % interval {interval.rstrip(')')}" if interval else ""


def _table(data: ReportData, names: Sequence[str]) -> dict[str, Any]:
    place = {name: number for number, name in enumerate(names)}
    return {
        "columns": [column.to_values() for column in TABLE],
        "games": [[_value(game.info, column.name) for column in TABLE] for game in data.games],
        "timelines": [_timeline(game, place) for game in data.games] if names else None,
        "colours": [colour_of(name) for name in names],
        "colourOf": COLOURS,
        "otherColour": OTHER_COLOUR,
        "terminal": TERMINAL,
        "films": [film.name for film in data.films],
    }


def _value(info: Mapping[str, Any], name: str) -> Any:
    if name == "who":
        return "-".join(info[key] for key in ("race", "gender", "alignment") if info[key])
    value = info[name]
    if name == "core":
        return str(value) if value >= 0 else ""  # a seed is a name, without commas
    if name == "role":
        return value or UNKNOWN
    if name in LEAST and value < LEAST[name]:
        return None
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 4)
    return value.replace("_", " ") if name == "end" else value


def _timeline(game: GameSteps, place: Mapping[str, int]) -> list[int]:
    """Returns the code and the length of each run of equal columns, all in one list."""
    codes, lengths = runs_of(columns_of(game.labels, TIMELINE_COLUMNS))
    return [
        int(number) for code, length in zip(codes, lengths, strict=True) for number in (place[game.names[code]], length)
    ]


def _pictures_of_scores(scores: pd.DataFrame) -> list[Picture]:
    known = scores.dropna(subset="score")
    if known.empty:
        return []
    by_role = {
        str(role) or UNKNOWN: of.to_numpy(np.float64) for role, of in known.groupby("role", observed=True)["score"]
    }
    return [
        Picture(
            "score-by-role",
            "Scores by role",
            svg(partial(plots.draw_distributions, by_role, "score"), "Score distributions by role"),
            "A point a game; boxes from quarter to quarter with the median, a diamond for the mean.",
        )
    ]


def _pictures_of_strategies(games: Sequence[GameSteps]) -> list[Picture]:
    pictures = [_shares("role", "Strategies by role", counts_by_game(games, "role"))]
    for what, title in (
        ("depth", "Strategies by depth"),
        ("experience_level", "Strategies by experience level"),
        ("hit_points", "Strategies by hit points"),
    ):
        counts = counts_by(games, what)
        if len(counts):
            pictures.append(_shares(what.replace("_", "-"), title, counts))
    transitions, durations, (dying, hit_points) = transitions_of(games), durations_of(games), before_death(games)
    if transitions.to_numpy().any():
        pictures.append(
            Picture(
                "transitions",
                "Transitions",
                svg(partial(plots.draw_transitions, transitions), "Which strategy follows which"),
                "Where each strategy leads when it ends.",
            )
        )
    pictures.append(
        Picture(
            "durations",
            "Durations",
            svg(partial(plots.draw_durations, durations), "How long strategies run"),
            "Boxes from quarter to quarter with the median, whiskers from 5 % to 95 % of the runs.",
        )
    )
    if len(dying) > 1:
        picture = svg(
            partial(plots.draw_before_death, dying, hit_points), "Strategies in the last steps before a death"
        )
        pictures.append(Picture("before-death", "Before a death", picture))
    published = published_against_true(games)
    # Without published labels there is only the column `none`.
    if published.shape[1] > 1:
        pictures.append(
            Picture(
                "published-labels",
                "Published labels",
                svg(partial(plots.draw_confusion, published), "The published labels against the strategies that ran"),
                "What the rule of the HiHack labels says while each strategy runs.",
            )
        )
    return pictures


def _shares(anchor: str, title: str, counts: pd.DataFrame) -> Picture:
    label = title.removeprefix("Strategies by ")
    return Picture(f"by-{anchor}", title, svg(partial(plots.draw_shares, counts, label), title))
