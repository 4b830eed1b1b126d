import multiprocessing
import pickle
import subprocess
import sys
import threading
import warnings

import h5py
import numpy as np
import pytest
from made_up_games import made_up, provenance, write_games

from strathack.dataset import Dataset
from strathack.dataset.errors import CorruptionError, FormatError, InputError
from strathack.dataset.schema import GAME_DTYPE
from strathack.dataset.shard import encode_shard

LENGTHS = [3, 40, 1100, 0, 20000]


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    folder = tmp_path_factory.mktemp("games")
    return folder, write_games(folder, LENGTHS, games_per_shard=3)


def test_every_array_reads_as_h5py_reads_it(games):
    folder, arrays = games
    dataset = Dataset(folder)
    assert [len(game) for game in dataset] == LENGTHS
    for game in dataset:
        for name, values in arrays[game.name].items():
            assert np.array_equal(game.arrays[name][:], values), name


@pytest.mark.parametrize(
    "index",
    [0, -1, slice(None), slice(1000, 1050), slice(-5, None), slice(10, 5), slice(3, 1090, 7), slice(None, None, -1),
     [5, 1, 1099], ..., (slice(5, 9), 1), (7, 0), (..., 1), np.int64(4)],
)  # fmt: skip
def test_arrays_are_indexed_like_numpy_s(games, index):
    folder, arrays = games
    found = Dataset(folder)["game_2"].obs["tty_cursor"][index]
    wanted = arrays["game_2"]["obs/tty_cursor"][index]
    assert np.array_equal(found, wanted)
    assert np.shape(found) == np.shape(wanted)


def test_what_is_returned_is_the_caller_s_own(games):
    array = Dataset(games[0])["game_2"].obs["tty_cursor"]
    array[5][...] = 99
    array[5:6][...] = 99
    assert np.array_equal(array[5], games[1]["game_2"]["obs/tty_cursor"][5])


def test_a_step_that_is_not_there_is_an_index_error(games):
    with pytest.raises(IndexError, match="step 40 of game_1/actions, which has 40 steps"):
        Dataset(games[0])["game_1"].actions[40]


def test_labels_and_actions_by_name(games):
    folder, arrays = games
    game = Dataset(folder)["game_1"]
    names = {code: name for name, code in game.strategy.codes.items()}
    assert game.strategy.names(slice(3, 9)).tolist() == [names[c] for c in arrays["game_1"]["strategy"][3:9]]
    assert game.strategy.names(0) == names[arrays["game_1"]["strategy"][0]]
    assert set(game.substrategy.names()) == {"none"}
    assert len(game.action_names()) == 40
    with pytest.raises(TypeError, match="actions holds no labels"):
        game.actions.names()


def test_the_table_has_every_column_by_name(games):
    table = Dataset(games[0]).games
    assert list(table.columns) == [*GAME_DTYPE.names, "split", "shard"]
    assert table.loc[1, "game"] == "game_1"
    assert table.loc[1, "end"] == "death"
    assert (table["steps"] == LENGTHS).all()


