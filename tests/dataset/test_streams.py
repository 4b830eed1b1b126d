import copy
import json
import math
import pickle
import warnings

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_games import KEYS, made_up, provenance, write_games

from strathack.dataset import prefetching, streams
from strathack.dataset.errors import CorruptionError, InputError
from strathack.dataset.labels import STRATEGIES, Vocabulary
from strathack.dataset.reading import Dataset
from strathack.dataset.schedule import Share
from strathack.dataset.shard import encode_shard

T = 8
LENGTHS = [5, T, 20, 1, 3 * T, 0, 1100, 17]
"""Shorter than a batch, as long, longer, of one step, of none, over a chunk's end."""

COLUMNS = ("actions", "rewards", "dones", "strategy", "substrategy", "hihack_strategy")


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    folder = tmp_path_factory.mktemp("games")
    return folder, write_games(folder, LENGTHS)


def kept(stream):
    return [{name: array.copy() for name, array in batch.items()} for batch in stream]


def check_against_plain_reads(batches, dataset, games):
    """Every step of every batch against h5py's arrays; returns how often each step was shown."""
    shown = {name: np.zeros(len(arrays["actions"]), int) for name, arrays in games.items()}
    for batch in batches:
        for t, lane in zip(*np.nonzero(batch["mask"]), strict=True):
            arrays, step = games[dataset[int(batch["game"][t, lane])].name], batch["step"][t, lane]
            shown[dataset[int(batch["game"][t, lane])].name][step] += 1
            for key in KEYS:
                assert np.array_equal(batch[key][t, lane], arrays[f"obs/{key}"][step])
            for column in COLUMNS:
                assert batch[column][t, lane] == arrays[column][step]
            assert batch["first"][t, lane] == (step == 0)
            assert batch["previous_action"][t, lane] == (arrays["actions"][step - 1] if step else 255)
            assert batch["previous_strategy"][t, lane] == (arrays["strategy"][step - 1] if step else 255)
        padding = ~batch["mask"]
        assert all(not array[padding].any() for array in batch.values())
    return shown


@settings(max_examples=12, deadline=None)
@given(
    lanes=st.integers(1, 5), steps=st.sampled_from([1, T, 33]), seed=st.integers(0, 3), reuse=st.booleans(),
    threads=st.integers(1, 3), slab=st.sampled_from([1, 20_000, 1 << 20]),
)  # fmt: skip
def test_unrolls_show_every_step_once_with_its_own_labels(games, lanes, steps, seed, reuse, threads, slab):
    folder, arrays = games
    dataset = Dataset(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefetching, "SLAB_BYTES", slab)
        stream = streams.unrolls(
            dataset, lanes=lanes, steps=steps, columns=COLUMNS, previous_strategy="strategy", places=True, seed=seed,
            reuse=reuse, threads=threads,
        )  # fmt: skip
        batches = kept(stream)
    shown = check_against_plain_reads(batches, dataset, arrays)
    assert all((count == 1).all() for count in shown.values())
    for lane in range(lanes):
        column = np.concatenate([batch["mask"][:, lane] for batch in batches])
        assert (np.diff(column.astype(int)) <= 0).all(), "padding comes at the very end"
        walked = np.concatenate([batch["step"][:, lane] for batch in batches])[column]
        starts = np.concatenate([batch["first"][:, lane] for batch in batches])[column]
        assert ((np.diff(walked) == 1) | starts[1:]).all(), "a lane walks a game from start to end"


@settings(max_examples=8, deadline=None)
@given(lanes=st.integers(1, 5), seed=st.integers(0, 3), threads=st.integers(1, 3))
def test_windows_without_replacement_show_every_step_once(games, lanes, seed, threads):
    folder, arrays = games
    dataset = Dataset(folder)
    stream = streams.windows(
        dataset, lanes=lanes, steps=T, columns=COLUMNS, previous_strategy="strategy", places=True, seed=seed,
        threads=threads,
    )  # fmt: skip
    shown = check_against_plain_reads(kept(stream), dataset, arrays)
    assert all((count == 1).all() for count in shown.values())


