"""Whole games by language models on a small server: good, slow, failing and talking nonsense; killed, and resumed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from talking import MODEL, Fault, server

from strathack import cli
from strathack.dataset import Dataset
from strathack.dataset.folder import REPLIES
from strathack.rl.environments.stepping import Lane
from strathack.rl.language import playing
from strathack.rl.language.replies import LONGEST, Replies

pytest.importorskip("openai")
pytest.importorskip("transformers")

WORDS = ("east", "<|ACTION|>far west<|END|>", "search", "south", "kick")
QUICK = {"Retry-After-Ms": "1"}


class Ended(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a refused request prints."""
        (line,) = self.err.splitlines()
        return line


Evaluate = Callable[..., Any]


def status_of(*words: object) -> int:
    """Runs ``strathack`` in this process."""
    try:
        return cli.main(list(map(str, words)))
    except SystemExit as ended:
        return int(str(ended.code))


@pytest.fixture
def evaluate(tmp_path: Path, capsys: Any) -> Evaluate:
    """Evaluates a model on a server; returns how that ended."""

    def evaluate(url: str, *words: object, seeds: str = "7:9", steps: int = 30, model: str = MODEL) -> Ended:
        fixed = ("--model", model, "--seeds", seeds, "--max-steps", steps, "--clock", "seed", "--workers", 0, "--quiet")
        status = status_of("evaluate", f"llm:{url}", "--out", tmp_path / "out", *fixed, *words)
        return Ended(status, *capsys.readouterr())

    return evaluate


def replies(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted((folder / "out" / "games" / REPLIES).glob("*.parquet"))])


def test_games_are_played_by_replies_and_replay(evaluate: Evaluate, run: Any, tmp_path: Path) -> None:
    with server(lambda number, body: WORDS[number % len(WORDS)]) as there:
        ended = evaluate(there.url)
    assert ended.status == 0, ended.err
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    language = told["language"]
    assert language["replies"] == len(there.asked) > 30
    assert (language["tokens_in"], language["tokens_out"]) == (7 * len(there.asked), 2 * len(there.asked))
    assert (language["invalid"], language["cut"]) == (0, {})
    assert f"{len(there.asked)} replies, 0.0% invalid" in ended.out
    rows = replies(tmp_path)
    dataset = Dataset(tmp_path / "out" / "games")
    for game in dataset:
        own = rows[rows["game"] == game.name]
        assert own["step"].is_monotonic_increasing
        taken = game.action_names()
        # What was not asked about is pages that are turned.
        assert taken[own["step"]].tolist() == own["action"].tolist()
        assert set(taken[[step for step in range(len(game)) if step not in set(own["step"])]]) <= {"more"}
    asked = there.asked[-1]
    assert asked["model"] == MODEL
    assert asked["max_tokens"] == 8192
    assert len(asked["messages"]) <= 1 + 2 * 16
    verified = run("dataset", "verify", tmp_path / "out" / "games", "--replay", "--workers", 0)
    assert verified.status == 0, verified.err


def test_what_was_asked_beside_a_game_that_failed_is_closed_before_it_is_asked_again(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, made, failed = Lane.step, [], []

    def failing(self: Lane, *arguments: Any) -> Any:
        if self._seed == 7 and self._steps == 4 and not failed:
            failed.append(self._seed)
            raise OSError("once")
        return step(self, *arguments)

    def kept(folder: Path, seed: int) -> Replies:
        made.append((seed, Replies(folder, seed)))
        return made[-1][1]

    monkeypatch.setattr(Lane, "step", failing)
    monkeypatch.setattr(playing, "Replies", kept)
    with server(lambda number, body: WORDS[number % len(WORDS)]) as there:
        ended = evaluate(there.url)
    assert ended.status == 0, ended.err
    assert sorted(seed for seed, _ in made) == [7, 7, 8, 8]
    assert all(one._closed for _, one in made)
    for _, own in replies(tmp_path).groupby("game"):
        assert own["step"].is_monotonic_increasing


def test_invalid_replies_escape_and_are_counted_and_told(evaluate: Evaluate, tmp_path: Path) -> None:
    odd = ["\ud800", "dance wildly", "x" * 3_000_000, "thinking " * 3_000 + "<|ACTION|>east<|END|>"]
    with server(lambda number, body: odd[number % 4]) as there:
        ended = evaluate(there.url, seeds="7", steps=20)
    assert ended.status == 0, ended.err
    rows = replies(tmp_path)
    assert rows["valid"].tolist() == [number % 4 == 3 for number in range(len(rows))]
    assert set(rows[~rows["valid"]]["action"]) == {"esc"}
    assert rows["reply"].str.len().max() == LONGEST
    told = ["named none of the actions" in body["messages"][-1]["content"] for body in there.asked]
    assert told == [number > 0 and number % 4 != 0 for number in range(len(told))]
    assert max(len(json.dumps(body)) for body in there.asked) < 200_000, "what was said is not repeated at length"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429, QUICK),
        Fault(500, QUICK),
        Fault(drops=True),
        Fault(body=b"<html>not what was asked for</html>"),
        Fault(body=b'{"choices": []}'),
    ],
    ids=["429", "500", "dropped", "html", "empty"],
)
def test_a_server_that_fails_for_good_cuts_the_game_which_is_kept_and_listed(
    fault: Fault, evaluate: Evaluate, tmp_path: Path
) -> None:
    with server(lambda number, body: "search" if number < 9 else fault) as there:
        ended = evaluate(there.url, "--language.tries", 2, seeds="7")
    assert ended.status == 0, ended.err
    (game,) = Dataset(tmp_path / "out" / "games")
    assert (game.info["end"], game.info["cause"]) == ("demonstrator_error", "no answer")
    assert 9 <= len(game) < 30
    last = replies(tmp_path).iloc[-1]
    assert last["error"]
    assert f"cut: {game.name}: {last['error']}" in ended.out
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["language"]["cut"] == {
        game.name: last["error"]
    }


