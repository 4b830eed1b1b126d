"""Importing ttyrecs: the published games, NLE's own, and files that are damaged in every way."""

import bz2
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from looking import BOTS
from recordings import record

from strathack.collect.playing.clock import DEFAULT_CLOCK
from strathack.collect.playing.xlogfile import LogEntry
from strathack.dataset import Dataset
from strathack.dataset.actions import KEY_CODES
from strathack.dataset.labels import PUBLISHED_STRATEGIES

HERE = ("--workers", 0, "--quiet")


def counts(game):
    labels = game.hihack_strategy[:]
    found = {name: int((labels == code).sum()) for code, name in enumerate(PUBLISHED_STRATEGIES)}
    return {name: count for name, count in found.items() if count}


def check_published(data, shared, seeds):
    reference = json.loads((shared / "fixtures" / "hihack_reference.json").read_text())
    dataset = Dataset(data)
    assert sorted(dataset.rows["core"].tolist()) == sorted(seeds)
    for game in dataset:
        known, info = reference[str(game.info["core"])], game.info
        assert len(game) == known["agent_keypresses"]
        assert hashlib.sha256(KEY_CODES[game.actions[:]].tobytes()).hexdigest() == known["agent_keypress_sha256"]
        assert info["keys_sha256"] == known["agent_keypress_sha256"]
        assert counts(game) == known["published_label_counts"]
        assert (info["completeness"] == "truncated") == known["truncated"]
        if known["points"] is not None:
            assert info["score"] == int(known["points"])
            assert (info["role"], info["race"], info["gender"], info["alignment"]) == (
                known["role"], known["race"], known["gender"], known["align"],
            )  # fmt: skip
            assert info["cause"] == ("" if known["truncated"] else LogEntry(game.attributes["xlogfile"]).cause)


@pytest.mark.slow
def test_the_published_games_import_as_the_reference_says_truncated_ones_too(run, shared, tmp_path):
    ended = run("dataset", "import", shared / "fixtures" / "hihack", tmp_path / "data", *HERE)
    assert ended.status == 0, ended.err
    assert "8 of 8 games imported, 98,490 steps" in ended.out
    assert "imported, but: 1/nle.349179.0.ttyrec4.bz2: truncated, its bzip2 stream has no end\n" in ended.out
    assert "6/nle.349182.0.ttyrec4.bz2: truncated, its bzip2 stream has no end; no xlogfile line" in ended.out
    check_published(tmp_path / "data", shared, [1, 2, 4, 6, 22, 24, 28, 30])
    assert run("dataset", "verify", tmp_path / "data", "--quiet").status == 0
    again = run("dataset", "import", shared / "fixtures" / "hihack", tmp_path / "data", *HERE)
    assert again.out == ended.out, "what was said of the games is said again"
    strict = run("dataset", "import", shared / "fixtures" / "hihack", tmp_path / "data", *HERE, "--strict")
    assert strict.status == 1


def few(shared, folder, seeds):
    for seed in seeds:
        shutil.copytree(shared / "fixtures" / "hihack" / str(seed), folder / str(seed))
    return folder


@pytest.mark.parametrize(
    ("seeds", "steps"),
    [([2], 703), pytest.param([2, 4, 22, 24, 28, 30], 54147, marks=pytest.mark.slow)],
)
def test_replaying_brings_back_what_the_files_lack_and_the_same_screens(run, shared, tmp_path, seeds, steps):
    games = few(shared, tmp_path / "ttyrecs", seeds)
    plain = run("dataset", "import", games, tmp_path / "plain", *HERE)
    replayed = run("dataset", "import", games, tmp_path / "replayed", *HERE, "--replay", "--observations",
                   "tty_chars,tty_colors,tty_cursor,blstats,glyphs")  # fmt: skip
    assert (plain.status, replayed.status) == (0, 0), replayed.err
    check_published(tmp_path / "replayed", shared, seeds)
    assert Dataset(tmp_path / "replayed").steps == steps
    for game in Dataset(tmp_path / "replayed"):
        recorded = Dataset(tmp_path / "plain")[game.name]
        for key in ("tty_chars", "tty_colors", "tty_cursor"):
            assert np.array_equal(game.obs[key][:], recorded.obs[key][:])
        blstats, glyphs = game.obs["blstats"][:], game.obs["glyphs"][:]
        assert blstats[:, 20].min() >= 0
        assert (blstats[:, 20] > 0).any()
        assert (glyphs != glyphs[0]).any()
        assert game.info["frames_sha256"]


