"""Messages and popups as the fast bot reads them, against the package's own code."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nethackers")
stepping = importlib.import_module("strathack.collect.demonstrators.fast.stepping")
replacing = importlib.import_module("strathack.collect.demonstrators.fast.replacing")
Agent = importlib.import_module("autoascend.agent").Agent


class Reader:
    get_message_and_popup = Agent.get_message_and_popup
    _find_marker = staticmethod(Agent._find_marker)


def screen(lines):
    text = "".join(line[:80].ljust(80) for line in [*lines, *[""] * 24][:24])
    return np.frombuffer(text.encode("latin-1"), np.uint8).reshape(24, 80)


def message(text):
    return np.frombuffer(text.encode("latin-1")[:255].ljust(256, b"\0"), np.uint8)


def read(how, observation):
    try:
        return how(Reader(), observation)
    except Exception as error:  # noqa: BLE001
        return type(error)


words = st.sampled_from(
    [
        "You see here a potion.",
        "--More--",
        "(end)",
        "(1 of 2)",
        "HP:14(14)",
        "scroll of light",
        "a - +1 dagger",
        "",
        "Coins",
        "(2 of",
        "2)",
        "é",
        "\0",
    ]
)
lines = st.builds(lambda pad, parts: " " * pad + " ".join(parts), st.integers(0, 40), st.lists(words, max_size=3))


@given(st.lists(lines, max_size=24), st.lists(words, max_size=3))
def test_screens_are_read_as_the_bot_reads_them(shown, said):
    observation = {"tty_chars": screen(shown), "message": message(" ".join(said))}
    expected = read(stepping._get_message_and_popup, observation)
    assert read(stepping.get_message_and_popup, observation) == expected


@given(st.lists(lines, min_size=1, max_size=24))
def test_marks_are_found_as_the_bot_finds_them(shown):
    def find(how):
        try:
            return how(shown)
        except ValueError:
            return "too many"

    assert find(stepping.find_marker) == find(Agent._find_marker)


def test_real_screens(shared):
    observations = np.load(shared / "fixtures" / "text" / "observations.npz")
    texts = 0
    for tty in observations["tty_chars"]:
        shown = [bytes(line).decode() for line in tty]
        observation = {"tty_chars": tty, "message": message(shown[0].strip())}
        expected = read(stepping._get_message_and_popup, observation)
        assert read(stepping.get_message_and_popup, observation) == expected
        texts += expected[2] if isinstance(expected, tuple) else 0
    assert texts > 100


def test_hit_points_stay_numpys_where_the_bot_would_divide_by_none():
    values = np.arange(27, dtype=np.int32) + 1
    line = stepping._bottom_line(values)
    assert line == tuple(values)
    assert type(line.hitpoints) is int
    values[stepping._HITPOINTS] = 0
    assert isinstance(stepping._bottom_line(values).hitpoints, np.integer)


def test_the_capacity_is_a_number_that_can_be_divided_by_a_weight_of_none():
    stats = SimpleNamespace(strength_percentage=10, constitution=9)
    capacity = stepping.carrying_capacity(SimpleNamespace(agent=SimpleNamespace(blstats=stats)))
    assert capacity == 525
    with np.errstate(divide="ignore"):
        assert capacity // 0 == 0
