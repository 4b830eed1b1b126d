"""The dataset commands that need no simulator, on made-up games."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from made_up_games import made_up, provenance, write_games, write_tables_alone

from strathack.cli import main
from strathack.dataset import Dataset
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.labels import STRATEGIES, Vocabulary
from strathack.dataset.schema import GAME_DTYPE
from strathack.dataset.shard import encode_shard, read_tables

LENGTHS = [30, 5, 1100, 0, 64]


@pytest.fixture
def data(tmp_path):
    write_games(tmp_path / "data", LENGTHS, games_per_shard=3)
    return tmp_path / "data"


def refused(capfd, *words):
    """The one line of a refusal."""
    with pytest.raises(SystemExit) as end:
        main([*map(str, words)])
    assert end.value.code == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1, err
    return err


def run(capfd, *words):
    status = main([*map(str, words)])
    return status, capfd.readouterr().out


def test_info(data, capfd):
    status, out = run(capfd, "dataset", "info", data, "--json")
    facts = json.loads(out)
    assert status == 0
    assert (facts["games"], facts["steps"], facts["shards"]) == (5, sum(LENGTHS), 2)
    assert facts["by_role"]["Val"] == {"games": 5, "steps": 1199, "mean_score": 20.0, "median_score": 20.0}
    assert sum(facts["strategy_steps"].values()) == 1199
    assert facts["end"] == {"death": 5}
    _, table = run(capfd, "dataset", "info", data, "--select", "steps > 20")
    assert "3 games, 1,194 steps" in table
    assert "complete 3" in table
    assert "bytes a step" not in table, "of shards with other games, too, the bytes say nothing of a step"
    assert "in 2 shards with other games, too" in table
    assert "bytes a step in 2 shards\n" in run(capfd, "dataset", "info", data)[1]


def test_names_are_shown_as_they_are_and_no_games_as_none(tmp_path, capfd):
    data, _ = made_up(0, 30)
    object.__setattr__(data, "strategy_codes", Vocabulary(["[fight]", "[/x]", *STRATEGIES[2:]]).codes)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "game_0.h5").write_bytes(encode_shard(data, provenance()))
    told = run(capfd, "dataset", "info", tmp_path / "data")[1]
    assert "│ [fight]" in told
    assert "│ [/x]" in told
    status, told = run(capfd, "dataset", "info", tmp_path / "data", "--select", "steps > 30")
    assert (status, "nan" in told) == (0, False)
    err = refused(capfd, "dataset", "compact", tmp_path / "data", tmp_path / "keys", "--select", "steps > 30")
    assert "data: no game meets the condition; nothing to compact" in err
    assert not (tmp_path / "keys").exists()


def test_what_only_the_table_of_games_has_wrong_is_told_of(data, capfd):
    with h5py.File(data / "shard-00000.h5", "r+") as file:
        rows = file["games"][...]
        rows["end"][1] = 77
        file["games"][...] = rows
        file.attrs["observations"] = json.dumps(["blstats", "tty_cursor", "message"])
    status, out = run(capfd, "dataset", "verify", data)
    assert status == 1
    assert "/games, end: 77 is none of its codes" in out
    assert "game_0: the shard promises obs/message, which it lacks" in out


def test_what_may_not_be_read_and_an_interruption_are_one_line(data, capfd, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_dir", refuse)
        assert f"{data}: Permission denied" in refused(capfd, "dataset", "verify", data)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("strathack.collect.commands.verify_shards", interrupt)
    assert main(["dataset", "verify", str(data)]) == 130
    assert capfd.readouterr().err.count("\n") == 1


def flip(path, name, index=0):
    with h5py.File(path) as file:
        info = file[name].id.get_chunk_info(index)
    content = bytearray(path.read_bytes())
    content[info.byte_offset + info.size // 2] ^= 16
    path.write_bytes(content)


def test_verify_names_file_game_array_and_step_and_repair_keeps_the_rest(data, capfd, tmp_path):
    assert run(capfd, "dataset", "verify", data) == (0, "2 shards as they were written\n")
    flip(data / "shard-00000.h5", "data/game_2/obs/blstats", 1)
    status, out = run(capfd, "dataset", "verify", data)
    assert status == 1
    line = out.splitlines()[0]
    assert line.endswith("game_2/obs/blstats, the chunk of steps 1024 to 1099: its checksum differs")
    assert line.startswith(str(data / "shard-00000.h5"))
    status, out = run(capfd, "dataset", "repair", data, tmp_path / "whole")
    assert status == 1
    assert "4 games kept, 1 problems" in out
    assert [game.name for game in Dataset(tmp_path / "whole")] == ["game_0", "game_1", "game_3", "game_4"]
    assert run(capfd, "dataset", "verify", tmp_path / "whole")[0] == 0


def one(tmp_path, change):
    """A dataset of one game, changed by ``change(file)`` after it was written, checksums in order."""
    folder = tmp_path / "one"
    folder.mkdir()
    path = folder / "game_1.h5"
    path.write_bytes(encode_shard(made_up(1, 40)[0], provenance()))
    with h5py.File(path, "a") as file:
        change(file)
    return folder


def put(name, step, value):
    def change(file):
        values = file[f"data/game_1/{name}"]
        values[step] = value

    return change


def second_row(file):
    rows = np.concatenate([file["games"][...]] * 2).astype(GAME_DTYPE)
    del file["games"]
    file["games"] = rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("strategy", 7, 77), "game_1/strategy, step 7: 77 is out of range"),
        (put("hihack_strategy", 3, 12), "game_1/hihack_strategy, step 3: 12 is out of range"),
        (put("actions", 3, 121), "game_1/actions, step 3: 121 is out of range"),
        (put("actions", 3, 255), "game_1/actions, step 3: 255 is out of range"),
        (put("actions", 0, 7), "game_1/actions: the digest of the keys is"),
        (put("dones", 5, 1), "game_1/dones, step 5: 1; expected 0 up to the last step"),
        (put("dones", 39, 0), "game_1/dones, step 39: 0; expected 0 up to the last step and 1 there"),
        (lambda file: file["data"].create_group("game_9"), "/data/game_9 has no row in /games"),
        (lambda file: file["mask"].pop(next(iter(file["mask"]))), " is not what the seeds and the shares give"),
        (second_row, "/games names a game twice"),
    ],
)
def test_verify_finds_what_checksums_do_not(tmp_path, capfd, change, message):
    folder = one(tmp_path, change)
    status, out = run(capfd, "dataset", "verify", folder)
    assert status == 1
    assert message in out


def test_verify_of_a_shard_that_cannot_be_opened(tmp_path, capfd):
    folder = one(tmp_path, lambda file: None)
    (folder / "game_2.h5").write_bytes(b"nothing")
    status, out = run(capfd, "dataset", "verify", folder)
    assert status == 1
    assert "game_2.h5: not a readable HDF5 file" in out
    status, out = run(capfd, "dataset", "repair", folder, tmp_path / "out")
    assert "1 games kept, 1 problems" in out


def test_merge_takes_the_same_game_once_and_refuses_different_ones(tmp_path, capfd):
    write_games(tmp_path / "a", [10, 20])
    write_games(tmp_path / "b", [10, 21, 5])
    err = refused(capfd, "dataset", "merge", tmp_path / "out", tmp_path / "a", tmp_path / "b")
    assert (
        "merge: game_1 stands in several of the datasets and is not known to be the same, labels and all; --keep-first"
        in err
    )
    assert not (tmp_path / "out").exists()
    status, out = run(capfd, "dataset", "merge", tmp_path / "out", tmp_path / "a", tmp_path / "b", "--keep-first")
    assert status == 0
    assert "game_0: in several datasets, the same; the fullest was kept" in out
    assert "game_1: in several datasets, not known to be the same; the first was kept" in out
    assert [len(game) for game in Dataset(tmp_path / "out")] == [10, 20, 5]
    assert run(capfd, "dataset", "verify", tmp_path / "out")[0] == 0


def test_games_of_which_neither_keys_nor_frames_are_known_may_be_different_ones(tmp_path, capfd):
    for folder, steps in (("a", 10), ("b", 25)):
        data, _ = made_up(0, steps)
        data.row["keys_sha256"] = b""
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "game_0.h5").write_bytes(encode_shard(data, provenance()))
    err = refused(capfd, "dataset", "merge", tmp_path / "out", tmp_path / "a", tmp_path / "b")
    assert (
        "merge: game_0 stands in several of the datasets and is not known to be the same, labels and all; --keep-first"
        in err
    )


def test_merging_copies_compressed_chunks_as_they_are(data, tmp_path, capfd):
    run(capfd, "dataset", "merge", tmp_path / "out", data)
    one, other = Dataset(data)["game_2"], Dataset(tmp_path / "out")["game_2"]
    assert one.obs["blstats"].read_raw(0) == other.obs["blstats"].read_raw(0)


def test_splits_follow_from_the_seed_and_adding_games_moves_none(tmp_path, capfd):
    write_games(tmp_path / "few", [3] * 10, games_per_shard=4)
    write_games(tmp_path / "many", [3] * 40, games_per_shard=7)
    few, many = (Dataset(tmp_path / name).games.set_index("core")["split"] for name in ("few", "many"))
    assert (few == many[:10]).all()
    assert (many == "train").sum() > 20
    status, out = run(capfd, "dataset", "split", tmp_path / "few", "--train", 0.2, "--validation", 0.5, "--test", 0.3)
    assert status == 0
    assert "train" in out
    again = Dataset(tmp_path / "few").games.set_index("core")["split"]
    assert not (again == few).all()
    assert run(capfd, "dataset", "verify", tmp_path / "few")[0] == 0
    with h5py.File(next((tmp_path / "few").glob("*.h5"))) as file:
        names = {name.decode() for split in file["mask"] for name in file["mask"][split]}
    assert names == set(Dataset(next((tmp_path / "few").glob("*.h5"))).games["game"])


def test_what_is_made_of_a_dataset_is_split_as_it_is(tmp_path, capfd):
    write_games(tmp_path / "data", [3] * 30)
    write_games(tmp_path / "other", [4] * 30)
    run(capfd, "dataset", "split", tmp_path / "data", "--train", 0.2, "--validation", 0.5, "--test", 0.3)
    splits = Dataset(tmp_path / "data").games["split"].tolist()
    for command in ("repair", "compact"):
        assert run(capfd, "dataset", command, tmp_path / "data", tmp_path / command)[0] == 0
        assert Dataset(tmp_path / command).games["split"].tolist() == splits
    run(capfd, "dataset", "merge", tmp_path / "merged", tmp_path / "data")
    assert Dataset(tmp_path / "merged").games["split"].tolist() == splits
    words = ("dataset", "merge", tmp_path / "out", tmp_path / "data", tmp_path / "other", "--keep-first")
    assert "merge: the datasets are split in different ways" in refused(capfd, *words)


def test_games_added_to_a_folder_with_its_own_shares_get_those(data, capfd):
    run(capfd, "dataset", "split", data, "--train", 0, "--validation", 1, "--test", 0)
    DatasetFolder(data).add_game("game_50", encode_shard(made_up(50, 4)[0], provenance()))
    assert set(Dataset(data).games["split"]) == {"validation"}
    list(DatasetFolder(data).merge(4))
    assert set(Dataset(data).games["split"]) == {"validation"}


def test_shares_that_do_not_sum_to_one_are_refused(data, capfd):
    assert "sum to 1.2; expected 1" in refused(capfd, "dataset", "split", data, "--train", 1)
    assert "train: -1" in refused(capfd, "dataset", "split", data, "--train=-1", "--test", 2)


def test_export_to_parquet(data, tmp_path, capfd):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    status, _ = run(capfd, "dataset", "export", data, tmp_path / "tables", "--to", "parquet")
    assert status == 0
    steps = pd.read_parquet(tmp_path / "tables" / "steps.parquet")
    games = pd.read_parquet(tmp_path / "tables" / "games.parquet")
    assert len(steps) == sum(LENGTHS)
    assert list(games["game"]) == [f"game_{i}" for i in range(5)]
    game = Dataset(data)["game_2"]
    of_game = steps[steps["game"] == "game_2"]
    assert (of_game["strategy"].to_numpy() == game.strategy.names()).all()
    assert (of_game["actions"].to_numpy() == game.action_names()).all()
    assert (of_game["rewards"].to_numpy() == game.rewards[:]).all()
    assert (of_game["step"].to_numpy() == np.arange(1100)).all()


def test_export_to_minari(tmp_path, capfd, monkeypatch):
    minari = pytest.importorskip("minari")
    write_games(tmp_path / "data", [5, 0, 30])
    cut, _ = made_up(7, 12)
    cut.row["completeness"] = 1
    (tmp_path / "data" / "game_7.h5").write_bytes(encode_shard(cut, provenance()))
    status, _ = run(capfd, "dataset", "export", tmp_path / "data", tmp_path / "nethack-v0", "--to", "minari")
    assert status == 0
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    loaded = minari.load_dataset("nethack-v0")
    episodes = list(loaded)
    assert [len(episode) for episode in episodes] == [5, 30, 12]
    for episode, game in zip(episodes, Dataset(tmp_path / "data").select("steps > 0"), strict=True):
        assert np.array_equal(episode.actions, game.actions[:])
        assert np.array_equal(episode.observations["blstats"][:-1], game.obs["blstats"][:])
        assert np.array_equal(episode.infos["strategy"][:-1], game.strategy[:])
        complete = game.info["completeness"] == "complete"
        assert (episode.terminations[-1], episode.truncations[-1]) == (complete, not complete)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("info", "nowhere"), "nowhere: does not exist; expected a dataset folder or a shard"),
        (("verify", "nowhere"), "nowhere: does not exist; expected a dataset folder or a shard"),
        (("export", "data", "x", "--to", "csv"), "to: 'csv' is unknown; expected minari or parquet"),
        (("export", "data", "x", "--to", "minari"), "x: for minari the folder is named <name>-v<number>"),
        (("export", "data", "x y-v0", "--to", "minari"), "of letters, digits, - and _"),
        (("export", "data", "data"), "data: is there already"),
        (("export", "data", "x", "--select", "steps > 1e9"), "no game meets the condition; nothing to export"),
        (("info", "data", "--select", "stepz > 3"), "select: 'stepz > 3' is no condition on the games"),
        (("repair", "data", "data"), "data: holds games of other settings: repaired_from is None there"),
        (("merge", "x", "data", "nowhere"), "nowhere: does not exist"),
        (("compact", "data", "x", "--games-per-shard", "0"), "games_per_shard: 0 is below 1"),
        (("split", "nowhere"), "nowhere: expected a dataset folder"),
        (("verify", "data", "--select", "steps > 3"), "select: is for replaying; without --replay every shard is read"),
    ],
)
def test_bad_requests_are_refused_in_one_line(data, capfd, monkeypatch, words, message):
    monkeypatch.chdir(data.parent)
    assert message in refused(capfd, "dataset", *words)
    assert [path.name for path in data.parent.iterdir()] == ["data"]


def test_compact_keeps_keys_labels_and_digests(data, tmp_path, capfd):
    status, out = run(capfd, "dataset", "compact", data, tmp_path / "keys")
    assert status == 0
    assert "5 games, 1,199 steps" in out
    full, keys = Dataset(data), Dataset(tmp_path / "keys")
    assert keys.observations == ()
    for one, other in zip(full, keys, strict=True):
        assert one.row == other.row
        assert set(one.arrays) - set(other.arrays) == {"obs/blstats", "obs/tty_cursor", "rewards"}
        for name in other.arrays:
            assert np.array_equal(one.arrays[name][:], other.arrays[name][:])
        assert one.strategy.codes == other.strategy.codes
        assert one.attributes == other.attributes
    with pytest.raises(KeyError, match="its keys are kept: `strathack dataset expand` brings them back"):
        keys[0].obs["tty_chars"]
    with pytest.raises(KeyError, match="has no rewards; only its keys are kept"):
        _ = keys[0].rewards
    again, _ = run(capfd, "dataset", "compact", data, tmp_path / "keys")
    assert again == 0
    # Other games, or the same ones split otherwise, are not taken for what is there.
    shutil.copytree(data, tmp_path / "split")
    run(capfd, "dataset", "split", tmp_path / "split", "--train", "0.2", "--validation", "0.7", "--test", "0.1")
    for source, *more in ((data, "--select", "core > 1"), (tmp_path / "split",)):
        err = refused(capfd, "dataset", "compact", source, tmp_path / "keys", *more)
        assert "keys: holds games of other settings: " in err
        assert "made of other games, labels or splits" in err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_hundred_thousand_games_open_from_their_tables_alone(tmp_path):
    """In a process of its own, under 500 MB; the time is measured by `benchmarks/opening.py`."""
    write_tables_alone(tmp_path, shards=400, games=250)
    code = (
        "import sys; from strathack.dataset import Dataset;"
        "dataset = Dataset(sys.argv[1]); found = dataset.select('core >= 99_990', split='train');"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1];"
        "print(len(dataset), len(dataset.games), len(found) > 2, int(peak) / 1e3)"
    )
    out = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout
    games, rows_read, found, megabytes = out.split()
    assert (games, rows_read, found) == ("100000", "100000", "True")
    assert float(megabytes) < 500
    assert read_tables(tmp_path / "shard-00000.h5").rows[3]["core"] == 3


def test_half_an_export_is_not_in_the_way_of_the_next(data, tmp_path, capfd, monkeypatch):
    def failing(game):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("strathack.dataset.commands._counting", lambda advance: failing)
        with pytest.raises(SystemExit, match="1"):
            main(["dataset", "export", str(data), str(tmp_path / "tables"), "--quiet"])
    assert "tables: cannot be written (No space left on device); nothing of it is left" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert run(capfd, "dataset", "export", data, tmp_path / "tables")[0] == 0


def test_an_export_to_minari_goes_to_a_relative_path(tmp_path, capfd, monkeypatch):
    minari = pytest.importorskip("minari")
    write_games(tmp_path / "data", [5, 30])
    (tmp_path / "minari").mkdir()
    monkeypatch.chdir(tmp_path / "minari")
    assert run(capfd, "dataset", "export", "../data", "relative-v0", "--to", "minari")[0] == 0
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    assert set(minari.list_local_datasets()) == {"relative-v0"}
    assert [len(episode) for episode in minari.load_dataset("relative-v0")] == [5, 30]
