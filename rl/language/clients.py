"""How a language model is reached: over the OpenAI protocol, or in this process by ``transformers``."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import openai
import torch
from jinja2 import TemplateError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging

from strathack.dataset.errors import InputError, first_line
from strathack.rl.config import LanguageConfig
from strathack.rl.language.asking import Answer, Messages, UnansweredError

NO_KEY = "none"
"""The key that is sent to a server if there is none: local servers ask for none, but the protocol has its place."""


@dataclass
class _Wish:
    """A part of what is asked, which some servers do not know.

    Attributes:
        now: The part as arguments.
        otherwise: The arguments for servers that do not know it.
        word: What they name when they refuse it.
    """

    now: Mapping[str, Any]
    otherwise: Mapping[str, Any]
    word: str


_SAID = {"role": "user", "content": "x"}

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""The files that a tokenizer may be in."""


class ServerClient:
    """A server that speaks the OpenAI protocol.

    The package ``openai`` waits longer after every try that failed, as long as the server asks for if it does.

    Args:
        url: The server's address, up to ``/v1``.
        model: The model's name.
        config: How it is asked.
        temperature: Of its draws.
        max_tokens: Tokens that an answer may have.

    Raises:
        InputError: If the address is none, nobody listens there, the key is wrong, or there is no such model.
    """

    def __init__(self, url: str, model: str, config: LanguageConfig, temperature: float, max_tokens: int) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"what: llm:{url} is no address; expected llm:http://host:port/v1, or a model's folder")
        if not model:
            raise InputError("model: none is given; a server has several")
        self._model, self._config, self._temperature, self._max_tokens = model, config, temperature, max_tokens
        # Some models know the limit of a reply's length by its newer name alone.
        self._limit = _Wish({"max_tokens": max_tokens}, {"max_completion_tokens": max_tokens}, "max_completion_tokens")
        # Servers may leave special tokens out of the text, and not stop at them either: vLLM does so unless it is told.
        self._special = _Wish({"extra_body": {"skip_special_tokens": False}}, {}, "skip_special_tokens")
        key = os.environ.get(config.key_from) or NO_KEY
        self._server = openai.OpenAI(base_url=url, api_key=key, timeout=config.timeout, max_retries=config.tries - 1)
        self._check(url)

    def _check(self, url: str) -> None:
        """Asks for the names of the models; servers that do not tell them are asked nothing further."""
        try:
            names = [model.id for model in self._server.with_options(max_retries=1).models.list()]
        except openai.AuthenticationError:
            raise InputError(
                f"what: {url} refuses the key in the environment variable {self._config.key_from}"
            ) from None
        except openai.APIConnectionError as error:
            raise InputError(f"what: {url} does not answer ({reason_of(error)})") from None
        except (openai.OpenAIError, ValueError, AttributeError, TypeError):  # it tells no names, or not as others do
            return
        # Some put a folder before a name, and take it without.
        if names and not any(name == self._model or name.endswith(f"/{self._model}") for name in names):
            raise InputError(f"model: {url} has no {self._model!r}; it has {', '.join(names[:5])}")

    def chat(self, messages: Messages) -> Answer:
        """See :class:`strathack.rl.language.asking.Client`."""
        ask = partial(
            self._server.chat.completions.create,
            model=self._model, messages=cast(Any, list(messages)), temperature=self._temperature,
        )  # fmt: skip
        return _answered(ask, self._limit, lambda choice: choice.message.content)

    def complete(self, text: str, stop: str) -> Answer:
        """See :class:`strathack.rl.language.asking.Client`."""
        ask = partial(
            self._server.completions.create,
            model=self._model, prompt=text, stop=stop, temperature=self._temperature, max_tokens=self._max_tokens,
        )  # fmt: skip
        return _answered(ask, self._special, lambda choice: choice.text)

    def fits(self, prompt: str | Messages) -> bool:
        """Returns true: how long the context is, the server alone knows."""
        return True

    def close(self) -> None:
        """See :class:`strathack.rl.language.asking.Client`."""
        self._server.close()


