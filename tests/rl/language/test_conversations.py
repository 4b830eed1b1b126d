"""Conversations in BALROG's form, and what replies to them mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompts import Roomy, frame

from strathack.dataset.actions import ACTION_NAMES, ACTIONS
from strathack.rl.config import LanguageConfig
from strathack.rl.language.conversations import (
    MEANINGS,
    NOT_OFFERED,
    OFFERED_ACTIONS,
    BalrogPrompter,
    instruction,
    move_of,
)
from strathack.rl.language.prompting import Move
from strathack.text.history import ACTION_TEXTS

pytest.importorskip("numba")


@pytest.mark.parametrize(
    ("reply", "actions"),
    [
        ("north", ("north",)),
        (" Far East\n", ("far_east",)),
        ("I see a door.\n<|ACTION|>kick<|END|>", ("kick",)),
        ("<|ACTION|>east<|END|> or rather <|ACTION|>\nwest <|END|>", ("west",)),
        ("f", ("fire",)),
        ("F", ("fight",)),
        ("7", ("digit_7",)),
        ("20", ("digit_2", "digit_0")),
        (">", ("down",)),
        ("apos", ("apostrophe",)),
    ],
)
def test_replies_that_name_an_action(reply: str, actions: tuple[str, ...]) -> None:
    assert move_of(reply) == Move(actions)


@pytest.mark.parametrize("reply", ["", "go north", "save", "quit", "é", "200", "<|ACTION|><|END|>", "n" * 1_000_000])
def test_other_replies_are_invalid_and_escape(reply: str) -> None:
    assert move_of(reply) == Move(("esc",), valid=False)


@given(st.text())
def test_every_reply_becomes_known_actions(reply: str) -> None:
    assert set(move_of(reply).actions) <= set(ACTION_NAMES)


def test_every_action_is_offered_with_a_meaning_or_left_out_on_purpose() -> None:
    text = instruction()
    for name, called in ACTION_TEXTS.items():
        if name.startswith("digit_"):
            continue
        offered = f"\n{called}: " in text
        assert offered != (called in NOT_OFFERED), name
    assert set(MEANINGS) <= set(OFFERED_ACTIONS)
    # A letter presses its key, whatever the action is called.
    assert all(ACTIONS[OFFERED_ACTIONS[key]] == ord(key) for key in "abcXYZ059")


def test_a_conversation_has_instruction_history_and_the_current_observation() -> None:
    asks = BalrogPrompter(LanguageConfig(history=2))
    client = Roomy()
    for column, reply in ((10, "east"), (11, "nonsense"), (12, "west")):
        assert asks.pages(frame("Hello.", column)) == ()
        asks.look(frame("Hello.", column))
        prompt = list(asks.asked(client))
        asks.understood(reply)
    assert [turn["role"] for turn in prompt] == ["user", "user", "assistant", "user"]
    assert prompt[0]["content"] == instruction()
    assert prompt[1]["content"].startswith("Observation:\nmessage:\nHello.\n\nlanguage observation:\n")
    assert "(x=11, y=6)" in prompt[1]["content"]
    assert "inventory" not in prompt[1]["content"]
    assert prompt[2]["content"] == "nonsense"
    current = prompt[3]["content"]
    assert current.startswith("Current Observation:\ninventory:\na: a rock\n")
    assert "named none of the actions, so esc was taken" in current
    assert current.index("(x=12, y=6)") < current.index("map:\n")
    asks.look(frame())
    assert "named none" not in asks.asked(client)[-1]["content"], "it is told once"


def test_of_a_conversation_that_does_not_fit_the_oldest_observations_are_left_out() -> None:
    asks = BalrogPrompter(LanguageConfig(history=4))
    for column in range(10, 14):
        asks.look(frame("Hello.", column))
        whole = list(asks.asked(Roomy()))
        asks.understood("east")
    sizes = [len(turn["content"]) for turn in whole]
    assert len(whole) == 1 + 2 * 3 + 1
    for room, shown in ((sum(sizes), whole), (sum(sizes) - 1, [whole[0], *whole[3:]]), (0, [whole[0], whole[-1]])):
        asks = BalrogPrompter(LanguageConfig(history=4))
        for column in range(10, 14):
            asks.look(frame("Hello.", column))
            said = list(asks.asked(Roomy(room)))
            asks.understood("east")
        assert said == shown


def test_pages_of_a_message_are_gathered() -> None:
    asks = BalrogPrompter(LanguageConfig())
    assert asks.pages(frame("You hit the newt!--More--")) == ("more",)
    assert asks.pages(frame("You kill the newt!--More--")) == ("more",)
    last = frame("You see here a corpse.")
    assert asks.pages(last) == ()
    asks.look(last)
    said = asks.asked(Roomy())[-1]["content"]
    assert "message:\nYou hit the newt!\nYou kill the newt!\nYou see here a corpse.\n" in said
