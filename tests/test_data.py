"""The datasets that come with the repository are as their cards say."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from strathack.dataset import Dataset
from strathack.dataset.publishing.statistics import Statistics

ROOT = Path(__file__).parents[1]
THOUSAND = ROOT / "data" / "autoascend-1k"


def test_the_card_and_the_table_of_games_are_the_dataset_s():
    dataset = Dataset(THOUSAND)
    assert sorted(dataset.games["core"]) == list(range(1000, 2000))
    card = (THOUSAND / "README.md").read_text()
    assert f"{dataset.steps:,} steps" in card
    for table in Statistics(dataset).tables():
        assert table in card
    table = pd.read_parquet(THOUSAND / "games.parquet")
    pd.testing.assert_frame_equal(table, dataset.games.drop(columns="shard"), check_dtype=False)


def test_its_shortest_games_come_back_from_their_keys(run, tmp_path):
    ended = run("dataset", "expand", THOUSAND, tmp_path / "full", "--select", "steps < 700", "--workers", "0")
    assert ended.status == 0
    full = Dataset(tmp_path / "full")
    assert len(full) == (Dataset(THOUSAND).rows["steps"] < 700).sum() > 5
    assert "tty_chars" in full.observations


@pytest.mark.slow
def test_all_of_it_comes_back_from_its_keys(run, tmp_path):
    shutil.copytree(THOUSAND, tmp_path / "keys")  # a replay notes in the folder how far it has come
    ended = run("dataset", "verify", tmp_path / "keys", "--replay", "--quiet", timeout=3600)
    assert ended.status == 0
    assert "1,000 of 1,000 games came back from their keys" in ended.out