def test_a_server_that_is_down_ends_the_evaluation_instead_of_cutting_all_games(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    with server(lambda number, body: Fault(500, QUICK) if number >= 3 else "search") as there:
        ended = evaluate(there.url, "--language.tries", 1, seeds="7:17", steps=6)
    assert ended.status == 1
    assert "5 games one after another had no answer (status 500" in ended.err
    assert len(list((tmp_path / "out" / "games").glob("*.h5"))) < 5
    with server(lambda number, body: "search") as there:
        ended = evaluate(there.url, seeds="7:17", steps=6)
    assert ended.status == 0, ended.err
    assert len(Dataset(tmp_path / "out" / "games")) == 10


def test_a_server_that_fails_for_a_while_is_asked_again(evaluate: Evaluate, tmp_path: Path) -> None:
    faults = {3: Fault(429, QUICK), 4: Fault(500, QUICK), 9: Fault(drops=True)}
    with server(lambda number, body: faults.get(number, "search")) as there:
        ended = evaluate(there.url, seeds="7")
    assert ended.status == 0, ended.err
    rows = replies(tmp_path)
    assert len(there.asked) == len(rows) + len(faults)
    assert not rows["error"].any()


def test_a_slow_server_is_given_up_in_time(evaluate: Evaluate, tmp_path: Path) -> None:
    def speaks(number: int, body: dict[str, Any]) -> str:
        time.sleep(3 * (number >= 5))
        return "search"

    with server(speaks) as there:
        ended = evaluate(there.url, "--language.tries", 1, "--language.timeout", 0.3, seeds="7")
    assert ended.status == 0, ended.err
    assert "no answer in time" in ended.out


def test_a_slow_answer_holds_up_one_game_alone(evaluate: Evaluate, tmp_path: Path) -> None:
    slow: list[str] = []

    def is_slow(body: dict[str, Any]) -> bool:
        # The first observation stays in the history, since the games are short.
        began = body["messages"][1]["content"].removeprefix("Current ").partition("map:")[2].partition("map:")[0]
        slow.append(began)
        return began == slow[0]

    def speaks(number: int, body: dict[str, Any]) -> str:
        time.sleep(0.15 * is_slow(body))
        return "search"

    with server(speaks) as there:
        ended = evaluate(there.url, steps=12)
    assert ended.status == 0, ended.err
    # The other game was over long before.
    assert [is_slow(body) for body in there.asked][-5:] == [True] * 5


@pytest.mark.slow
def test_a_killed_run_goes_on_without_asking_the_same_twice(start: Any, run: Any, tmp_path: Path) -> None:
    def speaks(number: int, body: dict[str, Any]) -> str:
        time.sleep(0.02)
        return "search"  # a turn passes, so that no question is asked again by itself

    words = ("--model", MODEL, "--seeds", "7:9", "--max-steps", 60, "--clock", "seed", "--workers", 0, "--quiet")
    with server(speaks) as there:
        for wait in (40, 80):
            process = start("evaluate", f"llm:{there.url}", "--out", tmp_path / "cut", *words)
            while len(there.asked) < wait:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        known = len(there.asked)
        ended = run("evaluate", f"llm:{there.url}", "--out", tmp_path / "cut", *words)
        assert ended.status == 0, ended.err
    prompts = [json.dumps(body["messages"]) for body in there.asked]
    # Of each game, the question that was under way when the process was killed is asked again.
    assert len(prompts) - len(set(prompts)) <= 4
    assert len(there.asked) > known
    assert not list((tmp_path / "cut" / "games" / REPLIES).glob("*.jsonl"))
    (first, second) = Dataset(tmp_path / "cut" / "games")
    assert len(first) == len(second) == 60


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["llm:http://127.0.0.1:9/v1", "--model", "m"],
            "http://127.0.0.1:9/v1 does not answer ([Errno 111] Connection refused",
        ),
        (["llm:ftp://there", "--model", "m"], "llm:ftp://there is no address"),
        (["llm:nowhere", "--prompt", "diff"], "nowhere holds no model of transformers (no config.json)"),
        (["random", "--prompt", "diff"], "prompt: is for language models; random is none"),
        (["random", "--language.history", "3"], "language: is for language models; random is none"),
        (["llm:x", "--language.tries", "0"], "language.tries: 0 is below 1"),
        (["llm:x", "--min-strategy-steps", "3"], "min_strategy_steps: is for policies"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: Any
) -> None:
    assert status_of("evaluate", *words, "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_key_is_taken_from_the_environment_and_written_nowhere(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: Any
) -> None:
    secret = "sk-of-great-secrecy"
    with server(lambda number, body: "search", key=secret) as there:
        refused = evaluate(there.url, seeds="7", steps=3)
        assert refused.status == 2
        assert "refuses the key in the environment variable OPENAI_API_KEY" in refused.error
        monkeypatch.setenv("MY_KEY", secret)
        ended = evaluate(there.url, "--language.key-from", "MY_KEY", seeds="7", steps=3)
        assert ended.status == 0, ended.err
        assert there.keys == {f"Bearer {secret}"}
        unknown = evaluate(there.url, "--language.key-from", "MY_KEY", model="other")
        assert f"has no 'other'; it has {MODEL}" in unknown.error
    written = [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert written == []
    assert secret not in ended.out + ended.err + refused.err