def records(data):
    """(offset, channel, payload) of every record of a ttyrec2 or later."""
    at = 0
    while at + 13 <= len(data):
        _, _, length, channel = struct.unpack_from("<iiiB", data, at)
        yield at, channel, data[at + 13 : at + 13 + length]
        at += 13 + length


def test_a_game_that_departs_is_listed_with_the_step(run, shared, tmp_path):
    games = few(shared, tmp_path / "ttyrecs", [2])
    path = next((games / "2").glob("*.ttyrec4.bz2"))
    data = bytearray(bz2.decompress(path.read_bytes()))
    keys = [at for at, channel, _ in records(data) if channel == 1]
    data[keys[400] + 13] = ord("s") if data[keys[400] + 13] != ord("s") else ord("j")
    path.write_bytes(bz2.compress(bytes(data)))
    ended = run("dataset", "import", games, tmp_path / "data", *HERE, "--replay")
    assert ended.status == 1
    assert "0 of 1 games imported" in ended.out
    assert "not imported: 2/nle.349180.0.ttyrec4.bz2: the replay shows another screen at step 4" in ended.out


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("nle.1.0.ttyrec3.bz2", b"", "the file is empty"),
        ("nle.1.0.ttyrec3.bz2", b"hello", "not compressed by bzip2"),
        ("nle.1.0.ttyrec3.gz", b"hello", "not compressed by bzip2"),
        ("nle.1.0.ttyrec3.bz2", bz2.compress(b""), "it has no whole record"),
        ("nle.1.0.ttyrec7.bz2", b"BZh9", "ttyrec version 7 is unknown; expected 1 to 4"),
        ("nle.1.0.ttyrec3.bz2", bz2.compress(record(1, b"jk")), "its record 0 is no record of version 3 (at byte 0)"),
        ("nle.1.0.ttyrec3.bz2", bz2.compress(record(9, b"x")), "its record 0 is no record of version 3 (at byte 0)"),
        ("nle.1.0.ttyrec2.bz2", bz2.compress(record(2, b"1234")), "its record 0 is no record of version 2"),
        ("nle.1.0.ttyrec3.bz2", bz2.compress(record(0, b"x") + record(1, b"\x01")), "its key 1 at step 0 is outside"),
        ("nle.1.0.ttyrec4.bz2", bz2.compress(record(1, b"k") + record(3, b"\x0c\0\0\0")), "its label 12 at step 0"),
        ("nle.1.0.ttyrec4.bz2", bz2.compress(record(1, b"k") + 2 * record(3, bytes(4))), "it has 2 labels for 1 keys"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_listed_each_with_its_reason(run_here, tmp_path, name, content, reason):
    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "src" / "a" / name).write_bytes(content)
    ended = run_here("dataset", "import", tmp_path / "src", tmp_path / "data", *HERE)
    assert ended.status == 1
    assert f"not imported: a/{name}: {reason}" in ended.out


def test_a_file_that_an_xlogfile_names_and_is_not_there_is_listed(run_here, tmp_path):
    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "src" / "a" / "nle.1.0.ttyrec2.bz2").write_bytes(bz2.compress(record(0, b"x") + record(1, b"k")))
    lines = [f"points=5\tdeath=quit\tttyrecname=nle.1.{number}.ttyrec2.bz2\n" for number in (0, 1)]
    (tmp_path / "src" / "a" / "nle.1.xlogfile").write_text("".join(lines))
    ended = run_here("dataset", "import", tmp_path / "src", tmp_path / "data", *HERE)
    assert ended.status == 1
    assert "1 of 1 games imported, 1 steps" in ended.out
    assert "not imported: a/nle.1.xlogfile: the ttyrec nle.1.1.ttyrec2.bz2 is not there" in ended.out
    game = Dataset(tmp_path / "data")[0]
    assert (game.info["score"], game.info["end"], game.info["origin"]) == (5, "quit", "ttyrec")
    assert bytes(game.obs["tty_chars"][0, 0, :2]) == b"x "
    assert game.action_names().tolist() == ["north"]


def ttyrec1(texts):
    return b"".join(struct.pack("<iii", 1698000000 + i, 0, len(text)) + text for i, text in enumerate(texts))


