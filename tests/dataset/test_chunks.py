import io

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strathack.dataset.chunks import ChunkEncoder, fletcher32, make_array, pad_chunk, write_column
from strathack.dataset.schema import COLUMN_CHUNK_STEPS


def plain_fletcher32(data: bytes) -> bytes:
    """The sum by its definition, word by word."""
    words = [int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2)]
    first = second = 0
    for word in words:
        first += word
        first = (first & 0xFFFF) + (first >> 16)
        second += first
        second = (second & 0xFFFF) + (second >> 16)
    return first.to_bytes(2, "little") + second.to_bytes(2, "little")


@given(st.binary(max_size=3000))
def test_the_sum_is_that_of_its_definition(data):
    assert fletcher32(data) == plain_fletcher32(data)


@pytest.mark.parametrize("data", [b"", b"\0" * 10, b"\xff" * 4, b"\xff" * 131070, b"\xff\xff\0\0\x01"])
def test_the_sum_at_its_edges(data):
    assert fletcher32(data) == plain_fletcher32(data)


def test_hdf5_makes_the_same_sum():
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = file.create_dataset("x", data=np.arange(999, dtype="u1"), chunks=(999,), fletcher32=True)
        file.flush()
        chunk = dataset.id.read_direct_chunk((0,))[1]
    assert fletcher32(chunk[:-4]) == chunk[-4:]


@settings(deadline=None, max_examples=30)
@given(
    steps=st.integers(1, 50),
    chunk=st.integers(1, 20),
    width=st.integers(1, 9),
    dtype=st.sampled_from(["u1", "<i2", "<i4", "<f4"]),
    seed=st.integers(0, 99),
)
def test_hdf5_reads_what_we_encode(steps, chunk, width, dtype, seed):
    values = np.random.default_rng(seed).integers(0, 100, (steps, width)).astype(dtype)
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = make_array(file, "x", values.shape, dtype, chunk)
        length = dataset.chunks[0]
        for start in range(0, steps, length):
            dataset.id.write_direct_chunk(
                (start, 0), ChunkEncoder().encode(pad_chunk(values[start : start + length], length))
            )
        assert np.array_equal(dataset[...], values)


@pytest.mark.parametrize("steps", [0, 1, COLUMN_CHUNK_STEPS - 1, COLUMN_CHUNK_STEPS, 2 * COLUMN_CHUNK_STEPS + 5])
def test_columns_of_every_length(steps):
    values = np.random.default_rng(steps).integers(0, 256, steps).astype("u1")
    with h5py.File(io.BytesIO(), "w") as file:
        write_column(file, "x", values, ChunkEncoder(), "u1")
        assert np.array_equal(file["x"][...], values)


def test_every_flipped_bit_of_a_chunk_is_an_error():
    values = np.random.default_rng(0).integers(0, 4, 300).astype("u1")
    encoded = ChunkEncoder().encode(values)
    for bit in range(0, len(encoded) * 8, 7):
        damaged = bytearray(encoded)
        damaged[bit // 8] ^= 1 << bit % 8
        with h5py.File(io.BytesIO(), "w") as file:
            dataset = make_array(file, "x", values.shape, "u1", len(values))
            dataset.id.write_direct_chunk((0,), bytes(damaged))
            with pytest.raises(OSError, match="[Ff]iltered|checksum|filter"):
                dataset[...]
