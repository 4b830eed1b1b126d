"""Human games in nethack.alt.org's layout, held against NLE's own loader of it."""

import bz2
import contextlib
import io
import os
import struct
from datetime import datetime, timezone

import nle.dataset as nld
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from looking import forbid_listing
from nle import _pyconverter
from nle.dataset.populate_db import assign_ttyrecs_to_games
from recordings import START

from strathack.collect.importing.altorg import assigned, find_players, time_of
from strathack.collect.importing.ttyrec import read_ttyrecs, screens, terminal_of
from strathack.collect.playing.xlogfile import LogEntry
from strathack.dataset import Dataset
from strathack.dataset.actions import NO_ACTION
from strathack.dataset.errors import InputError

HERE = ("--workers", 0, "--quiet")


def record1(payload, seconds=START):
    """A record of a ttyrec of version 1."""
    return struct.pack("<iii", seconds, 0, len(payload)) + payload


def outputs(path):
    """What a later ttyrec writes to the terminal, record by record."""
    data, at = bz2.decompress(path.read_bytes()), 0
    while at + 13 <= len(data):
        _, _, length, channel = struct.unpack_from("<iiiB", data, at)
        if channel == 0:
            yield data[at + 13 : at + 13 + length]
        at += 13 + length


def file_name(seconds, separator=":"):
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime(f"%Y-%m-%d.%H{separator}%M{separator}%S.ttyrec.bz2")


