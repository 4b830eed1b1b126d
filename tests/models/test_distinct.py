"""Distinct groups are what a plain search finds, and the gradients of copies are added up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from strathack.models.distinct import Memory, OfDistinct, copied, distinct, remembering  # noqa: E402

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


class Counted(OfDistinct):
    """Multiplies the cells of a group by a weight, and counts the groups that it is asked for."""

    def __init__(self):
        super().__init__()
        self.weight, self.asked = 2, 0

    def forward(self, windows):
        results, which = self.computed("product", self._product, windows)
        return copied(results, which.flatten())

    def _product(self, groups):
        self.asked += len(groups)
        return (groups * self.weight).float()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.sampled_from([2, 5, 4000]), st.integers(0, 2**32 - 1))
def test_what_is_remembered_is_what_is_computed(steps, values, seed):
    rng, module, memory = np.random.default_rng(seed), Counted(), Memory()
    for frames in steps:
        windows = torch.from_numpy(rng.integers(0, values, (frames, 20, 15, 1, 2)))
        with remembering([module], memory):
            found = module(windows)
        assert torch.equal(found, windows.view(-1, 2) * 2.0)


def test_groups_are_computed_again_only_when_forgotten():
    module, other, memory = Counted(), Counted(), Memory(limit=1 << 20)
    first, second = torch.arange(10).view(1, 1, 10, 1, 1), torch.arange(14).view(1, 1, 14, 1, 1)
    asked = []
    with remembering([module, other], memory):
        for windows in (first, first, second, first):
            module(windows), other(windows)
            asked.append(module.asked)
        assert asked == [10, 10, 14, 14]
        memory.forget([other])
        module.weight = other.weight = 3
        assert torch.equal(module(first), first.view(-1, 1) * 2.0)
        assert torch.equal(other(first), first.view(-1, 1) * 3.0)
        module(torch.arange(100_000).view(1, 1, -1, 1, 1))
        assert memory.nbytes > memory.limit, "nothing is forgotten within a step"
    with remembering([module, other], memory):
        assert memory.nbytes == 0
        assert torch.equal(module(first), first.view(-1, 1) * 3.0)
    module.weight = 4
    assert torch.equal(module(first), first.view(-1, 1) * 4.0), "without a memory, all is computed"


def test_what_could_not_be_computed_is_computed_the_next_time():
    module, memory = Counted(), Memory()
    module.weight = None
    windows = torch.arange(10).view(1, 1, 10, 1, 1)
    with remembering([module], memory):
        with pytest.raises(TypeError):
            module(windows)
        module.weight = 2
        assert module(windows[:0]).shape == (0, 1)
        assert torch.equal(module(windows), windows.view(-1, 1) * 2.0)
