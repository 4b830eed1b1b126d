"""What language models are asked, and what their replies mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strathack.dataset.actions import ACTION_NAMES, ACTIONS
from strathack.dataset.labels import STRATEGIES
from strathack.dataset.schema import OBSERVATIONS
from strathack.rl.config import LanguageConfig
from strathack.rl.language.asking import Answer, Messages
from strathack.rl.language.prompts import (
    MEANINGS,
    NOT_OFFERED,
    OFFERED_ACTIONS,
    BalrogPrompter,
    DiffPrompter,
    Move,
    instruction,
    move_of,
    said_in,
)
from strathack.text.describing import NEEDED, describe
from strathack.text.history import ACTION, ACTION_TEXTS, OBSERVATION, Changes, Chunk, tellings

pytest.importorskip("numba")


def frame(message: str = "", column: int = 10, turn: int = 1) -> dict[str, np.ndarray]:
    """A frame of a hero alone on a dark map."""
    seen = {key: np.zeros(OBSERVATIONS[key].shape, OBSERVATIONS[key].dtype) for key in (*NEEDED, "tty_colors")}
    seen["glyphs"][:] = 2359  # stone
    seen["tty_chars"][:] = ord(" ")
    seen["tty_chars"][0, : len(message)] = list(message.encode())
    seen["tty_chars"][6, column] = ord("@")
    seen["blstats"][:2] = column, 5
    seen["blstats"][20] = turn
    seen["tty_cursor"][:] = 6, column
    seen["inv_letters"][0] = ord("a")
    seen["inv_strs"][0, :6] = list(b"a rock")
    return seen


class Roomy:
    """A model whose context has some characters."""

    def __init__(self, characters: int = 10**9) -> None:
        self.characters = characters

    def chat(self, messages: Any) -> Answer:
        raise AssertionError

    def complete(self, text: str, stop: str) -> Answer:
        raise AssertionError

    def fits(self, prompt: str | Messages) -> bool:
        text = prompt if isinstance(prompt, str) else "".join(turn["content"] for turn in prompt)
        return len(text) <= self.characters

    def close(self) -> None:
        pass


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
    asks = BalrogPrompter(LanguageConfig(history=4))
    for column in range(10, 14):
        asks.look(frame("Hello.", column))
        fitting = list(asks.asked(Roomy(sum(sizes) - 1)))
        least = list(asks.asked(Roomy(0)))
        asks.understood("east")
    assert fitting == [whole[0], *whole[3:]]
    assert least == [whole[0], whole[-1]]


def test_pages_of_a_message_are_gathered() -> None:
    asks = BalrogPrompter(LanguageConfig())
    assert asks.pages(frame("You hit the newt!--More--")) == ("more",)
    assert asks.pages(frame("You kill the newt!--More--")) == ("more",)
    last = frame("You see here a corpse.")
    assert asks.pages(last) == ()
    asks.look(last)
    said = asks.asked(Roomy())[-1]["content"]
    assert "message:\nYou hit the newt!\nYou kill the newt!\nYou see here a corpse.\n" in said


@pytest.mark.parametrize("how", ["none", "tokens", "sentences"])
def test_a_history_of_diffs_is_as_exports_have_it(how: Any) -> None:
    frames = [frame("Hello."), frame("", 11, 2), frame("", 11, 2), frame("A door.", 12, 3), frame("", 13, 4)]
    actions, strategies = (
        ["east", "search", "far_east", "kick", "esc"],
        ["explore", "fight", "fight", "explore", "fight"],
    )
    told, texts = tellings(strategies, how), [describe(one).text for one in frames]
    asks = DiffPrompter(LanguageConfig())
    for number, seen in enumerate(frames):
        asks.look(seen)
        changes = Changes(texts.__getitem__, "diff")
        chunk = Chunk(
            texts[0], [changes.at(step) for step in range(1, number + 1)], actions[: number + 1], told[: number + 1]
        )
        whole = chunk.prompt + chunk.completion
        said = (f"{told[number]}\n" if told[number] else "") + f"{ACTION}{ACTION_TEXTS[actions[number]]}"
        assert asks.asked(Roomy()) + said == whole
        move = asks.understood(f"{said}\n{OBSERVATION}")
        assert move == Move((actions[number],), strategy=strategies[number] if how == "tokens" else "")


def test_a_history_is_as_long_as_the_context_and_never_longer_than_asked_for() -> None:
    asks = DiffPrompter(LanguageConfig(history=4))
    short = Roomy(len(describe(frame()).text) + 300)
    lengths = []
    for step in range(30):
        asks.look(frame(f"Step {step}.", 10 + step, step))
        text = asks.asked(short if step > 15 else Roomy())
        assert f"Step {step}." in text
        lengths.append(text.count(OBSERVATION))
        asks.understood(f"{ACTION}east\n{OBSERVATION}")
        assert step <= 15 or short.fits(text)
    assert lengths[:6] == [0, 1, 2, 3, 3, 3]
    assert set(lengths[16:]) <= {1, 2}
    alone = Roomy(1)
    asks.look(frame())
    assert OBSERVATION not in asks.asked(alone)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("<|strategy|>fight\n<|action|>far west\n<|observation|>", ("<|strategy|>fight", "far west")),
        ("<|action|>esc", ("", "esc")),
        ("fight\nnorth\n", ("fight", "north")),
        ("fight\nnorth\n\n@@ -14,2 +14,2 @@\n-Time: 1", ("fight", "north")),
        ("", ("", "")),
        ("<|observation|>", ("", "")),
    ],
)
def test_what_a_continuation_says(reply: str, said: tuple[str, str]) -> None:
    assert said_in(reply) == said


def test_a_strategy_goes_on_until_another_is_told() -> None:
    asks = DiffPrompter(LanguageConfig())
    replies: Iterator[str] = iter(
        [f"<|strategy|>{STRATEGIES[1]}\n<|action|>north", "<|action|>south", "<|action|>what"]
    )
    moves = []
    for reply in replies:
        asks.look(frame())
        moves.append(asks.understood(reply))
    assert [move.strategy for move in moves] == [STRATEGIES[1]] * 3
    assert [move.actions for move in moves] == [("north",), ("south",), ("esc",)]
    assert [move.valid for move in moves] == [True, True, False]
    asks.look(frame())
    assert asks.asked(Roomy()).count("<|action|>esc\n") == 1
