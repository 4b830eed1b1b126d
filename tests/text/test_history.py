"""Histories as text: diffs that can be applied, in the format that LangHack has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nle import nethack

from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import FormatError
from strathack.dataset.labels import STRATEGIES
from strathack.text.history import ACTION_TEXTS, SENTENCES, Changes, Chunk, applied, difference, tellings

texts = st.lists(st.text("ab+-@ ", max_size=3), max_size=8).map("\n".join)


@given(texts, texts)
def test_a_diff_applied_to_a_text_gives_the_other(before, after):
    assert applied(before, difference(before, after)) == after


def test_a_diff_is_that_of_difflib_without_context_and_names():
    assert difference("a\nb\nc\nd", "a\nB\nc\nd\ne") == "@@ -2 +2 @@\n-b\n+B\n@@ -4,0 +5 @@\n+e"
    assert difference("a", "a") == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("@@ -1 +1 @@\n-x\n+y", r"diff: the hunk '@@ -1 \+1 @@' does not fit the text before"),
        ("nothing", "diff: 'nothing' begins no hunk"),
        ("@@ -1 +1 @@\n-a", r"diff: the hunk '@@ -1 \+1 @@' does not fit the text before"),
    ],
)
def test_a_diff_of_another_text_is_refused(change, said):
    with pytest.raises(FormatError, match=said):
        applied("a\nb", change)


def test_actions_are_called_what_language_wrappers_call_them():
    assert len(set(ACTION_TEXTS.values())) == len(ACTION_NAMES) == 121
    expected = {"far_northeast": "far northeast", "digit_5": "five", "turn": "turnundead", "overview": "wizard where"}
    expected |= {"apostrophe": "apos", "plus": "+", "quote": '"', "dollar": "$", "esc": "esc", "wait": "wait"}
    assert {name: ACTION_TEXTS[name] for name in expected} == expected
    commands = {action.name.lower() for action in nethack.ACTIONS if isinstance(action, nethack.Command)}
    assert commands - set(ACTION_TEXTS.values()) == {"turn", "overview"}


def chunk(how="none"):
    strategies = ["fight", "fight", "explore"]
    text = ["one\ntwo", "one\n2", "one\n2\nthree"].__getitem__
    changes = Changes(text, "diff")
    return Chunk(text(0), [changes.at(1), changes.at(2)], ["north", "far_east", "digit_2"], tellings(strategies, how))


def test_a_chunk_is_formatted_as_in_langhack():
    assert chunk().prompt == "You are an agent playing NetHack. Predict the next keypresses.\n\none\ntwo\n\n"
    assert chunk().completion == (
        "<|action|>north\n<|observation|>\n@@ -2 +2 @@\n-two\n+2\n"
        "<|action|>far east\n<|observation|>\n@@ -2,0 +3 @@\n+three\n<|action|>two"
    )


def test_turns_tell_the_same_as_completions():
    told = chunk().messages
    assert [turn["role"] for turn in told] == ["user", "assistant"] * 3
    assert told[1]["content"] == "<|action|>north"
    assert told[2]["content"] == "@@ -2 +2 @@\n-two\n+2"
    assert told[0]["content"] == chunk().prompt.strip()


def test_strategies_are_told_where_they_change():
    assert "<|strategy|>fight\n<|action|>north" in chunk("tokens").completion
    assert chunk("tokens").completion.count("<|strategy|>") == 2
    assert chunk("sentences").completion.startswith("I fight the monsters around me.\n<|action|>north")
    assert set(SENTENCES) == set(STRATEGIES)
    assert tellings(["dig_for_gold"], "sentences") == ["I dig for gold."]


def test_whole_observations_stand_in_place_of_diffs():
    changes = Changes(["a", "b"].__getitem__, "full")
    assert changes.at(1) == "b"


def test_every_diff_is_made_once_however_many_chunks_tell_it():
    asked = []

    def text(step):
        asked.append(step)
        return str(np.sqrt(step))

    changes = Changes(text, "diff")
    assert changes.at(3) == changes.at(3)
    assert asked == [2, 3]
