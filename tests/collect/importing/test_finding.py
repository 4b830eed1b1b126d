"""Finding recordings: through links, by odd names, from every folder; and what becomes of every file that is there."""

import bz2
import os
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from looking import forbid_listing
from nle import _pyconverter
from recordings import game_of_steps, output

from strathack.collect.importing.finding import find
from strathack.collect.importing.importer import Importer, load
from strathack.collect.running.jobs import Refused
from strathack.dataset.errors import InputError

HERE = ("--workers", 0, "--quiet")


def put(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bz2.compress(game_of_steps(2)) if content is None else content)
    return path


def names(found):
    return {file.shown: file.name for file in found.files}


def test_games_behind_links_are_found_and_each_file_once(tmp_path):
    put(tmp_path / "disk" / "far" / "nle.1.0.ttyrec3.bz2")
    put(tmp_path / "src" / "near" / "nle.2.0.ttyrec3.bz2")
    (tmp_path / "src" / "a-link").symlink_to(tmp_path / "disk" / "far")
    (tmp_path / "src" / "again").symlink_to(tmp_path / "src" / "near")
    (tmp_path / "src" / "near" / "loop").symlink_to(tmp_path / "src")
    (tmp_path / "src" / "near" / "nle.2.1.ttyrec3.bz2").symlink_to(tmp_path / "disk" / "far" / "nle.1.0.ttyrec3.bz2")
    (tmp_path / "src" / "near" / "nle.2.2.ttyrec3.bz2").symlink_to("nowhere")
    os.mkfifo(tmp_path / "src" / "near" / "nle.2.3.ttyrec3.bz2")
    found = find(tmp_path / "src", "auto")
    assert [file.shown for file in found.files] == ["a-link/nle.1.0.ttyrec3.bz2", "near/nle.2.0.ttyrec3.bz2"]
    assert found.refused == (
        "near/nle.2.3.ttyrec3.bz2: is no file",
        "near/nle.2.2.ttyrec3.bz2: cannot be read (is a broken link)",
    )
    assert sorted(found.left_out) == [
        "again: is near once more",
        f"near/loop: is {tmp_path}/src once more",
        "near/nle.2.1.ttyrec3.bz2: is a-link/nle.1.0.ttyrec3.bz2 once more",
    ]


def test_links_are_told_of_by_the_command_and_count_as_errors_only_when_strict(run_here, tmp_path):
    put(tmp_path / "disk" / "5" / "nle.1.0.ttyrec3.bz2")
    put(tmp_path / "disk" / "5" / "nle.1.xlogfile", b"points=7\tdeath=quit\tttyrecname=nle.1.0.ttyrec3.bz2\n")
    (tmp_path / "src").mkdir()
    for name in ("5", "x"):
        (tmp_path / "src" / name).symlink_to(tmp_path / "disk" / "5")
    ended = run_here("dataset", "import", tmp_path / "src", tmp_path / "data", *HERE)
    assert ended.status == 0, ended.err
    assert "1 of 1 games imported, 2 steps" in ended.out
    assert "left out: x: is 5 once more" in ended.out
    assert run_here("dataset", "import", tmp_path / "src", tmp_path / "data", *HERE, "--strict").status == 1


def test_names_that_are_cut_or_changed_end_in_a_hash_and_no_two_are_the_same(tmp_path):
    long = "a-very-long-folder-name-that-a-cluster-makes-of-its-job-and-its-options"
    paths = [
        *(f"{long}/nle.{n}.0.ttyrec3.bz2" for n in range(3)),
        *("プレイヤー/nle.1.0.ttyrec3.bz2", "игрок/nle.1.0.ttyrec3.bz2"),
        *("a-b/nle.1.0.ttyrec3.bz2", "a_b/nle.1.0.ttyrec3.bz2", "a/b/nle.1.0.ttyrec3.bz2", "a b/nle.1.0.ttyrec3.bz2"),
        *("v/nle.1.0.ttyrec3.bz2", "v/nle.1.0.ttyrec2.bz2", "x.ttyrecs/nle.1.0.ttyrec3.bz2", "7.ttyrec.bz2"),
    ]
    for path in paths:
        put(tmp_path / path)
    named = names(find(tmp_path, "auto"))
    assert set(named) == set(paths)
    assert len(set(named.values())) == len(paths)
    assert all(len(name.encode()) <= 64 for name in named.values())
    assert named["a-b/nle.1.0.ttyrec3.bz2"] == "game_a-b_nle.1.0"
    assert named["a/b/nle.1.0.ttyrec3.bz2"] == "game_a_b_nle.1.0"
    assert named["a_b/nle.1.0.ttyrec3.bz2"].startswith("game_a_b_nle.1.0_")
    assert named["7.ttyrec.bz2"] != "game_7", "that would be the game of seed 7"
    # A name does not depend on what else is there.
    for path in paths[:9]:
        alone = tmp_path / "alone"
        put(alone / path)
        assert names(find(alone, "auto")) == {path: named[path]}
        shutil.rmtree(alone)


