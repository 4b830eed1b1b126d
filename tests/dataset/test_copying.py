"""Labels that were inferred, beside what is there: written, read, merged, compacted, streamed and exported."""

from contextlib import closing

import h5py
import numpy as np
import pandas as pd
import pytest
from films import write_replies_to
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_games import made_up, provenance, write_games

from strathack.dataset import Dataset
from strathack.dataset.copying import one_game_shard, shard_with_inferred
from strathack.dataset.errors import InputError
from strathack.dataset.folder import REPLIES, replies_path
from strathack.dataset.labels import STRATEGIES, Vocabulary
from strathack.dataset.replies import read_replies
from strathack.dataset.shard import InferredLabels, encode_shard
from strathack.dataset.streams import unrolls


def inferred(steps, seed=0, names=STRATEGIES):
    rng = np.random.default_rng(seed)
    return InferredLabels(
        rng.integers(0, len(names), steps).astype("u1"), rng.random(steps).astype("<f2"), Vocabulary(names).codes
    )


def stored(folder, shard):
    folder.mkdir(parents=True)
    (folder / "shard-00000.h5").write_bytes(shard)
    return Dataset(folder)


@settings(deadline=None, max_examples=20)
@given(steps=st.sampled_from([0, 1, 1023, 1024, 16384, 16385]), seed=st.integers(0, 1000))
def test_inferred_labels_come_back_beside_everything_else(tmp_path_factory, steps, seed):
    tmp_path = tmp_path_factory.mktemp("inferred")
    data, arrays = made_up(seed, steps, keys=["tty_cursor"])
    labels = inferred(steps, seed)
    before = stored(tmp_path / "before", encode_shard(data, provenance()))[0]
    game = stored(tmp_path / "after", shard_with_inferred(before, {"strategy": labels}))[0]
    assert np.array_equal(game.arrays["strategy_inferred"][:], labels.values)
    assert np.array_equal(game.arrays["strategy_inferred_probability"][:], labels.probability)
    assert game.arrays["strategy_inferred"].codes == labels.codes
    for name, values in arrays.items():
        assert np.array_equal(game.arrays[name][:], values), name
    assert game.attributes == before.attributes
    assert game.row == before.row


@pytest.fixture
def labelled(tmp_path):
    write_games(tmp_path / "plain", [300] * 3)
    plain = Dataset(tmp_path / "plain")
    folder = tmp_path / "labelled"
    folder.mkdir()
    for place, game in enumerate(plain):
        # Each game's own file has other codes.
        names = STRATEGIES if place else STRATEGIES[::-1]
        shard = shard_with_inferred(game, {"strategy": inferred(len(game), place, names)})
        (folder / f"{game.name}.h5").write_bytes(shard)
    return folder


def test_labels_are_not_written_over(labelled):
    game = Dataset(labelled)[0]
    with pytest.raises(InputError, match=r"game_0 has strategy_inferred already, which is not written over"):
        shard_with_inferred(game, {"strategy": inferred(len(game))})
    both = shard_with_inferred(game, {"substrategy": inferred(len(game), 7, ("dig", "look"))})
    assert b"substrategy_inferred" in both


def test_commands_keep_them(run, labelled, tmp_path):
    for words, out in (
        (("merge", tmp_path / "merged", labelled), "merged"),
        (("repair", labelled, tmp_path / "repaired"), "repaired"),
        (("compact", labelled, tmp_path / "keys"), "keys"),
    ):
        ended = run("dataset", *words, "--quiet")
        assert ended.status == 0, ended.err
        for game in Dataset(tmp_path / out):
            before = Dataset(labelled)[game.name]
            for name in ("strategy_inferred", "strategy_inferred_probability"):
                assert np.array_equal(game.arrays[name][:], before.arrays[name][:])
            assert np.array_equal(
                game.arrays["strategy_inferred"].names(slice(None)),
                before.arrays["strategy_inferred"].names(slice(None)),
            )
    assert run("dataset", "verify", tmp_path / "merged", "--quiet").status == 0


def test_streams_show_them_in_the_codes_of_the_dataset(labelled):
    dataset = Dataset(labelled)
    names = np.array(dataset.vocabularies["strategy_inferred"])
    columns = ("strategy_inferred", "strategy_inferred_probability")
    seen = {game.name: [] for game in dataset}
    with closing(unrolls(dataset, lanes=2, steps=64, columns=columns, places=True, observations=())) as stream:
        for batch in stream:
            for lane in range(2):
                for step in np.flatnonzero(batch["mask"][:, lane]):
                    game = dataset[int(batch["game"][step, lane])].name
                    seen[game].append(names[batch["strategy_inferred"][step, lane]])
    for game in dataset:
        assert seen[game.name] == game.arrays["strategy_inferred"].names(slice(None)).tolist()


def test_a_stream_of_labels_that_a_game_lacks_names_it(labelled, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "game_9.h5").write_bytes(encode_shard(made_up(9, 100)[0], provenance()))
    mixed = Dataset([labelled, tmp_path / "other"])
    with (
        pytest.raises(InputError, match=r"game_9 has no 'strategy_inferred'; strathack label apply writes it"),
        closing(
            unrolls(mixed, lanes=4, steps=64, columns=("strategy_inferred",), observations=(), seed=None)
        ) as stream,
    ):
        list(stream)


