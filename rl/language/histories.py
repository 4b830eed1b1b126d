"""Asking by histories as ``text export`` writes them, and what continuations of these mean."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from strathack.rl.config import LanguageConfig
from strathack.rl.language.asking import Answer, Client, Messages
from strathack.rl.language.prompting import INVALID, Fitting, Move
from strathack.text.describing import describe
from strathack.text.history import ACTION, ACTION_TEXTS, INSTRUCTION, OBSERVATION, STRATEGY, difference

_TEXTS: Mapping[str, str] = {text: name for name, text in reversed(list(ACTION_TEXTS.items()))}


class HistoryPrompter:
    """Asks by a history as ``text export`` writes them; a :class:`Prompter`.

    The history begins some observations back, with a whole one; fewer if it would not fit the model's context.

    Args:
        config: How many observations to look back, and the dialect.
    """

    def __init__(self, config: LanguageConfig) -> None:
        self._dialect = config.dialect
        self._seen: deque[str] = deque(maxlen=config.history)
        self._changes: deque[str] = deque(maxlen=config.history)
        self._said: deque[tuple[str, str]] = deque(maxlen=config.history)
        self._fitting = Fitting(config.history)

    def pages(self, observation: Mapping[str, np.ndarray]) -> tuple[str, ...]:
        """See :class:`Prompter`: pages are steps like others in what such a model has learned from."""
        return ()

    def look(self, observation: Mapping[str, np.ndarray]) -> None:
        """See :class:`Prompter`."""
        text = describe(observation, self._dialect).text
        self._changes.append(difference(self._seen[-1], text) if self._seen else "")
        self._seen.append(text)

    def asked(self, client: Client) -> str:
        """See :class:`Prompter`."""
        return self._fitting.longest(len(self._seen), self._history, client.fits)

    def _history(self, seen: int) -> str:
        """Returns the history that begins with the whole observation of ``seen`` − 1 steps ago."""
        lines = [INSTRUCTION, "", self._seen[-seen], ""]
        told = ""
        past = list(zip(reversed(self._said), reversed(self._changes), strict=False))[: seen - 1]
        for (telling, action), change in reversed(past):
            if telling and telling != told:
                lines.append(telling)
            told = telling
            lines += [f"{ACTION}{action}", f"{OBSERVATION}\n{change}"]
        return "\n".join(lines) + "\n"

    def ask(self, client: Client, prompt: str | Messages) -> Answer:
        """See :class:`Prompter`."""
        assert isinstance(prompt, str), "made by this prompter"
        return client.complete(prompt, OBSERVATION)

    def understood(self, reply: str) -> Move:
        """See :class:`Prompter`."""
        telling, action = said_in(reply)
        telling = telling or (self._said[-1][0] if self._said else "")
        name = _TEXTS.get(action)
        self._said.append((telling, action if name else INVALID))
        strategy = telling.removeprefix(STRATEGY) if telling.startswith(STRATEGY) else ""
        return Move((INVALID,), valid=False, strategy=strategy) if name is None else Move((name,), strategy=strategy)


def said_in(reply: str) -> tuple[str, str]:
    """Returns what a continuation tells of the strategy, and the text of its action; empty where it has none.

    Servers may leave out the special tokens; then the last line before what follows the action is the action.
    """
    said = reply.split(OBSERVATION)[0].strip()
    if ACTION in said:
        telling, action = said.split(ACTION)[:2]
        return telling.strip(), action.strip()
    *telling_lines, action = said.split("\n\n")[0].split("\n") if said else [""]
    return "\n".join(telling_lines).strip(), action.strip()
