"""The recorder against a plain loop, and what it holds of a long game."""

import hashlib
import io

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strathack.collect.playing.recorder import GameRecorder, Reached
from strathack.dataset.actions import KEY_CODES
from strathack.dataset.chunks import make_array
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, DIGESTED_OBSERVATIONS, OBSERVATIONS

DTYPES = {"blstats": np.int64, "tty_colors": np.int8}  # NLE's, where they are not ours


def new_observation(keys):
    return {key: np.zeros(OBSERVATIONS[key].shape, DTYPES.get(key, OBSERVATIONS[key].dtype)) for key in keys}


def decoded(recorder, key):
    spec = OBSERVATIONS[key]
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = make_array(file, "x", (recorder.steps, *spec.shape), spec.dtype, spec.chunk_steps)
        for index, chunk in enumerate(recorder.chunks[key]):
            dataset.id.write_direct_chunk((index * spec.chunk_steps, *(0 for _ in spec.shape)), chunk)
        return dataset[...]


@settings(deadline=None, max_examples=12)
@given(
    steps=st.sampled_from([1, 5, 511, 512, 513, 1023, 1024, 1025, 2048]),
    keys=st.sets(st.sampled_from(["tty_cursor", "misc", "inv_glyphs", "blstats"]), min_size=1),
    seed=st.integers(0, 99),
)
def test_frames_and_columns_are_those_of_a_plain_loop(steps, keys, seed):
    rng = np.random.default_rng(seed)
    everything = {*keys, *DEFAULT_OBSERVATIONS}
    observation = new_observation(everything)
    recorder = GameRecorder(observation, sorted(keys))
    plain = {key: [] for key in everything}
    columns = []
    for _ in range(steps):
        for key, array in observation.items():
            array[...] = rng.integers(0, 16, array.shape)
            plain[key].append(array.copy())
        columns.append((rng.integers(121), rng.integers(13), rng.integers(30), rng.integers(-1, 12), rng.integers(9)))
        recorder.record(*map(int, columns[-1][:4]))
        recorder.record_reward(float(columns[-1][4]))
    recorder.finish()
    for key in keys:
        assert np.array_equal(decoded(recorder, key), plain[key])
    recorded = [recorder.actions, recorder.strategy, recorder.substrategy, recorder.published, recorder.rewards]
    assert np.array_equal(np.array(recorded), np.array(columns).T)
    total = hashlib.sha256()
    for key in DIGESTED_OBSERVATIONS:
        total.update(hashlib.sha256(np.array(plain[key]).astype(OBSERVATIONS[key].dtype).tobytes()).digest())
    assert recorder.frames_sha256 == total.hexdigest()
    assert recorder.keys_sha256 == hashlib.sha256(KEY_CODES[recorder.actions].tobytes()).hexdigest()


def test_the_digest_does_not_depend_on_what_is_kept():
    digests = set()
    for keys in (["misc"], DEFAULT_OBSERVATIONS, OBSERVATIONS):
        recorder = GameRecorder(new_observation(OBSERVATIONS), tuple(keys))
        for _ in range(1500):
            recorder.record(0, 0, 0, -1)
        recorder.finish()
        digests.add(recorder.frames_sha256)
    assert len(digests) == 1


def test_a_step_whose_reward_never_came_counts_with_none():
    recorder = GameRecorder(new_observation(DEFAULT_OBSERVATIONS), ())
    recorder.record(3, 0, 0, -1)
    recorder.finish()
    assert recorder.rewards.tolist() == [0.0]


def test_how_far_a_game_came_is_gathered_from_its_bottom_lines():
    def frame(depth, level, dungeon, dungeon_level):
        values = np.zeros(27, dtype="<i4")
        values[[12, 18, 23, 24]] = depth, level, dungeon, dungeon_level
        return values

    reached = Reached()
    reached.update(np.array([frame(1, 1, 0, 1), frame(4, 3, 2, 2), frame(3, 2, 0, 3)]))
    reached.update(np.array([frame(4, 1, 0, 4)]))
    assert (reached.experience_level, reached.max_depth, reached.deepest_dungeon) == (3, 4, 2)
    assert reached.places == {(1, 1, 0, 1), (4, 3, 2, 2), (3, 2, 0, 3), (4, 1, 0, 4)}


@pytest.mark.slow
def test_of_150_000_steps_it_holds_the_compressed_bytes_and_20_megabytes():
    psutil = pytest.importorskip("psutil")
    process = psutil.Process()
    observation = new_observation(OBSERVATIONS)
    rng = np.random.default_rng(0)
    before = process.memory_info().rss
    recorder = GameRecorder(observation, DEFAULT_OBSERVATIONS)
    for step in range(150_000):
        row, column = divmod(step % 1700, 80)
        observation["tty_chars"][row + 1, column] = rng.integers(32, 127)
        observation["tty_colors"][row + 1, column] = step % 16
        observation["tty_cursor"][...] = row + 1, column
        observation["blstats"][20] = step
        recorder.record(step % 121, step % 13, step % 30, step % 12)
        recorder.record_reward(0.0)
    recorder.finish()
    held = process.memory_info().rss - before
    compressed = sum(len(chunk) for chunks in recorder.chunks.values() for chunk in chunks)
    assert recorder.steps == 150_000
    assert compressed > 1_000_000
    assert held <= compressed + 20_000_000