def put(folder, seconds, records, separator=":"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(seconds, separator)
    # NLE's converter loses the last record of each file; here it writes nothing, so that no later screen lacks it.
    path.write_bytes(bz2.compress(b"".join([*records, record1(b"\0")])))
    return path


def log_line(name, began, ended, turns=500, death="killed by a jackal", separator="\t", points=37):
    values = {
        "version": "3.6.6", "points": points, "deathdnum": 0, "deathlev": 1, "maxlvl": 2, "hp": 0, "maxhp": 14,
        "deaths": 1, "deathdate": 20231023, "birthdate": 20231022, "uid": 5, "role": "Hea", "race": "Gno",
        "gender": "Fem", "align": "Neu", "name": name, "death": death, "conduct": "0x0", "turns": turns,
        "achieve": "0x0", "realtime": 100, "starttime": began, "endtime": ended, "gender0": "Fem", "align0": "Neu",
        "flags": "0x0",
    }  # fmt: skip
    return separator.join(f"{key}={value}" for key, value in values.items()) + "\n"


@pytest.fixture
def tree(shared, tmp_path):
    """Three players, one of whom writes her name in two ways; games in one and three parts, and what is no game."""
    root = tmp_path / "altorg"
    published = [record1(text) for text in outputs(next((shared / "fixtures" / "hihack" / "2").glob("*.bz2")))]
    third = len(published) // 3
    hour = 3600
    put(root / "Ann", START + 60, published[:third])
    put(root / "Ann", START + 5 * hour, published[third : 2 * third], "_")
    put(root / "ann", START + 9 * hour, published[2 * third :])
    put(root / "Ann", START + 20 * hour, published[:50])
    put(root / "Ann", START + 40 * hour, published[:20])  # after all of her games
    put(root / "bob", START - 200, published[:100])  # a little before the log says that he began
    put(root / "bob", START + 3 * hour, published[:30])  # of a game that he quit at once
    put(root / "bob", START - 5 * hour, published[:10])  # before all of his games
    put(root / "bob", START + 1 * hour, published[:40])  # on the blacklist
    put(root / "Eve", START, published[:10])  # in no log
    (root / "bob" / "yesterday.ttyrec.bz2").write_bytes(bz2.compress(published[0]))
    (root / "xlogfile.1").write_text(
        log_line("Ann", START, START + 10 * hour) + log_line("Ann", START + 20 * hour, START + 21 * hour, points=5)
    )
    (root / "xlogfile.2.txt").write_text(
        log_line("Bob", START, START + 2 * hour, separator=":")
        + log_line("Bob", START + 3 * hour, START + 4 * hour, turns=7, death="quit", separator=":")
        + log_line("Cid", START, START + hour, separator=":")
    )
    # NLE compares names with the line's end, so that only a last line without one works there.
    (root / "blacklist.txt").write_text(f"bob/{file_name(START + hour)}")
    return root


def of_nle(root, folder):
    """The games that NLE makes of a tree: name, points, the files in order, and the screens that its loader gives."""
    database = str(folder / "nle.db")
    with contextlib.redirect_stdout(io.StringIO()):
        nld.db.create(database)
        nld.add_altorg_directory(str(root), "altorg", filename=database)
    dataset = nld.TtyrecDataset("altorg", batch_size=1, seq_length=64, dbfilename=database, shuffle=False)
    dataset.populate_metadata()
    for game in list(dataset._games):
        meta = dataset.get_meta(game)
        batches = dataset.get_ttyrec(game)
        kept = np.concatenate([batch["gameids"][0] for batch in batches]) == game
        arrays = {key: np.concatenate([batch[key][0] for batch in batches])[kept] for key in batches[0]}
        yield (meta["name"], meta["points"], meta["starttime"]), dataset.get_paths(game), arrays


def test_the_games_their_files_and_screens_are_those_of_nles_loader(run_here, tree, tmp_path):
    theirs = {key: (paths, arrays) for key, paths, arrays in of_nle(tree, tmp_path)}
    ours = find_players(tree)
    assert len(theirs) == 3
    found = {}
    for game in ours.games:
        fields = dict(part.split("=", 1) for part in game.line.split("\t" if "\t" in game.line else ":"))
        found[fields["name"], int(fields["points"]), int(fields["starttime"])] = game
    assert found.keys() == theirs.keys(), "pseudonyms too are the same"
    ended = run_here("dataset", "import", tree, tmp_path / "data", *HERE)
    assert ended.status == 0, ended.err
    data = Dataset(tmp_path / "data")
    for key, (paths, arrays) in theirs.items():
        assert [str(path.relative_to(tree)) for path in found[key].paths] == paths
        game = data[found[key].name]
        lengths = [read_ttyrecs([(path.name, path.read_bytes())]).frames for path in found[key].paths]
        kept = np.ones(len(game), dtype=bool)
        kept[np.cumsum(lengths) - 1] = False
        assert kept.sum() == len(arrays["tty_chars"])
        chars, colors, cursor = (game.obs[name][:][kept] for name in ("tty_chars", "tty_colors", "tty_cursor"))
        assert np.array_equal(chars, arrays["tty_chars"])
        assert np.array_equal(colors, arrays["tty_colors"].view(np.uint8))
        assert np.array_equal(cursor, np.minimum(arrays["tty_cursor"], (23, 79)))


def test_what_is_known_of_a_game_is_in_the_dataset_and_no_name(run_here, tree, tmp_path):
    ended = run_here("dataset", "import", tree, tmp_path / "data", *HERE)
    assert "3 of 3 games imported" in ended.out
    hour = 3600
    told = {line.removeprefix("left out: ") for line in ended.out.splitlines() if line.startswith("left out: ")}
    assert told == {
        f"Ann/{file_name(START + 40 * hour)}: no game of the player was on when it begins",
        f"bob/{file_name(START - 5 * hour)}: no game of the player was on when it begins",
        f"bob/{file_name(START + hour)}: is on the blacklist",
        "bob/yesterday.ttyrec.bz2: its name is no time; expected YYYY-MM-DD.HH:MM:SS.ttyrec.bz2",
        f"Eve/{file_name(START)}: no log names a player 'eve'",
        "games of no length (no turn, or quit or escaped by turn 10): 1",
        "games of the logs without a recording: 1",
    }
    data = Dataset(tmp_path / "data")
    longest = max(data, key=len)
    info = longest.info
    assert (info["role"], info["race"], info["gender"], info["alignment"]) == ("Hea", "Gno", "Fem", "Neu")
    assert (info["turns"], info["score"], info["max_depth"], info["end"]) == (500, 37, 2, "death")
    assert info["cause"] == "killed by a jackal"
    assert (longest.actions[:] == NO_ACTION).all()
    assert {game.provenance.demonstrator for game in data} == {"human"}
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir() if path.is_file())
    for name in (b"Ann", b"bob", b"name=Bob"):
        assert name not in stored, "frames are compressed; all else has the pseudonym"
    assert run_here("dataset", "verify", tmp_path / "data", "--quiet").status == 0
    named = run_here("dataset", "import", tree, tmp_path / "named", "--real-names", *HERE)
    assert named.status == 0
    assert {game.attributes["source"].split("/")[0] for game in Dataset(tmp_path / "named")} == {"ann", "bob"}
    assert run_here("dataset", "import", tree, tmp_path / "strict", "--strict", *HERE).status == 1


TIMES = st.integers(0, 5000)


