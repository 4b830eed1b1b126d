"""Language models of this process: what they are given, what they say, and which folders are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("openai")

from talking import MODEL, Fault, server  # noqa: E402

from strathack import cli  # noqa: E402
from strathack.dataset import Dataset  # noqa: E402
from strathack.dataset.errors import InputError  # noqa: E402
from strathack.dataset.folder import replies_path  # noqa: E402
from strathack.dataset.labels import STRATEGIES  # noqa: E402
from strathack.dataset.replies import read_replies  # noqa: E402
from strathack.rl.config import LanguageConfig  # noqa: E402
from strathack.rl.evaluating.players import digest_of_model  # noqa: E402
from strathack.rl.language.asking import UnansweredError  # noqa: E402
from strathack.rl.language.clients import LocalClient, ServerClient  # noqa: E402
from strathack.text.history import ACTION, ACTION_TEXTS, OBSERVATION, STRATEGY  # noqa: E402
from strathack.text.tokens import trained_tokenizer  # noqa: E402

CONTEXT = 1024
END = "<|endoftext|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with fresh weights, and a tokenizer that knows the names of actions and strategies."""
    torch.manual_seed(0)
    names = [*ACTION_TEXTS.values(), *STRATEGIES]
    tokenizer = trained_tokenizer([f"{ACTION}{name}\n{OBSERVATION}{STRATEGY}" for name in names] * 3, 600)
    tokenizer.add_special_tokens([END])
    shape = transformers.GPT2Config(
        vocab_size=tokenizer.get_vocab_size(), n_positions=CONTEXT, n_embd=32, n_layer=1, n_head=2, bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(END),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model")
    transformers.GPT2LMHeadModel(shape).save_pretrained(path)
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    wrapped.save_pretrained(path)
    return path


def client_of(path: Path, *, temperature: float = 0.0, max_tokens: int = 6, chats: bool = False) -> LocalClient:
    return LocalClient(path, temperature, max_tokens, "cpu", chats=chats)


def chatting(folder: Path, place: Path, form: str) -> LocalClient:
    """A client of a copy of a model's folder, with a form of conversations."""
    path = place / "chats"
    shutil.copytree(folder, path)
    told = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps({**told, "chat_template": form}))
    return client_of(path, chats=True)


