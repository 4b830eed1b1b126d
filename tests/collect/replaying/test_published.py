"""AutoAscend's games against the published ones (HiHack, github.com/upiterbarg/hihack, data/toy_hihack, MIT).

`published.json` has, for eight seeds: the number and SHA-256 of the agent's keypresses and the counts of the labels
as published (of two files that are cut, as far as they go), and of our own games their lengths, ends and digests of
all frames.
"""

import bz2
import hashlib
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from looking import read_dataset, same_games

from strathack.dataset.actions import KEY_CODES
from strathack.dataset.labels import STRATEGIES, count_by_name

pytest.importorskip("nethackers")

PUBLISHED = {
    int(seed): game for seed, game in json.loads(Path(__file__).with_name("published.json").read_text()).items()
}
QUICK = (2, 4)
CODES = {name: code for code, name in enumerate(STRATEGIES)}


def check(games, seeds):
    assert set(games) == set(seeds)
    for seed, game in games.items():
        expected = PUBLISHED[seed]
        length = expected["keys"]
        keys = KEY_CODES[game["actions"]]
        assert hashlib.sha256(keys[:length].tobytes()).hexdigest() == expected["keys_sha256"]
        assert count_by_name(game["hihack_strategy"][:length].astype("u1"), CODES) == expected["labels"]
        assert len(keys) == expected["steps"]
        assert game["row"]["steps"] == expected["steps"]
        assert game["row"]["score"] == expected["score"]
        assert game["row"]["cause"].decode() == expected["cause"]
        assert game["row"]["frames_sha256"].decode() == expected["frames_sha256"]
        assert game["row"]["keys_sha256"].decode() == hashlib.sha256(keys.tobytes()).hexdigest()
        # What the published rule calls a fight nearly always is none.
        strategy = game["strategy"]
        assert (strategy == CODES["fight"]).sum() < (game["hihack_strategy"] == CODES["fight"]).sum() * 0.8
        # The opening is labelled the same by both, and comes once.
        opening = strategy == CODES["init"]
        assert opening.sum() == expected["labels"]["init"]
        assert opening[: opening.sum()].all()


def seeds_option(seeds):
    return ("--seeds", ",".join(map(str, seeds)))


@pytest.mark.slow
def test_two_published_games_keypress_for_keypress(run, tmp_path, nothing_left):
    ended = run("collect", tmp_path / "data", *seeds_option(QUICK), "--workers", 2, "--quiet")
    assert ended.status == 0, ended.err
    check(read_dataset(tmp_path / "data"), QUICK)


@pytest.mark.slow
def test_the_other_published_games(run, tmp_path):
    seeds = sorted(set(PUBLISHED) - set(QUICK))
    ended = run("collect", tmp_path / "data", *seeds_option(seeds), "--workers", 2, "--quiet", timeout=1800)
    assert ended.status == 0, ended.err
    check(read_dataset(tmp_path / "data"), seeds)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs faketime, from Debian's package of that name")
@pytest.mark.parametrize(
    "date",
    ["2023-10-13 23:30:00", "2023-10-28 21:00:00", "2025-03-05 10:00:00"],
    ids=["friday-13", "full-moon", "plain"],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_the_date_of_the_driver_does_not_matter(run, tmp_path, date, workers):
    prefix = ("faketime", "-f", f"@{date}")
    words = ("collect", tmp_path / "data", *seeds_option((2, 22)), "--workers", workers, "--quiet")
    ended = run(*words, prefix=prefix, timeout=600)
    assert ended.status == 0, ended.err
    check(read_dataset(tmp_path / "data"), (2, 22))


@pytest.mark.slow
def test_one_worker_plays_what_two_and_none_play(run, tmp_path):
    games = []
    for workers in (0, 1, 2):
        folder = tmp_path / str(workers)
        ended = run("collect", folder, *seeds_option(QUICK), "--workers", workers, "--quiet", timeout=600)
        assert ended.status == 0, ended.err
        games.append(read_dataset(folder))
    assert same_games(games[0], games[1])
    assert same_games(games[0], games[2])


def published_records(path):
    """(channel, bytes) of every whole record of a ttyrec of version 4."""
    data = bz2.BZ2Decompressor().decompress(path.read_bytes())
    at = 0
    while at + 13 <= len(data):
        length, channel = struct.unpack_from("<iB", data, at + 8)
        if at + 13 + length > len(data):
            return
        yield channel, data[at + 13 : at + 13 + length]
        at += 13 + length


@pytest.mark.parametrize("seed", PUBLISHED)
def test_the_table_is_what_the_published_files_say(shared, seed):
    (path,) = (shared / "fixtures" / "hihack" / str(seed)).glob("*.ttyrec4.bz2")
    records = list(published_records(path))
    labels = np.array([struct.unpack("<i", data)[0] for channel, data in records if channel == 3])
    keys = np.array([data[0] for channel, data in records if channel == 1][: len(labels)], dtype=np.uint8)
    agents = keys[labels >= 0]
    assert len(agents) == PUBLISHED[seed]["keys"]
    assert hashlib.sha256(agents.tobytes()).hexdigest() == PUBLISHED[seed]["keys_sha256"]
    assert count_by_name(labels[labels >= 0].astype("u1"), CODES) == PUBLISHED[seed]["labels"]


def test_the_labels_of_every_step_are_the_published_ones(shared, run, tmp_path):
    (path,) = (shared / "fixtures" / "hihack" / "2").glob("*.ttyrec4.bz2")
    published = np.array([struct.unpack("<i", data)[0] for channel, data in published_records(path) if channel == 3])
    assert run("collect", tmp_path / "data", "--seeds", 2, "--workers", 0, "--quiet").status == 0
    (game,) = read_dataset(tmp_path / "data").values()
    assert np.array_equal(game["hihack_strategy"], published[published >= 0])