def test_human_games_are_screens_alone_and_marked_so(run_here, tmp_path):
    (tmp_path / "src" / "a").mkdir(parents=True)
    texts = [b"\x1b[2J\x1b[1;1HHello", b"\x1b[2;5H\x1b[31mworld\x1b[0m", b"\x1b[24;80H"]
    (tmp_path / "src" / "a" / "nle.7.0.ttyrec1.bz2").write_bytes(bz2.compress(ttyrec1(texts)))
    (tmp_path / "src" / "a" / "nle.7.1.ttyrec.bz2").write_bytes(bz2.compress(ttyrec1(texts)[:-4]))
    ended = run_here("dataset", "import", tmp_path / "src", tmp_path / "data", *HERE)
    assert "2 of 2 games imported, 5 steps" in ended.out
    assert "a/nle.7.1.ttyrec.bz2: truncated, its last record is not whole; no xlogfile line" in ended.out
    whole, cut = Dataset(tmp_path / "data")
    assert (whole.info["origin"], whole.info["end"], whole.info["keys_sha256"]) == ("screens", "unknown", "")
    assert (cut.info["end"], cut.info["completeness"]) == ("recording_cut", "truncated")
    assert set(whole.actions[:]) == {255}
    assert [bytes(whole.obs["tty_chars"][i, 1, 4:9]) for i in range(3)] == [b"     ", b"world", b"world"]
    assert bytes(whole.obs["tty_chars"][0, 0, :5]) == b"Hello"
    assert whole.obs["tty_colors"][1, 1, 4] == 1
    assert whole.obs["tty_cursor"][2].tolist() == [23, 79]
    assert run_here("dataset", "verify", tmp_path / "data", "--quiet").status == 0
    refused = run_here("dataset", "compact", tmp_path / "data", tmp_path / "keys")
    assert refused.status == 2
    assert "has no keys, only screens were imported" in refused.error


@pytest.fixture(scope="module")
def recorded_live(tmp_path_factory):
    """A short game collected, and the ttyrec3 that NLE writes of the same keys, with its xlogfile."""
    folder = tmp_path_factory.mktemp("live")
    words = ["--seeds", "5,6", "--demonstrator", str(BOTS / "wanderer"), "--max-steps", "300", "--quiet"]
    collect = [sys.executable, "-m", "strathack", "collect", str(folder / "data"), *words, "--workers", "0"]
    subprocess.run(collect, check=True, capture_output=True)
    script = f"""
from pathlib import Path
from strathack.collect.replaying.replay import Recording, replaying
from strathack.dataset import Dataset
from strathack.dataset.keys import keys_only
for game in Dataset({str(folder / "data")!r}):
    out = Path({str(folder / "ttyrecs")!r}) / str(game.info["core"])
    out.mkdir(parents=True)
    recording = Recording.of_game(keys_only(game))
    with replaying(recording, (), ttyrecs=out) as replay:
        for _ in range(len(replay)):
            replay.advance()
        for key in b"\\x1b\\x1b#quit\\ry" + 9 * b"\\r":
            if replay._env.nethack.step(key)[1]:
                break
"""
    (folder / "save.py").write_text(script)
    environment = {**os.environ, **DEFAULT_CLOCK.environment()}
    subprocess.run([sys.executable, str(folder / "save.py")], check=True, env=environment)
    return folder


def test_screens_of_a_ttyrec3_are_those_of_nles_loader_and_those_recorded_live(run_here, recorded_live, tmp_path):
    from nle.dataset import TtyrecDataset, add_nledata_directory, db

    ended = run_here("dataset", "import", recorded_live / "ttyrecs", tmp_path / "data", *HERE, "--seeds", "folder")
    assert ended.status == 0, ended.err
    assert "imported, but" not in ended.out
    database = str(tmp_path / "nle.db")
    db.create(database)
    add_nledata_directory(str(recorded_live / "ttyrecs"), "live", database)
    with ThreadPoolExecutor(1) as threads:
        loader = TtyrecDataset("live", batch_size=1, seq_length=50, dbfilename=database, threadpool=threads)
        for gameid in (1, 2):
            theirs = [
                {name: array[0].copy() for name, array in batch.items()} for batch in loader.get_ttyrec(gameid, 50)
            ]
            valid = np.concatenate([batch["gameids"] for batch in theirs]) != 0
            rows = {name: np.concatenate([batch[name] for batch in theirs])[valid] for name in theirs[0]}
            ours = next(g for g in Dataset(tmp_path / "data") if np.array_equal(
                KEY_CODES[g.actions[: len(rows["keypresses"])]], rows["keypresses"]))  # fmt: skip
            # NLE 1.3's converter drops a file's last record; of all others the screens are the same.
            assert len(ours) - len(rows["keypresses"]) in (0, 1)
            count = len(rows["keypresses"])
            for key in ("tty_chars", "tty_colors", "tty_cursor"):
                assert np.array_equal(ours.obs[key][:count], rows[key])
    for live in Dataset(recorded_live / "data"):
        imported = Dataset(tmp_path / "data")[live.name]
        assert len(imported) > len(live) == 300
        for key in ("tty_chars", "tty_colors", "tty_cursor"):
            assert np.array_equal(imported.obs[key][:300], live.obs[key][:])
        assert np.array_equal(imported.actions[:300], live.actions[:])
        assert np.array_equal(imported.rewards[:299], live.rewards[:299])
        assert imported.info["end"] == "quit"
        assert imported.info["role"] == live.info["role"]


