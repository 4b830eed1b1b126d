"""The policies that come with the package are as their card says, and know AutoAscend's games."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pytorch_lightning")

from strathack.dataset import Dataset
from strathack.models.places import PRETRAINED, published
from strathack.models.predicting import predictions
from strathack.models.saving import load_policy, load_values

THOUSAND = Path(__file__).parents[2] / "data" / "autoascend-1k"
LARGEST = 8_000_000


@pytest.mark.parametrize("name", published())
def test_the_card_tells_what_the_file_tells(name: str) -> None:
    path = published()[name]
    assert path.stat().st_size < LARGEST
    about, card = load_values(path)["about"], (PRETRAINED / "README.md").read_text()
    assert about["dataset"] == Dataset(THOUSAND).fingerprint
    evaluation = about["evaluation"]
    score = evaluation["figures"]["score"]
    assert f"## `{name}`" in card
    tuned = about.get("finetuning")
    for told in (
        f"{about['frames']:,} frames",
        f"{about['validation']['action_nll']:.3f} nats" if tuned is None else f"{tuned['frames']:,} frames",
        f"{score['mean']['value']:,.0f} ± {score['standard_error']:,.0f}",
        f"median {score['median']['value']:,.0f}",
        f"{evaluation['games']} games",
    ):
        assert told in card


@pytest.mark.parametrize("name", published())
def test_it_predicts_the_bot(name: str) -> None:
    games = Dataset(THOUSAND).select("steps < 900", split="validation").take([0])
    steps = predictions(load_policy(Path(name)), games)
    assert len(steps) == games.steps
    assert steps["nll"].mean() < 1  # all actions alike: 4.8
    assert (steps["likely"] == steps["action"]).mean() > 0.6