class Says:
    """Stands for a model's ``generate``, and says some tokens."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens, self.asked = tokens, {}

    def __call__(self, given: Any, **asked: Any) -> Any:
        self.asked = {"given": given, **asked}
        return torch.cat([given, torch.tensor([self.tokens])], 1)


def test_a_text_is_continued_up_to_the_observation(folder: Path, monkeypatch: Any) -> None:
    client = client_of(folder)
    prompt = f"{ACTION}north\n{OBSERVATION}\n"
    says = Says(client._tokens(f"{STRATEGY}fight\n{ACTION}far west\n{OBSERVATION}"))
    monkeypatch.setattr(client._model, "generate", says)
    answer = client.complete(prompt, OBSERVATION)
    assert answer.text == f"{STRATEGY}fight\n{ACTION}far west\n{OBSERVATION}"
    assert (answer.tokens_in, answer.tokens_out) == (len(client._tokens(prompt)), len(says.tokens))
    assert client._tokens(OBSERVATION)[0] in says.asked["eos_token_id"]
    assert says.asked["given"].tolist() == [client._tokens(prompt)]
    assert says.asked["max_new_tokens"] == 6


def test_a_models_own_settings_do_not_decide_how_it_plays_but_where_its_turns_end(
    folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "own"
    shutil.copytree(folder, path)
    own = {"do_sample": True, "top_p": 0.5, "repetition_penalty": 1.5, "eos_token_id": [3, 4]}
    (path / "generation_config.json").write_text(json.dumps(own))
    client = client_of(path)
    assert len({client.complete("north", OBSERVATION).text for _ in range(4)}) == 1, "the likeliest tokens"
    says = Says([1])
    monkeypatch.setattr(client._model, "generate", says)
    client.complete("north", OBSERVATION)
    assert {3, 4} < set(says.asked["eos_token_id"])
    assert client._model.generation_config.top_p in (None, 1.0)


def test_the_token_that_ends_a_text_is_no_part_of_the_answer(folder: Path, monkeypatch: Any) -> None:
    client = client_of(folder)
    said = client._tokens(f"{ACTION}far west")
    monkeypatch.setattr(client._model, "generate", Says([*said, client._tokenizer.eos_token_id]))
    answer = client.complete("north", OBSERVATION)
    assert (answer.text, answer.tokens_out) == (f"{ACTION}far west", len(said) + 1)


def test_texts_begin_as_in_training(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "begins"
    shutil.copytree(folder, path)
    told = json.loads((path / "tokenizer.json").read_text())
    end = next(one["id"] for one in told["added_tokens"] if one["content"] == END)
    piece = {"SpecialToken": {"id": END, "type_id": 0}}
    told["post_processor"] = {
        "type": "TemplateProcessing", "single": [piece, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
        "special_tokens": {END: {"id": END, "ids": [end], "tokens": [END]}},
    }  # fmt: skip
    (path / "tokenizer.json").write_text(json.dumps(told))
    client = client_of(path)
    says = Says([1])
    monkeypatch.setattr(client._model, "generate", says)
    client.complete("north", OBSERVATION)
    assert says.asked["given"].tolist() == [[end, *client._tokens("north")]]


def test_greedy_models_say_the_same_and_others_what_they_draw(folder: Path) -> None:
    greedy, drawing = client_of(folder), client_of(folder, temperature=1.0)
    assert len({greedy.complete("north", OBSERVATION).text for _ in range(4)}) == 1
    assert len({drawing.complete("north", OBSERVATION).text for _ in range(4)}) > 1


def test_what_does_not_fit_the_context_is_told(folder: Path) -> None:
    client = client_of(folder)
    text = "north " * CONTEXT
    fitting = "\n" * (CONTEXT - 6)
    assert len(client._tokens(fitting)) == CONTEXT - 6
    assert client.fits(fitting)
    assert not client.fits(fitting + "\n")
    with pytest.raises(UnansweredError, match="exceed the context"):
        client.complete(text, OBSERVATION)


def test_an_answer_longer_than_the_context_is_refused_before_anything_is_asked(folder: Path) -> None:
    with pytest.raises(InputError, match=r"language\.max-tokens: 1,024 for an answer, but the context of .* has 1,024"):
        client_of(folder, max_tokens=CONTEXT)


def test_a_conversation_fits_or_not_with_its_form(folder: Path, tmp_path: Path) -> None:
    client = chatting(folder, tmp_path, "{% for turn in messages %}{{ turn.content }}{% endfor %}")
    assert client.fits([{"role": "user", "content": "\n" * (CONTEXT - 6)}])
    assert not client.fits([{"role": "user", "content": "\n" * (CONTEXT - 6)}, {"role": "user", "content": "\n"}])


def test_conversations_have_the_form_of_the_models_own_template(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    client = chatting(
        folder, tmp_path, "{% for turn in messages %}{{ turn.role }}:{{ turn.content }};{% endfor %}assistant:"
    )
    says = Says(client._tokens(f"{ACTION}north"))
    monkeypatch.setattr(client._model, "generate", says)
    assert client.chat([{"role": "user", "content": "hello"}]).text == "north", "special tokens are no answer"
    assert says.asked["given"].tolist() == [client._tokens("user:hello;assistant:")]


def test_where_roles_have_to_take_turns_neighbours_are_one_message(
    folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    strict = "{% if loop.index0 % 2 != (turn.role != 'user') | int %}{{ raise_exception('turns') }}{% endif %}"
    form = f"{{% for turn in messages %}}{strict}{{{{ turn.role }}}}:{{{{ turn.content }}}};{{% endfor %}}"
    client = chatting(folder, tmp_path, form)
    says = Says([1])
    monkeypatch.setattr(client._model, "generate", says)
    client.chat([{"role": "user", "content": "rules"}, {"role": "user", "content": "seen"}])
    assert says.asked["given"].tolist() == [client._tokens("user:rules\n\nseen;")]


@pytest.mark.parametrize("status", [400, 422])
def test_servers_that_do_not_know_the_wish_for_special_tokens_are_asked_without_it(status: int) -> None:
    def speaks(number: int, asked: dict[str, Any]) -> str | Fault:
        if "skip_special_tokens" in asked:
            return Fault(status, body=b'{"error": {"message": "unknown field skip_special_tokens"}}')
        return f"{ACTION}north"

    with server(speaks) as there:
        client = ServerClient(there.url, MODEL, LanguageConfig(), 1.0, 9)
        assert [client.complete("?", OBSERVATION).text for _ in range(2)] == [f"{ACTION}north"] * 2
        assert ["skip_special_tokens" in asked for asked in there.asked] == [True, False, False]
        client.close()


def test_models_are_told_apart_by_what_is_in_their_folders(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other")
    assert digest_of_model(folder) == digest_of_model(tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").write_bytes(b"further trained")
    assert digest_of_model(folder) != digest_of_model(tmp_path / "other")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "other"], "model: is a name on a server"),
        (["--language.tries", "3"], "language.tries: is for servers"),
    ],
)
def test_what_is_for_servers_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["evaluate", f"llm:{folder}", "--prompt", "diff", "--out", str(tmp_path / "out"), *words])
    assert said in capsys.readouterr().err


def test_a_limit_is_told_by_the_name_that_a_server_knows_and_refusals_are_told_in_its_words() -> None:
    def speaks(number: int, asked: dict[str, Any]) -> str | Fault:
        if "max_tokens" in asked:
            return Fault(400, body=b'{"error": {"message": "use max_completion_tokens"}}')
        if asked["messages"][0]["content"] == "long":
            return Fault(400, body=b'{"error": {"message": "your prompt is too long"}}')
        return "north"

    with server(speaks) as there:
        client = ServerClient(there.url, MODEL, LanguageConfig(), 1.0, 9)
        said = [client.chat([{"role": "user", "content": "?"}]).text for _ in range(2)]
        assert said == ["north"] * 2
        assert ["max_completion_tokens" in asked for asked in there.asked] == [False, True, True]
        with pytest.raises(UnansweredError, match="status 400: .*your prompt is too long"):
            client.chat([{"role": "user", "content": "long"}])
        client.close()


@pytest.mark.parametrize("told", [b"<html></html>", b'["a", "b"]', b"{"], ids=["html", "list", "cut"])
def test_servers_that_tell_no_names_are_asked_all_the_same(told: bytes) -> None:
    with server(lambda number, asked: "north", models=told) as there:
        client = ServerClient(there.url, MODEL, LanguageConfig(), 1.0, 9)
        assert client.chat([{"role": "user", "content": "?"}]).text == "north"
        client.close()


def test_folders_that_are_no_models_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give --prompt diff, or another model"):
        client_of(folder, chats=True)
    with pytest.raises(InputError, match=r"holds no model of transformers \(no config.json\)"):
        client_of(tmp_path)
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(folder / name, bare)
    with pytest.raises(InputError, match=r"bare has no tokenizer; expected tokenizer.json"):
        client_of(bare)
    shutil.copytree(folder, tmp_path / "weightless")
    (tmp_path / "weightless" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"weightless holds no model that can be loaded"):
        client_of(tmp_path / "weightless")


def test_a_model_in_a_folder_plays_by_histories(folder: Path, tmp_path: Path) -> None:
    words = ["--prompt", "diff", "--seeds", "7", "--max-steps", "12", "--clock", "seed", "--workers", "0", "--quiet"]
    told = []
    for out in ("one", "two"):
        where = ["--out", str(tmp_path / out)]
        assert cli.main(["evaluate", f"llm:{folder}", *where, "--greedy", "--language.max-tokens", "6", *words]) == 0
        (game,) = Dataset(tmp_path / out / "games")
        replies = read_replies(replies_path(tmp_path / out / "games", game.name))
        assert [reply.step for reply in replies] == list(range(len(game)))
        assert all(reply.tokens_in <= CONTEXT for reply in replies)
        told.append([(reply.reply, reply.action) for reply in replies])
        assert game.action_names().tolist() == [reply.action for reply in replies]
    assert told[0] == told[1]