def test_games_are_told_apart_and_seeds_are_taken_only_where_they_are(run, recorded_live, tmp_path):
    ended = run("dataset", "import", recorded_live / "ttyrecs", tmp_path / "data", *HERE)
    assert ended.status == 0
    assert set(Dataset(tmp_path / "data").rows["core"]) == {-1}
    refused = run("dataset", "expand", tmp_path / "data", tmp_path / "x", *HERE)
    assert refused.status == 1
    assert "cannot be replayed, its seed or its clock is not known" in refused.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere", "out"), "nowhere: holds no ttyrecs; expected <game>/nle.<pid>.<episode>.ttyrec<version>.bz2"),
        (("src", "out", "--seeds", "file"), "seeds: 'file' is unknown; expected auto, folder or none"),
        (("src", "out", "--seeds", "none", "--replay"), "replay: needs seeds; --seeds none leaves them out"),
        (("src", "out", "--observations", "glyphs"), "observations: glyphs; needs --replay, since recordings hold"),
        (("src", "out", "--seeds", "folder"), "--seeds folder takes 'a' for a seed; expected a number"),
        (("src", "src"), "src: is not empty and holds no dataset.json; expected a dataset"),
    ],
)
def test_bad_requests_are_refused(run_here, tmp_path, monkeypatch, words, message):
    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "src" / "a" / "nle.1.0.ttyrec3.bz2").write_bytes(bz2.compress(record(1, b"k")))
    monkeypatch.chdir(tmp_path)
    ended = run_here("dataset", "import", *words, *HERE)
    assert ended.status == 2
    assert message in ended.error


