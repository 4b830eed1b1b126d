"""Bytes flipped and cut at random: right data or a clear error, never a crash, a hang or wrong data."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_games import made_up, provenance

from strathack.dataset import Dataset
from strathack.dataset.errors import FormatError
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.shard import encode_shard
from strathack.dataset.streams import unrolls
from strathack.dataset.verify import verify_shard


class Shard:
    """An undamaged one; with a short name in hypothesis's reports."""

    def __init__(self):
        data, self.arrays = made_up(3, 60)
        self.bytes, self.row = encode_shard(data, provenance()), data.row


@pytest.fixture(scope="module")
def shard():
    return Shard()


def read_everything(path, row, arrays):
    """Whether all of it was read, and right; False where an error said that it is not."""
    try:
        dataset = Dataset(path)
        assert dataset.rows[0] == row
        assert dataset[0].provenance == provenance()
        assert set(arrays) <= set(dataset[0].arrays)
        for name, values in arrays.items():
            assert np.array_equal(dataset[0].arrays[name][:], values)
        assert dataset[0].attributes["xlogfile"] == "points=30\tname=Ågent"
        steps = np.concatenate([batch["actions"][:, 0] for batch in unrolls(dataset, lanes=1, steps=4, threads=1)])
        assert np.array_equal(steps, arrays["actions"])
    except FormatError as error:
        message = str(error)
    else:
        return True
    assert str(path) in message
    return False


slow_checks = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)


@settings(max_examples=150, deadline=None, suppress_health_check=slow_checks)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), count=st.integers(1, 3))
def test_flipped_bits(shard, tmp_path, place, bit, count):
    data, row, arrays = shard.bytes, shard.row, shard.arrays
    damaged = bytearray(data)
    for offset in range(count):
        damaged[(int(place * len(data)) + offset) % len(data)] ^= 1 << bit
    path = tmp_path / "game.h5"
    path.write_bytes(damaged)
    read = read_everything(path, row, arrays)
    problems = list(verify_shard(path, lambda game: None))
    assert read or problems


@settings(max_examples=40, deadline=None, suppress_health_check=slow_checks)
@given(place=st.floats(0, 1, exclude_max=True), zeros=st.booleans())
def test_a_shard_cut_short_or_filled_up_with_zeros(shard, tmp_path, place, zeros):
    data, row, arrays = shard.bytes, shard.row, shard.arrays
    kept = data[: int(place * len(data))]
    path = tmp_path / "game.h5"
    path.write_bytes(kept + bytes(len(data) - len(kept)) if zeros else kept)
    read_everything(path, row, arrays)
    if not zeros:
        with pytest.raises(FormatError, match="not a readable HDF5 file"):
            Dataset(path)


def test_a_damaged_game_is_merged_whole_or_refused_by_its_file(shard, tmp_path):
    for place in range(0, len(shard.bytes), 97):
        folder = tmp_path / str(place)
        folder.mkdir()
        damaged = bytearray(shard.bytes)
        damaged[place] ^= 16
        (folder / "game_3.h5").write_bytes(damaged)
        message = ""
        try:
            list(DatasetFolder(folder).merge(2))
        except FormatError as error:
            message = str(error)
        (path,) = folder.iterdir()
        if message:
            assert (path.name, str(path) in message) == ("game_3.h5", True)
        else:
            whole = read_everything(path, shard.row, shard.arrays)
            assert whole or list(verify_shard(path, lambda game: None)), place


def test_an_undamaged_shard_is_read(shard, tmp_path):
    data, row, arrays = shard.bytes, shard.row, shard.arrays
    path = tmp_path / "game.h5"
    path.write_bytes(data)
    assert read_everything(path, row, arrays)
    assert not list(verify_shard(path, lambda game: None))