@settings(deadline=None)
@given(st.lists(TIMES, max_size=12, unique=True), st.lists(st.tuples(TIMES, TIMES), max_size=8))
def test_recordings_are_assigned_as_nle_does(files, spans):
    games = [(min(span), max(span)) for span in spans]
    places = assigned([START + began for began in files], [(START + began, START + ended) for began, ended in games])
    named = {file_name(START + began): place for began, place in zip(files, places, strict=True)}
    theirs = assign_ttyrecs_to_games(
        list(named), [(place + 1, START + began, START + ended) for place, (began, ended) in enumerate(games)]
    )
    assert {name: place for name, place in named.items() if place is not None} == {
        name: game - 1 for name, game in theirs if game > 0
    }


@given(st.lists(TIMES, max_size=12), st.lists(st.tuples(st.integers(301, 900), st.integers(0, 900)), max_size=6))
def test_of_games_one_after_another_a_recording_belongs_to_the_one_that_was_on(files, lengths):
    games, at = [], 0
    for pause, length in lengths:
        games.append((at + pause, at + pause + length))
        at += pause + length
    for began, place in zip(files, assigned(files, games), strict=True):
        on = [place for place, (start, end) in enumerate(games) if start - 300 <= began <= end]
        assert [place] == (on or [None])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2019-07-25.22:03:29.ttyrec.bz2", datetime(2019, 7, 25, 22, 3, 29, tzinfo=timezone.utc)),
        ("2019-07-25.22_03_29.ttyrec.bz2", datetime(2019, 7, 25, 22, 3, 29, tzinfo=timezone.utc)),
        ("2019-07-25.22_03:29.ttyrec.bz2", None),
        ("2019-02-30.22:03:29.ttyrec.bz2", None),
        ("game.ttyrec.bz2", None),
    ],
)
def test_times_in_names(name, expected):
    assert time_of(name) == (None if expected is None else int(expected.timestamp()))


def test_a_line_that_stands_in_two_logs_is_one_game(tree):
    (tree / "xlogfile.3").write_text((tree / "xlogfile.1").read_text())
    found = find_players(tree)
    assert len(found.games) == 3
    assert "lines that stand in several logs: 2" in found.left_out


def test_a_line_without_times_is_told_of_and_the_others_are_used(run_here, tree, tmp_path):
    with (tree / "xlogfile.1").open("a") as log:
        log.write("points=5\tname=Ann\n" + log_line("Ann", "soon", START) + "\n")
    ended = run_here("dataset", "import", tree, tmp_path / "data", *HERE)
    assert ended.status == 1
    assert "not imported: xlogfile.1: line 3: starttime is missing" in ended.out
    assert "not imported: xlogfile.1: line 4: starttime is 'soon'; expected a whole number" in ended.out
    assert "3 of 3 games imported" in ended.out


def test_a_damaged_part_is_left_out_with_a_note(run_here, tree, tmp_path):
    hour = 3600
    (tree / "Ann" / file_name(START + 5 * hour, "_")).write_bytes(b"hello")
    (tree / "Ann" / file_name(START + 20 * hour)).write_bytes(b"")
    ended = run_here("dataset", "import", tree, tmp_path / "data", *HERE)
    assert ended.status == 1
    assert "2 of 3 games imported" in ended.out
    assert "part 2 of 3 left out, not compressed by bzip2" in ended.out
    assert f"not imported: Player2/{file_name(START + 20 * hour)}: the file is empty" in ended.out


def test_a_tree_without_a_log_or_recordings_is_refused(run_here, tree, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "xlogfile.1").write_text("")
    ended = run_here("dataset", "import", empty, tmp_path / "data", *HERE)
    assert ended.status == 2
    assert ended.error.endswith("empty: holds no ttyrecs; expected <player>/<date>.<time>.ttyrec.bz2")
    for log in tree.glob("xlogfile*"):
        log.unlink()
    ended = run_here("dataset", "import", tree, tmp_path / "data", "--layout", "altorg", *HERE)
    assert ended.status == 2
    assert "altorg: holds no xlogfile; expected xlogfile.<number> beside the players' folders" in ended.error
    assert not (tmp_path / "data").exists()


def test_options_that_do_not_go_with_the_layout_are_refused(run_here, tree, tmp_path):
    for words, said in (
        (["--replay"], "replay: needs keys, which altorg does not have"),
        (["--seeds", "folder"], "seeds: altorg has none; leave them out"),
        (["--layout", "nle", "--real-names"], "real_names: recordings in NLE's layout name no players; leave it out"),
    ):
        ended = run_here("dataset", "import", tree, tmp_path / "data", *words, *HERE)
        assert ended.status == 2
        assert ended.error.endswith(said)
    assert not (tmp_path / "data").exists()


