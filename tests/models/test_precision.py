"""The precision that weights are published in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from strathack.models.options import BF16_MANTISSA  # noqa: E402
from strathack.models.precision import with_mantissa  # noqa: E402

sizes = st.floats(2.0**-100, 2.0**100, width=32)  # of which none is denormal
numbers = st.lists(st.one_of(sizes, sizes.map(lambda size: -size), st.just(0.0)), min_size=1, max_size=20)


@given(numbers=numbers, bits=st.integers(0, 23))
def test_numbers_are_rounded_to_the_nearest_of_so_many_bits(numbers, bits):
    values = torch.tensor(numbers)
    rounded = with_mantissa(values, bits)
    kept = rounded.view(torch.int32) & ((1 << (23 - bits)) - 1)
    assert not kept.any(), "bits beyond these are zero"
    assert torch.equal(with_mantissa(rounded, bits), rounded)
    step = 2.0 ** (torch.frexp(values.double()).exponent.double() - 1 - bits)
    assert ((rounded.double() - values.double()).abs() <= step / 2).all()


@given(numbers=numbers)
def test_all_bits_of_bf16_give_what_torch_gives(numbers):
    values = torch.tensor(numbers)
    assert torch.equal(with_mantissa(values, BF16_MANTISSA), values.to(torch.bfloat16).float())
