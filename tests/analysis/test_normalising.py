"""Scores as shares of the demonstrator's mean with the same character."""

from pathlib import Path

import pandas as pd
import pytest

from strathack.analysis.normalising import AUTOASCEND_1K, KATAKOMBA, normalised

GAMES = Path(__file__).parents[2] / "data" / "autoascend-1k" / "games.parquet"


def table(*rows):
    return pd.DataFrame(rows, columns=["role", "race", "alignment", "score"])


def test_our_own_means_are_those_of_the_dataset():
    means = pd.read_parquet(GAMES).groupby("role", observed=True)["score"].mean()
    assert means.to_dict() == pytest.approx(dict(AUTOASCEND_1K), abs=0.06)


def test_a_game_is_divided_by_the_mean_of_its_character():
    games = table(("Val", "Hum", "Law", 2610.303), ("Arc", "Gno", "Neu", 531.657), ("Hea", "Elf", "Cha", 443.28))
    found = normalised(games)
    assert found["katakomba"].mean.value == pytest.approx(0.1), "their table has no elvish healer"
    expected = [2610.303 / AUTOASCEND_1K["Val"], 531.657 / AUTOASCEND_1K["Arc"], 0.1]
    assert found["autoascend-1k"].mean.value == pytest.approx(sum(expected) / 3)


def test_the_demonstrator_itself_is_near_1():
    found = normalised(pd.read_parquet(GAMES))
    assert found["autoascend-1k"].mean.value == pytest.approx(1.0, abs=1e-3)
    assert found["katakomba"].mean.value == pytest.approx(1.0, abs=0.15), "an older NLE, other games"
    assert len(KATAKOMBA) == 38


def test_tables_without_the_characters_are_left_out():
    assert normalised(table(("", "", "", 5))) == {}
    assert set(normalised(table(("Val", "Orc", "Law", 5)))) == {"autoascend-1k"}
