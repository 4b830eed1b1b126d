import json
import shutil

import numpy as np
import pytest
from looking import read_dataset, same_games
from made_up_games import made_up, provenance

from strathack.dataset.errors import FormatError, InputError
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.shard import encode_shard, open_shard


def fill(path, seeds):
    path.mkdir(exist_ok=True)
    folder = DatasetFolder(path)
    for seed in seeds:
        folder.add_game(f"game_{seed}", encode_shard(made_up(seed, 20 + seed)[0], provenance()))
    return folder


def test_merging_keeps_every_byte_of_every_game(tmp_path):
    folder = fill(tmp_path, [3, 10, 1, 2, 7])
    before = read_dataset(tmp_path)
    with open_shard(tmp_path / "game_7.h5") as file:
        compressed = file["data/game_7/obs/blstats"].id.read_direct_chunk((0, 0))
    assert list(folder.merge(2)) == [2, 4, 5]
    assert [p.name for p in folder.shards()] == ["shard-00000.h5", "shard-00001.h5", "shard-00002.h5"]
    assert same_games(before, read_dataset(tmp_path))
    with open_shard(folder.shards()[1]) as file:
        assert [row["core"] for row in file["games"]] == [3, 7]
        assert file["data/game_7/obs/blstats"].id.read_direct_chunk((0, 0)) == compressed


def test_merging_again_adds_shards_and_touches_none(tmp_path):
    folder = fill(tmp_path, range(4))
    list(folder.merge(4))
    first = (tmp_path / "shard-00000.h5").read_bytes()
    fill(tmp_path, [4, 5])
    list(folder.merge(4))
    assert (tmp_path / "shard-00000.h5").read_bytes() == first
    assert [len(folder.games()), len(folder.shards())] == [6, 2]


def test_one_game_a_shard_means_no_merge(tmp_path):
    folder = fill(tmp_path, range(3))
    assert list(folder.merge(1)) == []
    assert len(folder.shards()) == 3


def test_a_merge_removes_no_game_that_is_nowhere_else(tmp_path):
    folder = fill(tmp_path / "data", range(3))
    list(folder.merge(3))
    other = fill(tmp_path / "other", [2, 3, 4])
    list(other.merge(3))
    shutil.copy(other.shards()[0], tmp_path / "data" / "more.h5")
    before = read_dataset(folder.path)
    list(folder.merge(3))
    assert same_games(before, read_dataset(folder.path))
    assert sorted(game.name for game in folder.games()) == [f"game_{seed}" for seed in range(5)]


@pytest.mark.parametrize("removed_before_the_kill", [0, 1, 2, 3])
def test_a_merge_may_be_killed_between_writing_and_removing(tmp_path, removed_before_the_kill):
    folder = fill(tmp_path / "data", range(3))
    before = read_dataset(folder.path)
    shutil.copytree(folder.path, tmp_path / "copy")
    list(folder.merge(3))
    for seed in range(removed_before_the_kill, 3):  # what the killed merge had not removed yet
        shutil.copy(tmp_path / "copy" / f"game_{seed}.h5", folder.path)
    assert same_games(before, read_dataset(folder.path))  # no game counts twice
    list(folder.merge(3))
    assert [p.name for p in folder.shards()] == ["shard-00000.h5"]
    assert same_games(before, read_dataset(folder.path))


def test_settings_and_failures_are_kept(tmp_path):
    folder = DatasetFolder(tmp_path)
    assert folder.read_settings() is None
    folder.write_settings({"clock": "seed"})
    assert folder.read_settings() == {"clock": "seed"}
    assert folder.read_failures() == {}
    folder.write_failures({"game_1": "hung"})
    assert folder.read_failures() == {"game_1": "hung"}
    folder.write_failures({})
    assert not (tmp_path / "failures.json").exists()


def test_paths_that_are_no_dataset_are_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="is a file; expected a folder"):
        DatasetFolder(file).read_settings()
    with pytest.raises(InputError, match=r"is not empty and holds no dataset\.json"):
        DatasetFolder(tmp_path).read_settings()
    settings = tmp_path / "dataset.json"
    settings.write_text("{")
    with pytest.raises(FormatError, match="not readable as JSON"):
        DatasetFolder(tmp_path).read_settings()
    settings.write_text("[]")
    with pytest.raises(FormatError, match="not the settings of a strathack dataset"):
        DatasetFolder(tmp_path).read_settings()
    settings.write_text(json.dumps({"format": "strathack", "version": 9, "settings": {}}))
    with pytest.raises(FormatError, match="format version 9, this release writes version 1"):
        DatasetFolder(tmp_path).read_settings()


def test_shards_are_files_of_plain_h5py(tmp_path):
    folder = fill(tmp_path, [5])
    (game,) = folder.games()
    _, arrays = made_up(5, 25)
    with open_shard(game.shard) as file:
        assert np.array_equal(file["data/game_5/actions"][:], arrays["actions"])


@pytest.mark.parametrize("content", ["{", "[1, 2]"])
def test_texts_that_are_damaged_are_refused_by_their_file(tmp_path, content):
    (tmp_path / "failures.json").write_text(content)
    with pytest.raises(FormatError, match="failures.json: no names of games and texts"):
        DatasetFolder(tmp_path).read_failures()


def test_settings_that_are_none_are_refused(tmp_path):
    folder = DatasetFolder(tmp_path)
    folder.write_settings({})
    content = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**content, "settings": 5}))
    with pytest.raises(FormatError, match="its settings are no names and values"):
        folder.read_settings()
    del content["settings"]
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert folder.read_settings() == {}
