from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_games import write_games

from strathack.analysis.scores import FIGURES, estimated, figure_of, interquartile_mean, scores_of, summary_of
from strathack.dataset import Dataset


def table(scores: list[int], **columns: list[object]) -> pd.DataFrame:
    values: dict[str, object] = dict.fromkeys(FIGURES, scores)
    values |= {"core": range(len(scores)), "end": "death", "role": "Val", **columns}
    return pd.DataFrame(values)


def test_figures_are_those_of_the_games() -> None:
    summary = summary_of(table([1, 2, 3, 4, 5, 6, 7, 100], end=["death"] * 6 + ["abort", "step_limit"]))
    score = summary.figures["score"]
    assert (summary.games, summary.limited, summary.ends) == (8, 0.25, {"death": 6, "abort": 1, "step_limit": 1})
    assert (score.mean.value, score.median.value, score.interquartile_mean.value) == (16.0, 4.5, 4.5)
    assert score.standard_error == pytest.approx(np.std([1, 2, 3, 4, 5, 6, 7, 100], ddof=1) / 8**0.5)
    assert score.mean.low < 16 < score.mean.high


@settings(max_examples=15)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_games_is_of_no_consequence(scores: list[int], random: object) -> None:
    games = table(scores)
    assert repr(summary_of(games)) == repr(summary_of(games.sample(frac=1, random_state=random.randrange(2**32))))  # type: ignore[attr-defined]


def test_shares_are_means_of_games_and_not_of_steps() -> None:
    summary = summary_of(table([1, 2], share_fight=[1.0, 0.0], share_explore=[0.0, 1.0]))
    assert summary.strategies == {"explore": 0.5, "fight": 0.5}


def test_one_game_has_an_interval_of_no_width_and_none_has_no_figures() -> None:
    one = figure_of(np.array([3.0]))
    assert (one.mean.low, one.mean.high) == (3.0, 3.0)
    assert np.isnan(one.standard_error)
    assert np.isnan(figure_of(np.array([np.nan])).mean.value)
    with pytest.raises(ValueError, match="no games"):
        summary_of(table([]))


def test_a_bootstrap_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        found = estimated(rng.normal(5, 2, 80), np.mean, 0)
        held += found.low <= 5 <= found.high
    assert 50 <= held <= 60


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=40).filter(lambda values: len(values) % 4 == 0))
def test_the_interquartile_mean_is_the_mean_of_the_middle_half(values: list[float]) -> None:
    quarter = len(values) // 4
    middle = sorted(values)[quarter : 3 * quarter]
    assert float(interquartile_mean(np.array(values))) == pytest.approx(np.mean(middle), abs=1e-6)


def test_a_datasets_table_has_its_games_and_their_shares(tmp_path: Path) -> None:
    write_games(tmp_path / "games", [30, 50, 40])
    dataset = Dataset(tmp_path / "games")
    scores = scores_of(dataset)
    assert scores["steps"].tolist() == [len(dataset[name]) for name in scores["game"]]
    shares = scores[[name for name in scores if name.startswith("share_")]]
    assert shares.sum(axis=1).tolist() == pytest.approx([1.0] * 3)
