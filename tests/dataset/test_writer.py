"""The one writer of a dataset folder: its lock, what it leaves behind, and what it goes on from."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_up_games import write_games

from strathack.dataset.copying import one_game_shard
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.manifest import MANIFEST
from strathack.dataset.reading import Dataset
from strathack.dataset.writer import DatasetWriter

SETTINGS = {"made_by": "a test"}


@pytest.fixture
def games(tmp_path):
    write_games(tmp_path / "source", [30, 20, 10])
    return list(Dataset(tmp_path / "source"))


def test_games_are_added_once_and_merged(tmp_path, games):
    out = tmp_path / "out"
    with DatasetWriter(out, SETTINGS) as writer:
        assert not out.exists(), "a run that cannot start leaves nothing behind"
        writer.begin()
        assert [writer.add(game.name, one_game_shard(game)) for game in games] == [True] * 3
        assert not writer.add(games[0].name, b"not looked at")
        writer.merge(2)
    assert sorted(path.name for path in out.iterdir()) == ["dataset.json", "shard-00000.h5", "shard-00001.h5"]
    assert Dataset(out).names == [game.name for game in games]
    with DatasetWriter(out, SETTINGS) as again:
        assert again.present == {game.name for game in games}


def test_another_writer_is_refused_be_it_there_first_or_faster(tmp_path):
    out = tmp_path / "out"
    with DatasetWriter(out, SETTINGS) as late, DatasetWriter(out, SETTINGS) as first:
        first.begin()
        with pytest.raises(InputError, match="another process is writing to it"):
            late.begin()
        code = (
            "import sys; from pathlib import Path; from strathack.dataset.writer import DatasetWriter\n"
            f"with DatasetWriter(Path({str(out)!r})): pass"
        )
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "another process is writing to it" in other.stderr
        with DatasetWriter(out, joins=True) as beside:  # a process of the same run, which adds its own games
            beside.look()
    with DatasetWriter(out) as free:
        free.begin()


def test_a_folder_that_another_process_has_made_meanwhile_is_left_to_it(tmp_path):
    out = tmp_path / "out"
    with DatasetWriter(out, SETTINGS) as late:
        with DatasetWriter(out, {"other": 1}) as first:
            first.begin()
        with pytest.raises(InputError, match="another process has begun it meanwhile"):
            late.begin()
    assert DatasetFolder(out).read_settings() == {"other": 1}


def test_what_a_killed_writer_left_is_removed_and_settings_stay_unless_they_are_given(tmp_path):
    with DatasetWriter(tmp_path, SETTINGS) as writer:
        writer.begin()
    (tmp_path / ".tmp-1234-game_5.h5").write_bytes(b"half")
    with DatasetWriter(tmp_path) as writer:
        writer.begin()
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.json"]
    assert DatasetFolder(tmp_path).read_settings() == SETTINGS


def test_what_is_told_of_a_game_goes_when_it_is_told_anew(tmp_path):
    with DatasetWriter(tmp_path, SETTINGS) as writer:
        writer.begin()
        writer.tell("game_1", "its worker died")
        writer.tell("game_2", "hung")
    folder = DatasetFolder(tmp_path)
    assert folder.read_failures() == {"game_1": "its worker died", "game_2": "hung"}
    with DatasetWriter(tmp_path) as writer:
        writer.tell("game_1", "")
        writer.tell("game_2", "its worker died")
    assert folder.read_failures() == {"game_2": "its worker died"}


def test_a_game_that_is_there_has_not_failed(tmp_path, games):
    """Even if the process that made it was killed before it could say so."""
    with DatasetWriter(tmp_path / "out", SETTINGS) as writer:
        writer.begin()
        writer.tell("game_0", "its worker died")
        writer.tell("game_9", "hung")
        writer.add("game_0", one_game_shard(games[0]))
    with DatasetWriter(tmp_path / "out") as writer:
        writer.begin()
    assert DatasetFolder(tmp_path / "out").read_failures() == {"game_9": "hung"}


def test_what_is_told_of_many_games_is_written_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    times = []
    write = DatasetFolder.write_failures

    def slowly(folder, failures):
        times.append(len(failures))
        time.sleep(0.02)
        write(folder, failures)

    monkeypatch.setattr(DatasetFolder, "write_failures", slowly)
    with DatasetWriter(tmp_path, SETTINGS) as writer:
        writer.begin()
        for number in range(500):
            writer.tell(f"game_{number}", "hung")
    assert times[0] == 1
    assert times[-1] == 500
    assert len(times) < 50
    assert len(DatasetFolder(tmp_path).read_failures()) == 500


def test_what_was_told_is_written_when_it_is_due_even_if_nothing_more_is_told(tmp_path):
    with DatasetWriter(tmp_path, SETTINGS) as writer:
        writer.begin()
        for number in range(2):
            writer.tell(f"game_{number}", "hung")
        ends = time.monotonic() + 30
        while len(DatasetFolder(tmp_path).read_failures()) < 2:
            writer.tell("game_3", "")
            assert time.monotonic() < ends


def test_a_merge_that_is_stopped_leaves_the_rest_to_the_next(tmp_path, games):
    with DatasetWriter(tmp_path / "out", SETTINGS) as writer:
        writer.begin()
        for game in games:
            writer.add(game.name, one_game_shard(game))
        writer.merge(2, stopped=lambda: True)
        assert [path.name for path in writer.folder.shards()] == ["shard-00000.h5", f"{games[2].name}.h5"]
        writer.merge(2)
        assert [path.name for path in writer.folder.shards()] == ["shard-00000.h5", "shard-00001.h5"]
    assert Dataset(tmp_path / "out").names == [game.name for game in games]


def test_a_failure_to_write_is_one_line_that_says_what_is_safe(tmp_path, games, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "game_0.h5")

    with DatasetWriter(tmp_path / "out", SETTINGS) as writer:
        writer.begin()
        monkeypatch.setattr(DatasetFolder, "add_game", full)
        with pytest.raises(RunError, match=r"game_0.h5: cannot be written \(No space left on device\); every game"):
            writer.add("game_0", one_game_shard(games[0]))
        assert writer.present == set()


def test_what_is_no_dataset_or_is_published_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; expected a folder"), DatasetWriter(tmp_path / "file" / "out"):
        pass
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="is not empty and holds no dataset.json"), DatasetWriter(tmp_path / "other"):
        pass
    (tmp_path / "published").mkdir()
    DatasetFolder(tmp_path / "published").write_settings(SETTINGS)
    (tmp_path / "published" / MANIFEST).write_text("")
    with pytest.raises(InputError, match="published: is published"), DatasetWriter(tmp_path / "published", SETTINGS):
        pass
    assert sorted(os.listdir(tmp_path)) == ["file", "other", "published"]
    assert isinstance(DatasetWriter(Path("out")).folder, DatasetFolder)
