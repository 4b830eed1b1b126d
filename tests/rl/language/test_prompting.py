"""How much of a history a prompt shows."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from strathack.rl.language.prompting import Fitting


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 8), st.integers(1, 30))
def test_what_fitted_is_remembered_and_prompts_grow_by_one_observation_a_step(sizes: Any, most: int, room: int) -> None:
    fitting = Fitting(most)
    before = most
    for step in range(1, len(sizes) + 1):
        tried = []

        def prompt(shown: int, step: int = step, tried: Any = tried) -> str:
            tried.append(shown)
            return "".join("x" * size for size in sizes[step - shown : step])

        said = fitting.longest(min(step, most), prompt, lambda text: len(text) <= room)
        shown = tried[-1]
        assert said == "".join("x" * size for size in sizes[step - shown : step])
        assert tried == list(range(tried[0], shown - 1, -1))
        assert tried[0] == min(step, most, before + 1)
        assert len(said) <= room or shown == 1
        before = shown
