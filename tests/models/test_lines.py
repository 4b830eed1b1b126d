"""Words in lines, against Python's own search."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from strathack.models.lines import has_words, places_of, windows_of  # noqa: E402

lines = st.lists(st.text("ab ", min_size=24, max_size=24), min_size=1, max_size=4)


@given(lines=lines, words=st.text("ab ", min_size=1, max_size=24), data=st.data())
def test_words_are_found_where_they_are(lines, words, data):
    start = data.draw(st.integers(0, 24 - len(words)))
    lines = [*lines, lines[0][:start] + words + lines[0][start + len(words) :]]
    windows = windows_of(torch.tensor([list(line.encode()) for line in lines], dtype=torch.uint8))
    expected = np.array([[line.startswith(words, place) for place in range(24)] for line in lines])
    assert (places_of(words.encode(), windows).numpy() == expected).all()
    assert has_words(words.encode(), windows).tolist() == [words in line for line in lines]