def test_a_folder_whose_name_is_no_text_is_imported_and_named(run, tmp_path):
    put(tmp_path / "src" / os.fsdecode(b"caf\xe9") / "nle.1.0.ttyrec3.bz2")
    put(tmp_path / "src" / os.fsdecode(b"\xff\xfe") / "nle.1.0.ttyrec3.bz2", b"nothing")
    ended = run("dataset", "import", tmp_path / "src", tmp_path / "data", *HERE)
    assert ended.status == 1
    assert "1 of 2 games imported, 2 steps" in ended.out
    assert "not imported: \\xff\\xfe/nle.1.0.ttyrec3.bz2: not compressed by bzip2" in ended.out
    assert "Error" not in ended.err


def test_from_inside_a_games_folder_the_seed_is_the_same(run, shared, tmp_path, monkeypatch):
    shutil.copytree(shared / "fixtures" / "hihack" / "2", tmp_path / "src" / "2")
    file = next((tmp_path / "src" / "2").glob("*.ttyrec4.bz2"))
    ways = {}
    for folder, path in [
        (tmp_path, "src"),
        (tmp_path / "src", "2"),
        (tmp_path / "src" / "2", "."),
        (tmp_path / "src" / "2", file.name),
        (tmp_path, str(file)),
    ]:
        monkeypatch.chdir(folder)
        ways[str(folder), path] = [(game.seed, game.name) for game in find(Path(path), "auto").files]
    assert set(map(tuple, ways.values())) == {((2, "game_2"),)}, ways
    ended = run("dataset", "import", ".", tmp_path / "data", *HERE, cwd=tmp_path / "src" / "2")
    assert ended.status == 0, ended.err
    again = run("dataset", "import", "src/2", tmp_path / "data", *HERE, cwd=tmp_path)
    assert (again.status, again.out) == (0, ended.out), "the same command from elsewhere goes on with the same dataset"


@pytest.mark.parametrize("name", ["99999999999999999999", "9223372036854775808", "٣", "-1", "1.5"])
def test_folders_that_cannot_be_seeds(tmp_path, name):
    put(tmp_path / name / "nle.1.0.ttyrec4.bz2")
    assert find(tmp_path, "auto").files[0].seed == -1
    with pytest.raises(InputError, match="for a seed; expected a number up to 9223372036854775807"):
        find(tmp_path, "folder")


def test_two_recordings_of_one_seed_are_refused_with_advice_that_helps(tmp_path):
    put(tmp_path / "5" / "nle.1.0.ttyrec4.bz2")
    put(tmp_path / "x" / "05" / "nle.1.0.ttyrec4.bz2")
    with pytest.raises(InputError, match="would both be game_5; --seeds none takes no seeds"):
        find(tmp_path, "auto")
    assert len(find(tmp_path, "none").files) == 2


def test_a_folder_that_may_not_be_read_is_listed(tmp_path, monkeypatch):
    put(tmp_path / "src" / "a" / "nle.1.0.ttyrec3.bz2")
    (tmp_path / "src" / "b").mkdir()
    forbid_listing(monkeypatch, tmp_path / "src" / "b")
    assert find(tmp_path / "src", "auto").closed == ("b: cannot be read (Permission denied)",)


# The property: whatever is there is imported, refused or left out, by name; what is imported is what NLE itself
# finds; and it does not matter from where.