def in_streams(data, count):
    """The same bytes as several bzip2 streams, as pbzip2 makes them: cut anywhere."""
    bounds = [len(data) * i // count for i in range(count + 1)]
    return [bz2.compress(data[a:b]) for a, b in pairwise(bounds)]


def test_a_file_of_several_bzip2_streams_is_read_to_its_end(run_here, shared, tmp_path):
    games = few(shared, tmp_path / "src", [2])
    path = next((games / "2").glob("*.ttyrec4.bz2"))
    path.write_bytes(b"".join(in_streams(bz2.decompress(path.read_bytes()), 5)))
    ended = run_here("dataset", "import", games, tmp_path / "data", *HERE, "--strict")
    assert ended.status == 0, ended.out
    check_published(tmp_path / "data", shared, [2])
    assert Dataset(tmp_path / "data").steps == 703


@pytest.mark.parametrize(
    ("harm", "note"),
    [
        (lambda streams: [*streams, b"\nrest"], "5 bytes after its last bzip2 stream are none, and left out"),
        (lambda streams: [*streams[:2], streams[2][:-5]], "truncated, its bzip2 stream at byte {} has no end"),
        (lambda streams: [*streams[:2], b"BZh9" + bytes(50)], "truncated, its bzip2 stream at byte {} is damaged"),
        (lambda streams: streams[:2], "truncated, its last record is not whole"),
    ],
)
def test_what_is_wrong_behind_the_first_stream_is_told(run_here, shared, tmp_path, harm, note):
    games = few(shared, tmp_path / "src", [2])
    path = next((games / "2").glob("*.ttyrec4.bz2"))
    streams = in_streams(bz2.decompress(path.read_bytes()), 3)
    path.write_bytes(b"".join(harm(streams)))
    ended = run_here("dataset", "import", games, tmp_path / "data", *HERE, "--strict")
    assert ended.status == 1
    told = f"{path.name}: {note.format(len(streams[0]) + len(streams[1]))}"
    assert told in ended.out
    again = run_here("dataset", "import", games, tmp_path / "data", *HERE, "--strict")
    assert (again.status, again.out) == (1, ended.out), "with the game there already"
    run_here("dataset", "merge", tmp_path / "merged", tmp_path / "data", "--quiet")
    assert told in Dataset(tmp_path / "merged")[0].attributes["import_note"]
    info = Dataset(tmp_path / "data")[0].info
    assert info["completeness"] == ("truncated" if "truncated" in note else "complete")
    assert info["steps"] == 703 or "truncated" in note


def test_lines_that_name_no_recording_are_taken_only_where_the_recording_agrees(run_here, shared, tmp_path):
    source = shared / "fixtures" / "bugs" / "nameless_xlogfile"
    ended = run_here("dataset", "import", source, tmp_path / "data", *HERE)
    assert ended.status == 0, ended.err
    assert "imported, but: run/nle.10520.0.ttyrec3.bz2: no xlogfile line agrees with it\n" in ended.out
    assert ended.out.count("imported, but") == 1
    reset, first, second = Dataset(tmp_path / "data")
    assert (len(reset), reset.info["score"], reset.info["role"], reset.info["end"]) == (63, 3, "", "unknown")
    assert (len(first), first.info["score"], first.info["turns"]) == (3759, 11, 1325)
    assert (first.info["role"], first.info["cause"]) == ("Mon", "killed by a goblin")
    assert (len(second), second.info["score"], second.info["cause"]) == (4230, 8, "died of starvation, while helpless")
    # NLE shows a score of 0 once a game is over; nothing was lost then.
    assert [float(game.rewards[:].sum()) for game in (reset, first, second)] == [3, 11, 8]
    assert min(game.rewards[:].min() for game in (reset, first, second)) >= 0


@pytest.mark.parametrize(
    ("line", "row", "message"),
    [
        ("version=3.4.3:points=537:deathlev=3:maxlvl=4:role=Val:death=quit", (537, "Val", "quit", "complete"), ""),
        ("points=5\tdeath=killed by a newt", (5, "", "death", "complete"), ""),
        ("points=5\trole=Val", (5, "Val", "unknown", "truncated"), ""),
        ("points=many\tdeath=quit", None, "its line in a/nle.1.xlogfile: points is 'many'; expected a whole number"),
        ("points=5\tturns=1e3", None, "turns is '1e3'; expected a whole number"),
        ("points=9223372036854775808", None, "points is 9223372036854775808; expected -9223372036854775808 to"),
        ("points=5\tmaxlvl=40000", None, "maxlvl is 40000; expected -32768 to 32767"),
        ("points=5\trealtime=soon", None, "realtime is 'soon'; expected a whole number"),
        ("points=5\trole=Valkyrie", None, "role is 'Valkyrie'; expected at most three letters"),
    ],
)
def test_what_a_line_of_the_xlogfile_may_say(run_here, tmp_path, line, row, message):
    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "src" / "a" / "nle.1.0.ttyrec2.bz2").write_bytes(bz2.compress(record(0, b"x") + record(1, b"k")))
    separator = "\t" if "\t" in line else ":"
    (tmp_path / "src" / "a" / "nle.1.xlogfile").write_text(f"{line}{separator}ttyrecname=nle.1.0.ttyrec2.bz2\n")
    ended = run_here("dataset", "import", tmp_path / "src", tmp_path / "data", *HERE)
    if row is None:
        assert ended.status == 1
        assert "not imported: a/nle.1.0.ttyrec2.bz2: " in ended.out
        assert message in ended.out
    else:
        info = Dataset(tmp_path / "data")[0].info
        assert tuple(info[name] for name in ("score", "role", "end", "completeness")) == row


def test_a_replay_tells_what_no_xlogfile_did(run, shared, tmp_path):
    games = few(shared, tmp_path / "src", [2])
    next((games / "2").glob("*.xlogfile")).unlink()
    assert run("dataset", "import", games, tmp_path / "plain", *HERE).status == 0
    replayed = run("dataset", "import", games, tmp_path / "replayed", *HERE, "--replay")
    assert replayed.status == 0, replayed.err
    assert run("dataset", "compact", tmp_path / "plain", tmp_path / "keys").status == 0
    assert run("dataset", "expand", tmp_path / "keys", tmp_path / "expanded", *HERE).status == 0
    plain, *known = (Dataset(tmp_path / name)[0].info for name in ("plain", "replayed", "expanded"))
    assert (plain["role"], plain["score"], plain["turns"], plain["end"]) == ("", 38, -1, "unknown")
    for info in known:
        assert (info["role"], info["race"], info["gender"], info["alignment"]) == ("Hea", "Hum", "Fem", "Neu")
        assert (info["score"], info["turns"], info["end"], info["cause"]) == (37, 459, "death", FALLEN)
        assert (info["max_depth"], info["deepest_dungeon"], info["experience_level"]) == (1, "Dungeons of Doom", 1)
        assert info["progression"] == 0, "level 1 and depth 1 are worth nothing, which is known"
    verified = run("dataset", "verify", tmp_path / "expanded", "--replay", *HERE)
    assert verified.status == 0, verified.out


FALLEN = "killed by a falling rock"
