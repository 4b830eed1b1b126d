"""Whole games of the fast bot against the bot's as it is installed.

`games.json` has, for some seeds, what the bot as installed made of them at the default settings: the SHA-256 of its
keys, of all frames and of all labels, the score and the end.
"""

import hashlib
import json
from pathlib import Path

import pytest
from looking import read_dataset

pytest.importorskip("nethackers")

GAMES = {int(seed): game for seed, game in json.loads(Path(__file__).with_name("games.json").read_text()).items()}
QUICK = (2057, 2091)
RECURSIVE = 1014
"""In this game, the bot recurses until the interpreter stops it."""
CHECKED = (1439, 1432, 1430, 1230, 1340, 1289, 1196, 1027, 1134, 1219)
"""Games with blindness, hallucination (1430, 1289), shops with prices (1230, 1196, 1134), other shapes (1340, 1134),
Sokoban and the mines (1027), and eleven levels (1219)."""
PLAIN = tuple(sorted(set(GAMES) - set(QUICK) - set(CHECKED) - {RECURSIVE}))


def check(folder, seeds, bot):
    games = read_dataset(folder)
    assert set(games) == set(seeds)
    for seed, game in games.items():
        expected, row = GAMES[seed], game["row"]
        labels = b"".join(game[name].astype("u1").tobytes() for name in ("strategy", "substrategy", "hihack_strategy"))
        assert row["keys_sha256"].decode() == expected["keys"], seed
        assert row["frames_sha256"].decode() == expected["frames"], seed
        assert hashlib.sha256(labels).hexdigest() == expected["labels"], seed
        assert (row["steps"], row["score"]) == (expected["steps"], expected["score"])
        assert row["cause"].decode() == expected["cause"]
        assert game["attributes"]["bot"].decode() == bot.get(seed, "fast")


def collect(run, folder, seeds, *options):
    words = ("--seeds", ",".join(map(str, seeds)), "--observations", "none", "--workers", 2, "--quiet", *options)
    return run("collect", folder, *words, timeout=3000)


def test_two_games_key_for_key(run, tmp_path, nothing_left):
    ended = collect(run, tmp_path / "data", QUICK)
    assert ended.status == 0, ended.err
    check(tmp_path / "data", QUICK, {})
    ended = run("dataset", "info", tmp_path / "data")
    assert "bot: fast 2" in ended.out


@pytest.mark.slow
def test_a_dataset_that_was_begun_in_one_way_is_gone_on_with_in_another(run, tmp_path, nothing_left):
    assert collect(run, tmp_path / "data", QUICK).status == 0
    ended = collect(run, tmp_path / "data", [*QUICK, 2093], "--extend", "--slow-bot")
    assert ended.status == 0, ended.err
    check(tmp_path / "data", [*QUICK, 2093], {2093: "installed"})
    assert "bot: fast 2, installed 1" in run("dataset", "info", tmp_path / "data").out


@pytest.mark.slow
def test_more_games_key_for_key(run, tmp_path):
    ended = collect(run, tmp_path / "data", PLAIN)
    assert ended.status == 0, ended.err
    check(tmp_path / "data", PLAIN, {})


@pytest.mark.slow
def test_a_game_that_gets_too_deep_is_played_as_installed(run, tmp_path):
    ended = collect(run, tmp_path / "data", [RECURSIVE])
    assert ended.status == 0, ended.err
    check(tmp_path / "data", [RECURSIVE], {RECURSIVE: "installed"})


@pytest.mark.slow
def test_ten_games_with_every_call_compared(run, tmp_path):
    ended = collect(run, tmp_path / "data", CHECKED, "--check-bot")
    assert ended.status == 0, ended.err
    check(tmp_path / "data", CHECKED, dict.fromkeys(CHECKED, "checked"))
