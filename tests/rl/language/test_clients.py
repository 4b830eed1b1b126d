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

from strathack import cli  # noqa: E402
from strathack.dataset import Dataset  # noqa: E402
from strathack.dataset.errors import InputError  # noqa: E402
from strathack.dataset.labels import STRATEGIES  # noqa: E402
from strathack.dataset.replies import read_replies, replies_path  # noqa: E402
from strathack.rl.language.asking import UnansweredError  # noqa: E402
from strathack.rl.language.clients import LocalClient  # noqa: E402
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


def test_conversations_have_the_form_of_the_models_own_template(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "chats"
    shutil.copytree(folder, path)
    told = json.loads((path / "tokenizer_config.json").read_text())
    told["chat_template"] = "{% for turn in messages %}{{ turn.role }}:{{ turn.content }};{% endfor %}assistant:"
    (path / "tokenizer_config.json").write_text(json.dumps(told))
    client = client_of(path, chats=True)
    says = Says(client._tokens(f"{ACTION}north"))
    monkeypatch.setattr(client._model, "generate", says)
    assert client.chat([{"role": "user", "content": "hello"}]).text == "north", "special tokens are no answer"
    assert says.asked["given"].tolist() == [client._tokens("user:hello;assistant:")]


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