def test_selecting(games):
    dataset = Dataset(games[0])
    assert [game.name for game in dataset.select("role == 'Val' and score >= 20")] == ["game_2", "game_3", "game_4"]
    assert len(dataset.select(completeness="truncated")) == 0
    parts = [dataset.select(split=name) for name in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(dataset)
    assert [game.name for game in dataset.take([3, 0])] == ["game_3", "game_0"]
    for wrong, message in (
        ({"query": "rol == 'Val'"}, r"select: \"rol == 'Val'\" is no condition on the games .*columns: game, core"),
        ({"query": "score + 1"}, "expected something true or false"),
        ({"split": "dev"}, "split: 'dev' is unknown; expected one of train, validation, test"),
        ({"completeness": "half"}, "completeness: 'half' is unknown"),
    ):
        with pytest.raises(InputError, match=message):
            dataset.select(**wrong)


def test_what_is_not_there_is_named(games, tmp_path):
    dataset = Dataset(games[0])
    with pytest.raises(KeyError, match="no game 'game_9' among 5 games"):
        dataset["game_9"]
    with pytest.raises(KeyError, match="game_0 has no observation 'glyphs'; stored: blstats, tty_cursor"):
        dataset[0].obs["glyphs"]
    with pytest.raises(InputError, match="nowhere: does not exist; expected a dataset folder or a shard"):
        Dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no shards"):
        Dataset(tmp_path)


def test_several_paths_are_one_dataset(games):
    shards = sorted(games[0].glob("*.h5"))
    assert [game.name for game in Dataset(shards)] == [game.name for game in Dataset(games[0])]
    assert len(Dataset([games[0], shards[0]])) == 5, "a shard that is named twice is there once"


def test_a_dataset_survives_pickling_forking_threads_and_a_removed_folder_is_said(games):
    dataset, wanted = Dataset(games[0]), games[1]["game_4"]["actions"]
    game = dataset["game_4"]
    game.obs["tty_cursor"][0]
    assert np.array_equal(pickle.loads(pickle.dumps(dataset))["game_4"].actions[:], wanted)
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads about
        child = context.Process(target=lambda: sending.send(np.array_equal(game.actions[:], wanted)))
        child.start()
    assert receiving.recv()
    child.join()
    right = []

    def read():
        for at in range(0, 19000, 97):
            right.append(np.array_equal(game.actions[at : at + 50], wanted[at : at + 50]))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 4 * 196
    assert all(right)


def test_reading_in_a_spawned_process(games):
    code = (
        "import pickle, sys; dataset = pickle.load(sys.stdin.buffer); print(int(dataset['game_4'].actions[:].sum()));"
        "print([name for name in ('nle', 'ray', 'torch') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(Dataset(games[0])), capture_output=True)
    assert out.stdout.decode().split("\n")[:2] == [str(int(games[1]["game_4"]["actions"].sum())), "[]"]


def one_game(tmp_path, steps=40):
    path = tmp_path / "game_1.h5"
    path.write_bytes(encode_shard(made_up(1, steps)[0], provenance()))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file["data/game_1"].pop("actions"), "game_1/actions is missing"),
        (lambda file: file.pop("data/game_1"), "game_1 is missing"),
        (lambda file: replace(file, "actions", np.zeros(39, "u1")), r"has shape \(39,\); expected \(40,\)"),
        (lambda file: replace(file, "actions", np.zeros(40, "i8")), "is of type int64; expected uint8"),
        (lambda file: replace(file, "actions", np.zeros(40, "u1")), "is not stored in chunks"),
        (lambda file: replace(file, "strategy", np.zeros(40, "u1")), "is no enumeration"),
        (lambda file: replace(file, "actions", h5py.SoftLink("/data/game_1/dones")), "is a link to elsewhere"),
        (lambda file: replace(file, "actions", h5py.ExternalLink("/etc/x.h5", "/x")), "is a link to elsewhere"),
        (lambda file: replace(file, "obs", h5py.ExternalLink("/etc/x.h5", "/x")), "game_1/obs is a link to elsewhere"),
        (lambda file: file["data/game_1/obs"].create_dataset("smell", data=[1]), "obs/smell: is no observation key"),
        (lambda file: external(file), "is not stored in chunks in this file"),
    ],
)  # fmt: skip
def test_a_game_that_is_not_as_the_format_has_it_is_refused(tmp_path, change, message):
    path = one_game(tmp_path)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(FormatError, match=message):
        _ = Dataset(path)[0].arrays


def replace(file, name, item):
    del file[f"data/game_1/{name}"]
    file[f"data/game_1/{name}"] = item


def external(file):
    """Raw data in another file."""
    del file["data/game_1/actions"]
    file["data/game_1"].create_dataset("actions", shape=(40,), dtype="u1", external=[("/etc/passwd", 0, 40)])


def test_shards_that_cannot_be_read_are_refused_or_left_out(tmp_path):
    write_games(tmp_path, [5, 6, 7], games_per_shard=1)
    cut, junk = tmp_path / "game_1.h5", tmp_path / "game_2.h5"
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(FormatError, match=r"game_1\.h5: not a readable HDF5 file"):
        Dataset(tmp_path)
    junk.write_text("not HDF5 at all")
    with pytest.warns(UserWarning, match="left out: .*game_") as said:
        dataset = Dataset(tmp_path, on_corrupt="skip")
    assert [game.name for game in dataset] == ["game_0"]
    assert len(said) == 2


def test_a_newer_version_is_refused_by_its_number(tmp_path):
    path = one_game(tmp_path)
    with h5py.File(path, "a") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(FormatError, match="format version 2, this release reads version 1; .* pip install --upgrade"):
        Dataset(path)


def test_a_flipped_byte_names_its_place(tmp_path):
    path = one_game(tmp_path, steps=1100)
    game = Dataset(path)[0]
    place, _ = game.obs["blstats"].places[1]
    data = bytearray(path.read_bytes())
    data[place + 9] ^= 1
    path.write_bytes(data)
    assert game.obs["blstats"][:1024].shape == (1024, 27)
    with pytest.raises(CorruptionError, match="game_1/obs/blstats, the chunk of steps 1024 to 1099: its checksum diff"):
        game.obs["blstats"][1024]


def test_a_dataset_that_is_named_twice_is_there_once_and_a_name_that_two_have_is_refused(tmp_path):
    for name, lengths in (("a", [5, 8, 9]), ("b", [7])):
        write_games(tmp_path / name, lengths)
    one, other = tmp_path / "a", tmp_path / "b"
    twice = Dataset([one, one, next(one.glob("*.h5"))])
    assert len(twice) == len(twice.games) == 3
    both = Dataset([one, other])
    assert len(both.games) == 4
    assert len(both["game_2"]) == 9
    with pytest.raises(KeyError, match="2 games are called 'game_0', in .*a/.*, .*b/.*; take one by its place"):
        both["game_0"]