def test_windows_with_replacement_are_full_ones_where_games_allow(games):
    folder, arrays = games
    dataset = Dataset(folder)
    stream = streams.windows(
        dataset, lanes=4, steps=T, replacement=True, columns=COLUMNS, previous_strategy="strategy", places=True
    )
    batches = kept(stream)
    shown = check_against_plain_reads(batches, dataset, arrays)
    count = math.ceil(sum(LENGTHS) / T)
    assert sum(int(batch["mask"][0].sum()) for batch in batches) == count
    assert len(batches) == math.ceil(count / 4)
    long = shown["game_6"]
    assert long.max() > 1
    assert (long == 0).any()
    for batch in batches:
        for lane in np.flatnonzero(batch["mask"][0]):
            length = LENGTHS[int(dataset.rows["core"][batch["game"][0, lane]])]
            assert batch["mask"][:, lane].sum() == min(T, length)


def same(one, other):
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("kind", ["unrolls", "windows"])
@pytest.mark.parametrize("before", [0, 1, 7, 20])
def test_a_stream_resumes_at_the_same_batch_byte_for_byte(games, kind, before):
    def new():
        return getattr(streams, kind)(Dataset(games[0]), lanes=3, steps=T, places=True, epochs=2)

    stream = new()
    for _ in range(before):
        next(stream)
    state = json.loads(json.dumps(stream.state_dict()))
    rest = kept(stream)
    resumed = new()
    next(resumed)
    resumed.load_state_dict(state)
    assert rest
    assert same(kept(resumed), rest)


def test_a_closed_stream_goes_on_where_it_was(games):
    def new():
        return streams.unrolls(Dataset(games[0]), lanes=2, steps=T)

    whole, stream = kept(new()), new()
    first = [copy.deepcopy(next(stream)) for _ in range(5)]
    stream.close()
    assert same(first + kept(stream), whole)


def test_a_state_of_another_stream_is_refused(games):
    dataset = Dataset(games[0])
    state = streams.unrolls(dataset, lanes=2, steps=T).state_dict()
    others = [
        streams.unrolls(dataset, lanes=3, steps=T),
        streams.unrolls(dataset, lanes=2, steps=T, share=Share(1, 2)),
        streams.unrolls(dataset.select("steps > 5"), lanes=2, steps=T),
        streams.windows(dataset, lanes=2, steps=T),
    ]
    for other in others:
        with pytest.raises(InputError, match="the state is that of another stream"):
            other.load_state_dict(state)


def test_arrays_are_reused_only_when_asked(games):
    dataset = Dataset(games[0])
    batches = list(streams.unrolls(dataset, lanes=2, steps=T))
    assert same(batches, kept(streams.unrolls(dataset, lanes=2, steps=T)))


def test_memory_is_allocated_once_where_arrays_are_reused_and_again_and_again_else(games):
    dataset = Dataset(games[0])
    allocated = {}
    for reuse in (False, True):
        sizes = []

        def allocate(*arguments, sizes=sizes):
            sizes.append(1)
            return np.empty(*arguments)

        stream = streams.unrolls(dataset, lanes=2, steps=T, reuse=reuse, epochs=None, allocate=allocate)
        for _ in range(50 * prefetching.MAX_SLAB_BATCHES):
            next(stream)
        allocated[reuse] = len(sizes)
    assert allocated[True] < allocated[False] / 5


def test_more_names_than_a_byte_tells_apart_are_refused(tmp_path):
    for seed in (0, 1):
        data, _ = made_up(seed, 30)
        names = [*STRATEGIES, *(f"{'ab'[seed]}{number}" for number in range(130))]
        object.__setattr__(data, "strategy_codes", Vocabulary(names).codes)
        (tmp_path / f"game_{seed}.h5").write_bytes(encode_shard(data, provenance()))
    next(streams.unrolls(Dataset(tmp_path / "game_0.h5"), lanes=1, steps=4))
    with pytest.raises(InputError, match="strategy: the games have 273 names, of which a stream tells 255 apart"):
        next(streams.unrolls(Dataset(tmp_path), lanes=1, steps=4))


def test_labels_get_the_dataset_s_codes(tmp_path):
    """Two games that gave their own names the same code."""
    for seed, own in ((0, "dance"), (1, "sing")):
        data, _ = made_up(seed, 30)
        object.__setattr__(data, "strategy_codes", Vocabulary([*STRATEGIES, own]).codes)
        object.__setattr__(data, "strategy", np.full(30, 13, "u1"))
        (tmp_path / f"game_{seed}.h5").write_bytes(encode_shard(data, provenance()))
    dataset = Dataset(tmp_path)
    assert dataset.vocabularies["strategy"][13:] == ("dance", "sing")
    for stream in (
        streams.unrolls(dataset, lanes=1, steps=T, places=True),
        streams.windows(dataset, lanes=1, steps=T, places=True),
    ):
        for batch in stream:
            names = np.array(dataset.vocabularies["strategy"])[batch["strategy"][batch["mask"]]]
            wanted = np.array(["dance", "sing"])[batch["game"][batch["mask"]]]
            assert (names == wanted).all()


