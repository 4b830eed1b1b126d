from dataclasses import replace

import pandas as pd
import pytest
from made_up_games import write_games

from strathack.analysis.report.page import UNKNOWN, ReportData, _table, _tiles, page_of
from strathack.analysis.report.reading import card_of, read_games, spread_by_score
from strathack.analysis.scores import summary_of
from strathack.analysis.steps import read_steps
from strathack.dataset import Dataset
from strathack.dataset.schema import UNKNOWN_SCORE


@pytest.fixture
def dataset(tmp_path):
    write_games(tmp_path / "data", [400, 90, 30, 60])
    return Dataset(tmp_path / "data")


def scored(games, scores):
    return [replace(game, info={**game.info, "score": score}) for game, score in zip(games, scores, strict=True)]


def test_games_to_watch_are_spread_from_the_best_to_the_worst(dataset):
    games = scored(read_steps(dataset), [5, 70, 30, 20])
    assert spread_by_score(games, 2) == ["game_1", "game_0"]
    assert spread_by_score(games, 4) == ["game_1", "game_2", "game_3", "game_0"]
    assert spread_by_score(games, 9) == ["game_1", "game_2", "game_3", "game_0"]
    assert spread_by_score(games, 0) == []


def test_the_card_counts_what_was_read_and_the_bytes_of_all(dataset, tmp_path):
    some = dataset.select("core != 0")
    games, left_out = read_games(some, None, lambda steps: None)
    assert left_out == []
    card = dict(card_of(tmp_path, some, games[:2]))
    size = sum(path.stat().st_size for path in dataset.paths)
    assert card["Size"] == f"{size:,} bytes in 1 file, {size / 580:.2f} a step"
    assert card["Ends"] == "death 2"
    assert card["Played by"] == "made up 1"


def test_what_imported_games_do_not_tell_is_not_made_up(dataset):
    unknown = {"core": -1, "role": "", "turns": -1, "max_depth": 0, "experience_level": 0, "progression": float("nan")}
    games = [replace(game, info={**game.info, **unknown}) for game in read_steps(dataset)]
    table = _table(ReportData("imported", "", [], games), [])
    titles = [column["name"] for column in table["columns"]]
    for game in table["games"]:
        told = dict(zip(titles, game, strict=True))
        assert (told["core"], told["role"]) == ("", UNKNOWN)
        assert [told[name] for name in ("turns", "max_depth", "experience_level", "progression")] == [None] * 4
    scores = pd.DataFrame([game.info for game in games])
    assert ("Progression", "–", "mean, BALROG's measure") in _tiles(summary_of(scores), scores)


def test_scores_that_are_not_known_are_no_part_of_the_pages_figures(dataset):
    games = scored(read_steps(dataset), [1234, UNKNOWN_SCORE, 4321, UNKNOWN_SCORE])
    page = page_of(ReportData("imported", "", [], games))
    assert "<dt>Mean score</dt><dd>2,778" in page
    assert "<dt>Median score</dt><dd>2,778" in page
