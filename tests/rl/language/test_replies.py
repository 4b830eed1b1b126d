"""Replies are written as they come, and found again by what was asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from strathack.dataset.errors import RunError
from strathack.dataset.folder import REPLIES, replies_path
from strathack.dataset.replies import Replied, read_replies
from strathack.rl.language.replies import LONGEST, Costs, Replies, digest, kept_text


def replied(step: int, prompt: str = "p", **values: object) -> Replied:
    told = {"reply": "north", "action": "north", "valid": True, "tokens_in": 3, "tokens_out": 1, "seconds": 0.5}
    return Replied(step, prompt, **(told | values))  # type: ignore[arg-type]


def test_another_try_knows_what_was_replied_up_to_where_the_questions_differ(tmp_path: Path) -> None:
    first = Replies(tmp_path, 7)
    for step in range(4):
        first.add(replied(step))
    first.close()
    with (tmp_path / REPLIES / "game_7.jsonl").open("a") as file:
        file.write('{"step": 4, "pro')  # killed as it wrote
    again = Replies(tmp_path, 7)
    for step in range(2):
        known = again.known(step, "p")
        assert known == replied(step)
        again.keep(known)
    assert again.known(2, "another prompt") is None
    assert again.known(2, "p") is None, "what followed another answer is no longer of use"
    again.add(replied(2, "another prompt"))
    again.close()
    assert Replies(tmp_path, 7).known(0, "p") == replied(0)
    last = Replies(tmp_path, 7)
    for step, prompt in enumerate(("p", "p", "another prompt")):
        known = last.known(step, prompt)
        assert known is not None
        last.keep(known)
    last.finish()
    assert [one.step for one in read_replies(replies_path(tmp_path, "game_7"))] == [0, 1, 2]
    assert not (tmp_path / REPLIES / "game_7.jsonl").exists()
    assert Replies(tmp_path, 7).known(0, "p") == replied(0), "of a game that was played but not kept"


def test_lines_are_newer_than_a_table_of_the_same_game(tmp_path: Path) -> None:
    first = Replies(tmp_path, 7)
    first.add(replied(0))
    first.finish()  # but the game was not kept, and is played again
    again = Replies(tmp_path, 7)
    again.keep(replied(0))
    again.add(replied(1))
    again.close()
    last = Replies(tmp_path, 7)
    assert [last.known(step, "p") for step in range(2)] == [replied(0), replied(1)]


def test_that_there_was_no_reply_is_not_taken_for_one(tmp_path: Path) -> None:
    first = Replies(tmp_path, 7)
    first.add(replied(0, error="status 500"))
    first.close()
    assert Replies(tmp_path, 7).known(0, "p") is None


def test_a_reply_that_comes_too_late_changes_nothing(tmp_path: Path) -> None:
    late, again = Replies(tmp_path, 7), Replies(tmp_path, 7)
    late.add(replied(0))
    late.close()
    again.add(replied(0))
    again.add(replied(1))
    late.add(replied(1))
    again.add(replied(2))
    again.close()
    assert len((tmp_path / REPLIES / "game_7.jsonl").read_text().splitlines()) == 3


def test_costs_are_sums_and_shares_of_replies_alone(tmp_path: Path) -> None:
    one, other = Replies(tmp_path, 1), Replies(tmp_path, 2)
    one.add(replied(0))
    one.add(replied(1, valid=False))
    other.add(replied(0, tokens_in=5, seconds=2.0))
    other.add(replied(1, error="no answer in time"))
    for replies in (one, other):
        replies.finish()
    costs = Costs.of(tmp_path, ["game_1", "game_2", "game_3"])
    assert (costs.replies, costs.tokens_in, costs.tokens_out) == (3, 11, 3)
    assert costs.invalid == pytest.approx(1 / 3)
    assert costs.seconds == pytest.approx(1.0)
    assert costs.cut == {"game_2": "no answer in time"}
    assert Costs.of(tmp_path, []).replies == 0


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / REPLIES).write_text("in the way")
    with pytest.raises(RunError, match="replies"):
        Replies(tmp_path, 7).add(replied(0))


def test_what_is_kept_of_a_reply_is_its_end() -> None:
    assert kept_text("x" * LONGEST + "north") == "x" * (LONGEST - 5) + "north"
    assert kept_text("a\ud800b") == "a?b"
    assert digest("a") != digest("b")
    assert digest([{"role": "user", "content": "a"}]) == digest([{"role": "user", "content": "a"}])