def test_labels_have_one_code_in_all_selections(tmp_path):
    """Each shard knows the names in the order in which its own game came to them."""
    for seed, own in ((0, ("dance", "sing")), (1, ("sing", "dance"))):
        data, _ = made_up(seed, 30)
        object.__setattr__(data, "strategy_codes", Vocabulary([*STRATEGIES, *own]).codes)
        object.__setattr__(data, "strategy", np.full(30, 13, "u1"))
        (tmp_path / f"game_{seed}.h5").write_bytes(encode_shard(data, provenance()))
    whole = Dataset(tmp_path)
    second = whole.take([1])
    assert second.vocabularies == whole.vocabularies
    (batch,) = {int(code) for batch in streams.unrolls(second, lanes=1, steps=T) for code in batch["strategy"].flat[:1]}
    assert whole.vocabularies["strategy"][batch] == "sing"
    assert whole.names_of("strategy_inferred") == ()


def flip(path, dataset_name):
    """Flips a bit in the middle of an array's first chunk."""
    with h5py.File(path) as file:
        info = file[dataset_name].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[info.byte_offset + info.size // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["unrolls", "windows"])
def test_a_corrupt_game_stops_the_stream_or_is_left_out_and_said_once(tmp_path, kind):
    arrays = write_games(tmp_path, [30, 40, 50], games_per_shard=1)
    flip(tmp_path / "game_1.h5", "data/game_1/obs/blstats")
    dataset = Dataset(tmp_path)
    new = getattr(streams, kind)
    with pytest.raises(CorruptionError, match=r"game_1\.h5: game_1/obs/blstats, the chunk of steps 0 to 39: its check"):
        list(new(dataset, lanes=2, steps=T))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        stream = new(dataset, lanes=2, steps=T, columns=COLUMNS, previous_strategy="strategy", places=True,
                     on_corrupt="skip", epochs=2)  # fmt: skip
        shown = check_against_plain_reads(kept(stream), dataset, arrays)
    assert [int(count.sum()) for count in shown.values()] == [60, 0, 100]
    assert ["game_1/obs/blstats" in str(warning.message) for warning in said] == [True]


@pytest.mark.parametrize("kind", ["unrolls", "windows"])
@pytest.mark.parametrize(("column", "value"), [("strategy", 77), ("actions", 121), ("hihack_strategy", 12)])
def test_a_label_out_of_range_is_refused_with_its_step(tmp_path, kind, column, value):
    write_games(tmp_path, [30], games_per_shard=1)
    with h5py.File(tmp_path / "game_0.h5", "a") as file:
        file[f"data/game_0/{column}"][7] = value
    stream = getattr(streams, kind)(Dataset(tmp_path), lanes=1, steps=T, columns=COLUMNS)
    with pytest.raises(CorruptionError, match=rf"game_0\.h5: game_0/{column}, step 7: {value} is out of range"):
        list(stream)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lanes": 0}, "lanes: 0 is below 1"),
        ({"steps": 0}, "steps: 0 is below 1"),
        ({"epochs": 0}, "epochs: 0 is below 1"),
        ({"observations": ["tty_char"]}, "observations: 'tty_char' is unknown"),
        ({"columns": ("moves",)}, "columns: 'moves' is unknown; expected one of actions, rewards"),
        ({"previous_strategy": "actions"}, "previous_strategy: 'actions' is unknown"),
    ],
)
def test_bad_options_are_refused_by_name(games, options, message):
    with pytest.raises(InputError, match=message):
        streams.unrolls(Dataset(games[0]), **{"lanes": 2, "steps": 4, **options})


def test_an_empty_selection_and_a_missing_observation_are_refused(games):
    dataset = Dataset(games[0])
    with pytest.raises(InputError, match="no game has a step; was anything selected"):
        streams.unrolls(dataset.select("steps > 99999"), lanes=1, steps=1)
    with pytest.raises(InputError, match=r"game_\d has no 'glyphs'"):
        next(streams.unrolls(dataset, lanes=1, steps=1, observations=["glyphs"]))


def test_a_stream_is_not_pickled_by_accident(games):
    with pytest.raises(TypeError, match="send its dataset"):
        pickle.dumps(streams.unrolls(Dataset(games[0]), lanes=1, steps=1))
