"""Histories in the form of text exports, and what continuations of them mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prompts import Roomy, frame

from strathack.dataset.labels import STRATEGIES
from strathack.rl.config import LanguageConfig
from strathack.rl.language.histories import HistoryPrompter, said_in
from strathack.rl.language.prompting import Move
from strathack.text.describing import describe
from strathack.text.history import ACTION, ACTION_TEXTS, OBSERVATION, Changes, Chunk, tellings

pytest.importorskip("numba")


@pytest.mark.parametrize("how", ["none", "tokens", "sentences"])
def test_a_history_of_diffs_is_as_exports_have_it(how: Any) -> None:
    frames = [frame("Hello."), frame("", 11, 2), frame("", 11, 2), frame("A door.", 12, 3), frame("", 13, 4)]
    actions, strategies = (
        ["east", "search", "far_east", "kick", "esc"],
        ["explore", "fight", "fight", "explore", "fight"],
    )
    told, texts = tellings(strategies, how), [describe(one).text for one in frames]
    asks = HistoryPrompter(LanguageConfig())
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
    asks = HistoryPrompter(LanguageConfig(history=4))
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
    asks = HistoryPrompter(LanguageConfig())
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
