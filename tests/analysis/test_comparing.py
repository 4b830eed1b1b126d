from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_games import made_up, provenance, write_games

from strathack.analysis.comparing import column_of, compared, games_needed, named
from strathack.analysis.scores import scores_of
from strathack.cli import main
from strathack.dataset import Dataset
from strathack.dataset.shard import encode_shard


def series(values: np.ndarray, start: int = 0) -> pd.Series:
    return pd.Series(values, index=range(start, start + len(values)))


def test_the_same_seeds_are_compared_one_by_one() -> None:
    rng = np.random.default_rng(0)
    games = rng.normal(1000, 500, 60)
    better = compared(series(games + rng.normal(40, 20, 60)), series(games))
    assert better.paired
    assert (better.verdict, better.p < 0.001) == ("better", True)
    assert better.difference.low < 40 < better.difference.high
    # Of other seeds, the same games tell nothing: a difference of 40 drowns in a spread of 500.
    apart = compared(series(games + 40), series(games, start=1000))
    assert not apart.paired
    assert "too few games to tell" in apart.verdict
    assert apart.needed > 1000


@pytest.mark.slow
def test_players_alike_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(1)
    found = [compared(series(rng.exponential(size=40)), series(rng.exponential(size=40), 40)).p for _ in range(40)]
    assert sum(p < 0.05 for p in found) <= 6
    assert compared(series(np.ones(9)), series(np.ones(9))).verdict == "no difference"
    assert compared(series(np.ones(1)), series(np.zeros(1))).p == 1.0


def test_a_game_each_tells_nothing() -> None:
    found = compared(series(np.array([100.0])), series(np.array([5000.0])))
    assert (found.p, found.verdict) == (1.0, "too few games to tell")


def test_the_games_needed_are_those_of_a_test_of_that_power() -> None:
    # n = ((1.96 + 0.84) · spread / difference)², as textbooks have it.
    assert games_needed(1.0, 1.0) == 8
    assert games_needed(0.1, 1.0) == 785
    assert games_needed(0.0, 1.0) == float("inf")


def test_folders_are_called_by_what_tells_them_apart() -> None:
    assert list(named([Path("x/a"), Path("x/b")])) == ["a", "b"]
    assert list(named([Path("x/run"), Path("y/run")])) == ["x/run", "y/run"]


def test_evaluations_and_datasets_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        write_games(tmp_path / name, [30, 50, 40])
    (tmp_path / "table").mkdir()
    scores_of(Dataset(tmp_path / "two")).to_parquet(tmp_path / "table" / "scores.parquet")
    words = [str(tmp_path / name) for name in ("one", "table")]
    assert main(["compare", *words, "--out", str(tmp_path / "out.png"), "--published"]) == 0
    out = capsys.readouterr().out
    assert "3 pairs" in out
    assert "no difference" in out
    assert "published: AutoAscend" in out
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"


def test_seeds_that_all_have_played_are_compared_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seeds in {"three": range(3), "four": range(1, 5), "others": range(7, 9)}.items():
        (tmp_path / name).mkdir()
        for seed in seeds:
            data, _ = made_up(seed, 30 + seed)
            (tmp_path / name / f"game_{seed}.h5").write_bytes(encode_shard(data, provenance()))
    words = ["compare", *(str(tmp_path / name) for name in ("three", "four")), "--figure", "steps"]
    assert main(words) == 0
    assert "3 and 4 games" in capsys.readouterr().out
    assert main([*words, "--common"]) == 0
    assert "2 pairs" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(tmp_path / "others"), *words[1:], "--common"])
    assert "common: there is no seed that all have played" in capsys.readouterr().err


def test_games_without_seeds_and_figures_that_are_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two imports whose games have the same names: nobody played the same games, and 0 is no level."""
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        for number, level in enumerate((0, 4, 6)):
            data, _ = made_up(number, 30)
            row = data.row.copy()
            row["core"], row["turns"], row["experience_level"] = -1, -1, level
            game = encode_shard(replace(data, row=row), provenance())
            (tmp_path / place / f"game_{number}.h5").write_bytes(game)
    table = scores_of(Dataset(tmp_path / "one"))
    assert table["experience_level"].isna().sum() == 1
    first, second = (column_of(table, "experience_level", name) for name in ("one", "two"))
    assert sorted(first) == [4, 6]
    assert not compared(first, second).paired
    words = ["compare", str(tmp_path / "one"), str(tmp_path / "two")]
    assert main([*words, "--figure", "experience_level"]) == 0
    assert "2 and 2 games" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--figure", "turns"])
    assert "one: turns is known of none of its 3 games" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["one"], "data: one folder is nothing to compare; expected two or more"),
        (["one", "none"], "none: no such folder"),
        (["one", "one"], "data: one is given twice"),
        (["one", "two", "two"], "data: two is given twice"),
        (["one", "odd"], "odd/scores.parquet: no table of an evaluation; it lacks core, score, turns"),
        (["one", "broken"], "broken/scores.parquet: cannot be read"),
        (["one", "two", "--out", "picture"], "out: picture has no ending that names a picture format"),
        (["one", "two", "--figure", "luck"], "figure"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        write_games(tmp_path / name, [30, 50])
    for name in ("odd", "broken"):
        (tmp_path / name).mkdir()
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "odd" / "scores.parquet")
    (tmp_path / "broken" / "scores.parquet").write_text("not parquet")
    with pytest.raises(SystemExit, match="2"):
        main(["compare", *words])
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