def test_an_export_has_a_column_of_them_only_where_there_are_any(run_here, labelled, tmp_path):
    for data, expected in ((labelled, True), (tmp_path / "plain", False)):
        out = tmp_path / f"table-{expected}"
        assert run_here("dataset", "export", data, out, "--to", "parquet", "--quiet").status == 0
        steps = pd.read_parquet(out / "steps.parquet")
        assert ("strategy_inferred" in steps) is expected
        assert ("strategy_inferred_probability" in steps) is expected
    game = Dataset(labelled)[1]
    mine = pd.read_parquet(tmp_path / "table-True" / "steps.parquet").query("game == @game.name")
    assert mine["strategy_inferred"].tolist() == game.arrays["strategy_inferred"].names(slice(None)).tolist()


def test_a_probability_that_is_none_is_found(run_here, tmp_path):
    data, _ = made_up(1, 50, keys=["tty_cursor"])
    plain = stored(tmp_path / "plain", encode_shard(data, provenance()))[0]
    wrong = InferredLabels(np.zeros(50, "u1"), np.full(50, 1.5, "<f2"), Vocabulary(STRATEGIES).codes)
    stored(tmp_path / "wrong", shard_with_inferred(plain, {"strategy": wrong}))
    ended = run_here("dataset", "verify", tmp_path / "wrong", "--quiet")
    assert ended.status == 1
    assert "game_1/strategy_inferred_probability, step 0: 1.5 is out of range" in ended.out


def test_one_game_of_a_shard_is_copied_with_its_labels(labelled, tmp_path):
    game = Dataset(labelled)[2]
    copy = stored(tmp_path / "copy", one_game_shard(game))
    assert copy.vocabularies["strategy_inferred"] == STRATEGIES
    assert np.array_equal(copy[0].arrays["strategy_inferred"][:], game.arrays["strategy_inferred"][:])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_merge_keeps_the_copy_that_holds_more(run, labelled, tmp_path, order):
    assert run("dataset", "compact", tmp_path / "plain", tmp_path / "keys", "--quiet").status == 0
    for less, more in ((tmp_path / "keys", tmp_path / "plain"), (tmp_path / "plain", labelled)):
        sources = [(less, more)[place] for place in order]
        out = tmp_path / f"of {more.name}"
        ended = run("dataset", "merge", out, *sources, "--quiet")
        assert ended.status == 0, ended.err
        assert "game_0: in several datasets, the same; the fullest was kept" in ended.out
        for game in Dataset(out):
            assert game.arrays.keys() == Dataset(more)[game.name].arrays.keys()


def test_merge_leaves_out_a_damaged_copy(run, labelled, tmp_path):
    path = labelled / "game_1.h5"
    with h5py.File(path) as file:
        chunk = file["data/game_1/strategy_inferred"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 16
    path.write_bytes(content)
    ended = run("dataset", "merge", tmp_path / "out", tmp_path / "plain", labelled, "--quiet")
    assert ended.status == 0, ended.err
    there = ["strategy_inferred" in game.arrays for game in Dataset(tmp_path / "out")]
    assert there == [True, False, True]


def test_merge_refuses_copies_of_which_each_holds_what_the_other_lacks(run, labelled, tmp_path):
    relabelled = tmp_path / "relabelled"
    relabelled.mkdir()
    for game in Dataset(tmp_path / "plain"):
        shard = shard_with_inferred(game, {"strategy": inferred(len(game), 9)})
        (relabelled / f"{game.name}.h5").write_bytes(shard)
    refused = run("dataset", "merge", tmp_path / "out", labelled, relabelled)
    assert refused.status == 2
    assert "game_0 and 2 more stands in several of the datasets and is not known to be the same, labels" in refused.err
    assert not (tmp_path / "out").exists()


def test_what_a_model_replied_goes_with_its_game(run, tmp_path):
    write_games(tmp_path / "played", [300] * 2)
    game = Dataset(tmp_path / "played")[0]
    write_replies_to(game, {3: "north"})
    replies = read_replies(replies_path(tmp_path / "played", game.name))
    assert len(replies) == 2
    for words, out in (
        (("merge", tmp_path / "merged", tmp_path / "played"), "merged"),
        (("repair", tmp_path / "played", tmp_path / "repaired"), "repaired"),
        (("compact", tmp_path / "played", tmp_path / "keys"), "keys"),
    ):
        assert run("dataset", *words, "--quiet").status == 0
        assert read_replies(replies_path(tmp_path / out, game.name)) == replies
        assert [path.name for path in (tmp_path / out / REPLIES).iterdir()] == [f"{game.name}.parquet"]
    # A copy without replies is not the fuller one, whatever else it has; a copy of keys with them is not either.
    (tmp_path / "played" / REPLIES).rename(tmp_path / "elsewhere")
    refused = run("dataset", "merge", tmp_path / "out", tmp_path / "keys", tmp_path / "played")
    assert refused.status == 2
    assert f"{game.name} stands in several of the datasets" in refused.err