def _answered(ask: Callable[..., Any], wish: _Wish, text_of: Callable[[Any], object]) -> Answer:
    """Asks, once more if the wish is refused; servers may leave out what they used, and the text.

    Raises:
        UnansweredError: If there is no answer.
    """
    began = time.monotonic()
    now = wish.now  # which the thread of another game may change meanwhile
    try:
        try:
            found = ask(**now)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if now == wish.otherwise or wish.word not in str(error):
                raise
            wish.now = wish.otherwise
            found = ask(**wish.otherwise)
        text = text_of(found.choices[0])
    except (openai.OpenAIError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise UnansweredError(reason_of(error)) from None
    tokens = [getattr(found.usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    told = [number if isinstance(number, int) else 0 for number in tokens]
    return Answer(text if isinstance(text, str) else "", told[0], told[1], time.monotonic() - began)


def reason_of(error: Exception) -> str:
    """Returns why a request failed, in one line of at most 200 characters."""
    if isinstance(error, openai.APIStatusError):
        said = "" if error.status_code in (401, 403) else " ".join(str(error.message).split())  # which may show the key
        return f"status {error.status_code}{': ' * bool(said)}{said}"[:200]
    if isinstance(error, openai.APITimeoutError):
        return "no answer in time"
    if isinstance(error, openai.APIConnectionError):
        return first_line(error.__cause__ or error)[:200]
    return f"no answer that can be read ({type(error).__name__})"


class LocalClient:
    """A model of ``transformers`` in a folder.

    Args:
        path: The folder: a model and its tokenizer.
        temperature: Of its draws; 0 takes the likeliest token.
        max_tokens: Tokens that an answer may have.
        device: Where it runs.
        chats: Whether it is to take part in conversations.

    Raises:
        InputError: If there is no such model, or it has no tokenizer, or no form of conversations where one is needed.
    """

    def __init__(self, path: Path, temperature: float, max_tokens: int, device: str, *, chats: bool) -> None:
        if not (path / "config.json").is_file():
            raise InputError(f"what: {path} holds no model of transformers (no config.json)")
        if not any((path / name).is_file() for name in TOKENIZERS):  # transformers would make an empty one
            raise InputError(f"what: {path} has no tokenizer; expected {', '.join(TOKENIZERS)}")
        logging.disable_progress_bar()  # games have their own
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(path)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"what: {path} has no tokenizer that can be read ({first_line(error)})") from None
        try:
            self._model = AutoModelForCausalLM.from_pretrained(path).to(device).eval()
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise InputError(f"what: {path} holds no model that can be loaded ({first_line(error)})") from None
        # How it draws is decided here, and not by what its folder says; but it may end its turns by tokens of its own.
        own = self._model.generation_config.eos_token_id
        self._ends = own if isinstance(own, list) else [own]
        self._model.generation_config = GenerationConfig()
        if chats and not getattr(self._tokenizer, "chat_template", None):
            raise InputError(f"what: {path} knows no form of conversations; give --prompt diff, or another model")
        # Some forms of conversations want the roles in turn, and BALROG's begin with two messages of the user.
        self._merges = chats and not self._has_form([_SAID, _SAID])
        if self._merges and not self._has_form([_SAID]):
            raise InputError(f"what: the form of conversations that {path} has cannot be used")
        self._temperature, self._max_tokens = temperature, max_tokens
        self._context = int(getattr(self._model.config, "max_position_embeddings", 0) or 1 << 30)
        if max_tokens >= self._context:
            raise InputError(
                f"language.max-tokens: {max_tokens:,} for an answer, but the context of {path} has {self._context:,}"
            )
        self._one_at_a_time = threading.Lock()

    def _has_form(self, messages: Messages) -> bool:
        try:
            self._formed(messages)
        except (TemplateError, ValueError):
            return False
        return True

    def _formed(self, messages: Messages) -> str:
        """Returns the text of a conversation."""
        return str(self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))

    def chat(self, messages: Messages) -> Answer:
        """See :class:`strathack.rl.language.asking.Client`."""
        return self._continued(self._asked(messages), None)

    def complete(self, text: str, stop: str) -> Answer:
        """See :class:`strathack.rl.language.asking.Client`."""
        return self._continued(self._asked(text), stop)

    def fits(self, prompt: str | Messages) -> bool:
        """See :class:`strathack.rl.language.asking.Client`."""
        return len(self._asked(prompt)) + self._max_tokens <= self._context

    def _asked(self, prompt: str | Messages) -> list[int]:
        """Returns the tokens of a prompt."""
        if isinstance(prompt, str):
            return self._begun(prompt)
        return self._tokens(self._formed(in_turn(prompt) if self._merges else prompt))

    def _tokens(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _begun(self, text: str) -> list[int]:
        """Returns the tokens of a text to be continued: begun as in training, and not ended."""
        tokens = list(self._tokenizer(text)["input_ids"])
        return tokens[:-1] if tokens[-1:] == [self._tokenizer.eos_token_id] else tokens

    @torch.inference_mode()
    def _continued(self, tokens: list[int], stop: str | None) -> Answer:
        if len(tokens) + self._max_tokens > self._context:
            raise UnansweredError(f"{len(tokens)} tokens and {self._max_tokens} new ones exceed the context")
        ends = [end for end in (self._tokenizer.eos_token_id, *self._ends) if end is not None]
        stops = [] if stop is None or len(ending := self._tokens(stop)) > 1 else ending
        drawn = {"do_sample": True, "temperature": self._temperature, "top_k": 0} if self._temperature else {}
        given = torch.tensor([tokens], device=self._model.device)
        with self._one_at_a_time:
            began = time.monotonic()
            found = self._model.generate(
                given, attention_mask=torch.ones_like(given), max_new_tokens=self._max_tokens,
                eos_token_id=ends + stops, pad_token_id=ends[0] if ends else 0, **drawn,
            )  # fmt: skip
            seconds = time.monotonic() - began
        new = found[0, len(tokens) :].tolist()
        said = new[:-1] if new and new[-1] in ends and new[-1] not in stops else new
        return Answer(self._tokenizer.decode(said, skip_special_tokens=stop is None), len(tokens), len(new), seconds)

    def close(self) -> None:
        """Does nothing: an answer takes a moment."""


def in_turn(messages: Messages) -> list[dict[str, str]]:
    """Returns a conversation in which messages of the same role that follow each other are one."""
    turns: list[dict[str, str]] = []
    for message in messages:
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += f"\n\n{message['content']}"
        else:
            turns.append(dict(message))
    return turns
