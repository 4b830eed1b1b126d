"""Distinct groups are what a plain search finds, and the gradients of copies are added up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from strathack.models.distinct import copied, distinct  # noqa: E402

SHAPES = st.tuples(*[st.integers(1, 6)] * 3, *[st.integers(1, 4)] * 2)


@settings(max_examples=50, deadline=None)
@given(SHAPES, st.integers(0, 63), st.sampled_from([2, 5, 1000]), st.integers(0, 2**32 - 1))
def test_distinct_groups_are_those_of_a_plain_search(shape, shift, values, seed):
    cells = np.random.default_rng(seed).integers(0, values, shape) << shift  # where only high bits differ, too
    groups, which = distinct(torch.from_numpy(cells))
    seen: dict[bytes, int] = {}
    expected = [seen.setdefault(cells[place].tobytes(), len(seen)) for place in np.ndindex(shape[:3])]
    assert which.flatten().tolist() == expected
    assert [group.numpy().tobytes() for group in groups[: len(seen)]] == list(seen)
    assert not groups[len(seen) :].any()


def test_overlapping_windows_and_more_groups_than_there_was_room_for():
    cells = torch.arange(90 * 90).view(1, 90, 90)
    windows = cells.unfold(1, 3, 1).unfold(2, 3, 1)
    groups, which = distinct(windows)
    assert torch.equal(which.flatten(), torch.arange(88 * 88, dtype=torch.int32))
    assert torch.equal(groups[: 88 * 88], windows.flatten(3).flatten(0, 2))


def test_few_numbers_of_groups_occur():
    sizes = [len(distinct(torch.arange(count).view(1, 1, count, 1, 1))[0]) for count in range(1, 3000)]
    assert all(count <= size <= count * 9 / 8 for count, size in enumerate(sizes, 1))
    assert len(set(sizes)) < 80


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_copies_are_added_in_32_bits(dtype):
    rng = np.random.default_rng(0)
    which = torch.from_numpy(rng.choice([0, 1, 3], 100_000, p=[0.9, 0.05, 0.05]).astype(np.int32))
    rows = torch.randn(5, 3, dtype=dtype, requires_grad=True)
    copies = copied(rows, which)
    assert torch.equal(copies, rows[which.long()])
    gradient = torch.rand(len(which), 3).to(dtype)
    (found,) = torch.autograd.grad(copies, rows, gradient)
    expected = torch.zeros(5, 3, dtype=torch.float64).index_add_(0, which, gradient.double())
    torch.testing.assert_close(found.double(), expected, atol=0, rtol=4e-3 if dtype is torch.bfloat16 else 1e-5)