_FOLDERS = ["a", "a/b", "a_b", "a-b", "5", "プレイヤー", "игрок", "x" * 70, "a b"]
_LINES = ["", "points=5\tturns=3\tdeath=quit\tttyrecname={}", "points=many\tttyrecname={}", "version=3.4.3:points=5"]
_FILES = st.fixed_dictionaries(
    {
        "folder": st.sampled_from(_FOLDERS),
        "name": st.sampled_from(["nle.1.0.ttyrec3.bz2", "nle.1.1.ttyrec3.bz2", "nle.2.0.ttyrec2.bz2"]),
        "steps": st.integers(0, 5),
        "streams": st.integers(1, 4),
        "rest": st.sampled_from([b"", b"", b"rest", b"\0" * 9]),
        "cut": st.sampled_from([0, 0, 0, 3, 20]),
        "lines": st.lists(st.sampled_from(_LINES), max_size=2),
    }
)
_LINKS = st.lists(st.tuples(st.sampled_from(_FOLDERS), st.sampled_from(["link", "zwei", "1"])), max_size=3)


def make_tree(root, files, links):
    made = {}
    for file in files:
        path = root / file["folder"] / file["name"]
        data = game_of_steps(file["steps"], version=int(file["name"][-5]))
        bounds = [len(data) * i // file["streams"] for i in range(file["streams"] + 1)]
        packed = b"".join(bz2.compress(data[a:b]) for a, b in pairwise(bounds))
        put(path, packed[: len(packed) - file["cut"]] + (b"" if file["cut"] else file["rest"]))
        log = path.with_name(path.name.split(".0.")[0].split(".1.")[0] + ".xlogfile")
        with log.open("a") as stream:
            stream.writelines(line.format(path.name) + "\n" for line in file["lines"])
        made[str(path.relative_to(root))] = data
    for target, name in links:
        with_links = root / name
        if (root / target).exists() and not with_links.is_symlink():
            with_links.symlink_to(root / target)
    return made


def steps_by_nle(data, version):
    """The keys that NLE's converter gives of a whole recording."""
    with tempfile.NamedTemporaryFile(suffix=".bz2") as file:
        # The converter drops a file's last record.
        file.write(bz2.compress(data + output(b"\0\0")))
        file.flush()
        converter = _pyconverter.Converter(24, 80, version)
        converter.load_ttyrec(file.name)
        arrays = [np.zeros((64, 24, 80), np.uint8), np.zeros((64, 24, 80), np.int8), np.zeros((64, 2), np.int16)]
        keys = np.zeros(64, np.uint8)
        left = converter.convert(*arrays, np.zeros(64, np.int64), keys, np.zeros(64, np.int32))
        return keys[: 64 - left]


@pytest.fixture(scope="module")
def importer():
    worker = Importer(None, {"command": "", "revision": "", "created": ""})
    yield worker
    worker.close()


@settings(deadline=None, max_examples=40)
@given(files=st.lists(_FILES, min_size=1, max_size=5), links=_LINKS)
def test_every_file_is_imported_refused_or_left_out_by_name(importer, files, links):
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        made = make_tree(root, files, links)
        found = find(root, "auto")
        try:
            os.chdir(root / files[0]["folder"])
            assert find(Path(os.path.relpath(root)), "auto").files == found.files
        finally:
            os.chdir(before)
        outcomes = {file.shown: importer.work(load(found.logs, file), lambda steps: None) for file in found.files}
        refused = {shown for shown, outcome in outcomes.items() if isinstance(outcome, Refused)}
        assert all(outcome.reason.startswith(f"{shown}: ") for shown, outcome in outcomes.items() if shown in refused)
        left_out = {line.split(": is ")[0] for line in found.left_out}
        # Every file is there once, by its own path or by a link's; links to what is there already are told of.
        assert len(outcomes) == len(made)
        assert set(outcomes) == set(made)
        assert left_out == {path.name for path in root.iterdir() if path.is_symlink()}
        assert len({file.name for file in found.files}) == len(found.files)
        cut = {f"{file['folder']}/{file['name']}": file["cut"] for file in files}
        for shown, outcome in outcomes.items():
            if shown not in refused and not cut[shown]:
                assert outcome.steps == len(steps_by_nle(made[shown], int(shown[-5])))