def test_a_folder_of_no_recordings_at_all(tmp_path):
    with pytest.raises(InputError, match="holds no xlogfile"):
        find_players(tmp_path)


def test_records_without_a_byte_are_passed_over():
    """NLE's converter takes such a record for the end of the file."""
    data = b"".join(map(record1, [b"a", b"", b"b", b"c", b""]))
    ttyrec = read_ttyrecs([("x.ttyrec.bz2", bz2.compress(data))])
    (chars,) = [part.chars.copy() for part in screens(ttyrec)]
    assert [bytes(one[0]).rstrip() for one in chars] == [b"a", b"ab", b"abc"]


def test_a_larger_terminal_gives_its_upper_left(tmp_path):
    texts = [
        b"\x1b[2J\x1b[1;1HHello\x1b[24;1HDlvl:1", b"\x1b[30;100Hfar away", b"\x1b[40;1Hbelow",
        b"\x1b[1;120Hright of it", b"\x1b[999;999H\x1b[6n",
    ]  # fmt: skip
    ttyrec = read_ttyrecs([("x.ttyrec.bz2", bz2.compress(b"".join(map(record1, texts))))])
    assert terminal_of(ttyrec) == (40, 120)
    (part,) = [(one.chars.copy(), one.cursor.copy()) for one in screens(ttyrec)]
    chars, cursor = part
    assert len(chars) == len(texts)
    assert (chars == chars[0]).all(), "what is written outside changes nothing inside"
    assert bytes(chars[-1, 0]).rstrip() == b"Hello"
    assert cursor.max(0).tolist() == [23, 79]
    plain = _pyconverter.Converter(24, 80, 1)
    path = tmp_path / "x.ttyrec.bz2"
    path.write_bytes(bz2.compress(b"".join(map(record1, [*texts, b"\0"]))))
    plain.load_ttyrec(os.fspath(path))
    arrays = (np.zeros((5, 24, 80), np.uint8), np.zeros((5, 24, 80), np.int8), np.zeros((5, 2), np.int16))
    plain.convert(*arrays, np.zeros(5, np.int64), np.zeros(5, np.uint8), np.zeros(5, np.int32))
    assert not np.array_equal(arrays[0][-1], chars[-1]), "a terminal of 24 rows is another picture"


def test_recordings_outside_of_players_folders_and_broken_links_are_listed(run_here, tree, tmp_path):
    put(tree, START, [record1(b"a")])
    put(tree / "Ann" / "old", START, [record1(b"a")])
    (tree / "Ann" / file_name(START + 1)).symlink_to("nowhere")
    ended = run_here("dataset", "import", tree, tmp_path / "data", *HERE)
    assert ended.status == 1
    name = file_name(START)
    for path in (name, f"Ann/old/{name}"):
        assert f"left out: {path}: is not in a player's folder; expected <player>/{name}" in ended.out
    assert f"not imported: Ann/{file_name(START + 1)}: cannot be read (is a broken link)" in ended.out
    assert "3 of 3 games imported" in ended.out


def test_a_tree_or_a_blacklist_that_cannot_be_read_is_refused(run_here, tree, tmp_path, monkeypatch):
    (tree / "blacklist.txt").unlink()
    (tree / "blacklist.txt").mkdir()
    ended = run_here("dataset", "import", tree, tmp_path / "data", *HERE)
    assert (ended.status, ended.error.endswith("blacklist.txt: cannot be read (Is a directory)")) == (2, True)
    forbid_listing(monkeypatch, tree)
    ended = run_here("dataset", "import", tree, tmp_path / "data", *HERE)
    assert (ended.status, ended.error.endswith("altorg: cannot be read (Permission denied)")) == (2, True)


def test_with_real_names_the_logs_lines_are_kept_as_they_are(tree):
    named = {LogEntry(game.line).fields["name"] for game in find_players(tree, real_names=True).games}
    assert named == {"Ann", "Bob"}


def test_of_two_names_of_one_recording_one_is_used(tree):
    name = file_name(START + 60)
    (tree / "ann" / name).symlink_to(f"../Ann/{name}")
    found = find_players(tree)
    assert [len(set(game.paths)) for game in found.games] == [len(game.paths) for game in found.games]
    assert f"ann/{name}: is Ann/{name} once more" in found.left_out
    assert len(found.games) == 3


def test_players_folders_may_be_links_into_hidden_ones(tree):
    (tree / ".store").mkdir()
    (tree / "bob").rename(tree / ".store" / "bob")
    (tree / "bob").symlink_to(".store/bob")
    assert len(find_players(tree).games) == 3
