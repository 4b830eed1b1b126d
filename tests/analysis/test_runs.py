import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from strathack.analysis.runs import columns_of, runs_of, starts_of

LABELS = st.lists(st.integers(0, 3), max_size=60).map(lambda codes: np.array(codes, np.uint8))


@given(LABELS)
def test_runs_are_those_of_a_plain_loop(labels):
    expected = [(code, len(list(run))) for code, run in itertools.groupby(labels.tolist())]
    codes, lengths = runs_of(labels)
    assert list(zip(codes.tolist(), lengths.tolist(), strict=True)) == expected
    assert starts_of(labels).tolist() == [0, *np.cumsum(lengths)][: len(expected)]


@given(LABELS, st.integers(1, 20))
def test_a_column_shows_what_is_most_frequent_in_its_stretch(labels, count):
    columns = columns_of(labels, count)
    assert len(columns) == min(count, len(labels))
    for column, stretch in zip(columns, np.array_split(labels, len(columns) or 1), strict=False):
        assert (stretch == column).sum() == max((stretch == code).sum() for code in range(4))
