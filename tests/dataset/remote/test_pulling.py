"""Pulls and pushes of published folders, cut off at every tenth of a file."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from hub import READER, WRITER
from made_up_games import write_games

from strathack.cli import main
from strathack.dataset import Dataset
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.manifest import MANIFEST, differing, parse_manifest
from strathack.dataset.remote import pulling
from strathack.dataset.remote.pulling import planned, pull_all

KEYS = ("tty_chars", "tty_colors", "tty_cursor", "blstats")
NAME = "me/games"
PUSH = ("--observations", "--quiet", "--push", NAME)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place = tmp_path_factory.mktemp("made-up") / "data"
    write_games(place, [300, 900, 64, 700], keys=KEYS, games_per_shard=4)
    return place


@pytest.fixture(scope="module")
def folder(data):
    out = data.parent / "games"
    assert main(["dataset", "publish", str(data), str(out), "--observations", "--quiet"]) == 0
    return out


@pytest.fixture
def served(hub, folder):
    shutil.rmtree(hub.plain)
    hub.plain.symlink_to(folder)
    return f"{hub.url}/plain"


def whole(out):
    sums = parse_manifest((out / MANIFEST).read_text(), "here")
    assert differing(out, sums) == []
    assert {path.name for path in out.rglob("*") if path.is_file() and path.name.startswith(".")} == set()


def pull(source, out):
    return main(["dataset", "pull", str(source), str(out), "--quiet"])


def test_push_and_pull_give_the_same_folder(hub, data, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    assert main(["dataset", "publish", str(data), str(tmp_path / "games"), *PUSH]) == 0
    assert f"uploaded: {hub.url}/datasets/{NAME}/commit/" in capfd.readouterr().out
    assert f'"hf://datasets/{NAME}"' in (tmp_path / "games" / "README.md").read_text()
    assert pull(f"hf://datasets/{NAME}", tmp_path / "pulled") == 0
    whole(tmp_path / "pulled")
    for path in (tmp_path / "games").rglob("*"):
        if path.is_file():
            assert (tmp_path / "pulled" / path.relative_to(tmp_path / "games")).read_bytes() == path.read_bytes()
    assert Dataset(tmp_path / "pulled").rows.tobytes() == Dataset(tmp_path / "games").rows.tobytes()


@pytest.mark.parametrize("tenth", range(10))
def test_a_pull_goes_on_after_a_cut_at_every_tenth(hub, served, folder, tmp_path, monkeypatch, tenth):
    """The process that pulls gives up at the cut; the next one fetches what is missing."""
    size = (folder / "shard-00000.h5").stat().st_size
    monkeypatch.setattr(pulling, "PIECE", 1 << 16)
    out = tmp_path / "out"
    plan = planned(Path(served), out)
    got = 0

    def cut(count):
        nonlocal got
        got += count
        if got > tenth / 10 * size:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull_all(plan, 1, cut)
    assert not (out / MANIFEST).exists()
    before = hub.bytes_sent("/plain/")
    assert pull(served, out) == 0
    whole(out)
    rest = plan.size - got
    assert hub.bytes_sent("/plain/") - before <= rest + 2 * (1 << 16) + 3 * (folder / MANIFEST).stat().st_size


def test_a_killed_pull_goes_on(hub, served, tmp_path, start, run):
    hub.faults.cut_after(r"shard", 20_000, times=1000)
    process = start("dataset", "pull", served, tmp_path / "out", "--quiet")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob(".shard*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    hub.faults.__init__()
    assert run("dataset", "pull", served, tmp_path / "out", "--quiet").status == 0
    whole(tmp_path / "out")


def test_a_file_with_a_wrong_checksum_is_fetched_again_and_then_refused(hub, served, tmp_path, capfd):
    hub.faults.corrupt(r"shard")
    assert pull(served, tmp_path / "once") == 0
    whole(tmp_path / "once")
    hub.faults.corrupt(r"shard", times=4)  # two pieces, twice
    with pytest.raises(SystemExit) as ended:
        pull(served, tmp_path / "twice")
    assert ended.value.code == 1
    assert "shard-00000.h5: its checksum differs, twice; nothing of it is kept" in capfd.readouterr().err
    assert not list((tmp_path / "twice").glob("*.h5"))


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, f"push: {NAME}: there is no token that the hub knows; log in by: hf auth login"),
        ("hf_wrong", f"push: {NAME}: there is no token that the hub knows"),
        (READER, f"push: {NAME}: the token may not do that there (403)"),
    ],
)
def test_who_may_not_write_is_told(hub, data, tmp_path, monkeypatch, capfd, token, message):
    if token is None:
        monkeypatch.delenv("HF_TOKEN", raising=False)
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SystemExit) as ended:
        main(["dataset", "publish", str(data), str(tmp_path / "games"), *PUSH])
    said = capfd.readouterr()
    assert ended.value.code == 2
    assert message in said.err
    assert "hf_" not in said.err + said.out
    whole(tmp_path / "games")  # what was made is there, for the next try


def test_a_push_that_broke_off_sends_nothing_twice(hub, data, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    hub.faults.fail(r"/commit/", 500, times=1)
    with pytest.raises(SystemExit) as ended:
        main(["dataset", "publish", str(data), str(tmp_path / "games"), *PUSH])
    assert ended.value.code == 1
    assert "the same command goes on, and does not send again what has arrived" in capfd.readouterr().err
    sent = hub.bytes_received(r"^/lfs/")
    assert sent > 0
    assert main(["dataset", "publish", str(data), str(tmp_path / "games"), *PUSH]) == 0
    assert hub.bytes_received(r"^/lfs/") == sent
    assert len(Dataset(f"hf://datasets/{NAME}")) == 4


def test_a_newer_dataset_takes_the_place_of_the_older_one(hub, tmp_path, monkeypatch):
    """Files that the newer one does not have are gone, so that nothing is counted twice."""
    monkeypatch.setenv("HF_TOKEN", WRITER)
    for name, lengths in (("old", [300, 90, 64, 70, 80, 50]), ("new", [40, 30])):
        write_games(tmp_path / name, lengths, keys=KEYS, games_per_shard=2)
        words = ["dataset", "publish", tmp_path / name, tmp_path / f"{name}-out", *PUSH]
        assert main([*map(str, words), "--games-per-shard", "2"]) == 0
    assert Dataset(f"hf://datasets/{NAME}").steps == 70
    assert pull(f"hf://datasets/{NAME}", tmp_path / "pulled") == 0
    names = {str(path.relative_to(tmp_path / "pulled")) for path in (tmp_path / "pulled").rglob("*.*")}
    assert names == {str(path.relative_to(tmp_path / "new-out")) for path in (tmp_path / "new-out").rglob("*.*")}


def test_folders_with_something_else_are_refused(served, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="is not empty, and no unfinished pull; expected a new folder"):
        planned(Path(served), tmp_path / "out")
    (tmp_path / "out" / "thesis.tex").rename(tmp_path / "out" / ".tmp-12-.pull.json")
    assert planned(Path(served), tmp_path / "out").files, "a killed pull left it"
    with pytest.raises(InputError, match="none: holds no files"):
        planned(Path(f"{served}/none"), tmp_path / "new")


def test_a_pull_of_another_place_is_refused(served, tmp_path):
    out = tmp_path / "out"
    plan = planned(Path(served), out)
    with pytest.raises(KeyboardInterrupt):
        pull_all(plan, 1, interrupt)
    with pytest.raises(InputError, match="holds an unfinished pull of http"):
        planned(Path(f"{served}/other"), out)


def test_two_pulls_into_one_folder_do_not_mix(served, tmp_path):
    out = tmp_path / "out"
    plan = planned(Path(served), out)
    refused = []

    def meanwhile(_):
        if not refused:
            refused.append("tried")
            with pytest.raises(InputError, match="another process is writing to it"):
                pull_all(planned(Path(served), out), 1, lambda _: None)

    pull_all(plan, 1, meanwhile)
    assert refused
    whole(out)


def interrupt(_):
    raise KeyboardInterrupt


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(served, small_disk, capfd):
    with pytest.raises(SystemExit) as ended:
        pull(served, small_disk / "out")
    assert ended.value.code == 1
    assert "cannot be written (No space left on device); the same command goes on from there" in capfd.readouterr().err


def test_a_folder_of_this_machine_is_pulled_too(folder, tmp_path):
    assert pull(folder, tmp_path / "copy") == 0
    whole(tmp_path / "copy")


def test_an_unreachable_place_is_one_line(hub, served, tmp_path):
    hub.faults.down = True
    with pytest.raises(RunError, match="cannot be reached"):
        planned(Path(served), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder_to_fetch_into(served, tmp_path, capfd):
    (tmp_path / "afile").touch()
    with pytest.raises(SystemExit, match="2"):
        main(["dataset", "pull", served, str(tmp_path / "afile"), "--quiet"])
    assert "afile: is a file; expected a new folder" in capfd.readouterr().err
