"""Histories as text: an observation, and then actions with what each changed, as line diffs or as whole observations.

The format is that of diff history (Piterbarg, Pinto, Fergus, "diff History for Neural Language Agents", 2024) as its
dataset LangHack has it, so that models trained on either read both.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import FormatError

History = Literal["diff", "full"]
Telling = Literal["none", "tokens", "sentences"]

HISTORIES: tuple[History, ...] = get_args(History)

INSTRUCTION = "You are an agent playing NetHack. Predict the next keypresses."
ACTION, OBSERVATION, STRATEGY = "<|action|>", "<|observation|>", "<|strategy|>"

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_OTHERS = {
    "turn": "turnundead", "overview": "wizard where", "apostrophe": "apos", "plus": "+", "quote": '"', "dollar": "$",
}  # fmt: skip


def _action_text(name: str) -> str:
    if name.startswith("digit_"):
        return _DIGITS[int(name.removeprefix("digit_"))]
    return _OTHERS.get(name, name.replace("_", " "))


ACTION_TEXTS: Mapping[str, str] = {name: _action_text(name) for name in ACTION_NAMES}
"""Action name → what diff history calls it: the names of nle-language-wrapper, with a few of its own."""

SENTENCES: Mapping[str, str] = {
    "explore": "I explore the level.",
    "fight": "I fight the monsters around me.",
    "ground_eat": "I eat what lies here.",
    "wait_out": "I wait until this has passed.",
    "emergency": "I am in danger and save myself.",
    "inventory_eat": "I eat something that I carry.",
    "offer_corpses": "I offer a corpse at the altar.",
    "init": "I look at what I have.",
    "solve_sokoban": "I solve the boulder puzzle.",
    "engulfed_fight": "I fight what has swallowed me.",
    "follow_guard": "I follow the guard out of the vault.",
    "cure_disease": "I cure my disease.",
    "recover": "I find out where I stand.",
}
"""Strategy → how it is told in a sentence."""


def difference(before: str, after: str) -> str:
    """Returns what changes one text into another: a unified diff of their lines, without context or file names."""
    lines = difflib.unified_diff(before.split("\n"), after.split("\n"), n=0, lineterm="")
    return "\n".join(list(lines)[2:])


_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")


def applied(before: str, change: str) -> str:
    """The inverse of :func:`difference`: applies a diff to the text that it was made from.

    Raises:
        FormatError: If the diff is no diff of that text.
    """
    lines = before.split("\n")
    result: list[str] = []
    done = 0
    changes = change.split("\n") if change else []
    place = 0
    while place < len(changes):
        hunk = _HUNK.fullmatch(changes[place])
        if hunk is None:
            raise FormatError(f"diff: {changes[place]!r} begins no hunk")
        start, removed, added = (int(number) if number is not None else 1 for number in hunk.groups())
        # A hunk that removes nothing names the line before it.
        start = start - 1 if removed else start
        old, new = changes[place + 1 : place + 1 + removed], changes[place + 1 + removed : place + 1 + removed + added]
        fits = old == [f"-{line}" for line in lines[start : start + removed]] and len(new) == added
        if not fits or any(line[:1] != "+" for line in new):
            raise FormatError(f"diff: the hunk {changes[place]!r} does not fit the text before")
        result += lines[done:start] + [line[1:] for line in new]
        done = start + removed
        place += 1 + removed + added
    return "\n".join(result + lines[done:])


@dataclass(frozen=True)
class Chunk:
    """Consecutive steps of a game as text.

    Attributes:
        observation: The observation before the first action.
        changes: What each action but the last changed: a diff or a whole observation.
        actions: The actions by name.
        tellings: What is told of the strategy before each action; empty where nothing is.
    """

    observation: str
    changes: Sequence[str]
    actions: Sequence[str]
    tellings: Sequence[str]

    @property
    def prompt(self) -> str:
        """The instruction and the first observation."""
        return f"{INSTRUCTION}\n\n{self.observation}\n\n"

    @property
    def completion(self) -> str:
        """Actions and changes in turn, as LangHack has them."""
        texts = []
        for turn, change in zip(self._turns(), [*self.changes, None], strict=True):
            texts.append(turn)
            if change is not None:
                texts.append(f"{OBSERVATION}\n{change}")
        return "\n".join(texts).strip()

    @property
    def messages(self) -> list[dict[str, str]]:
        """The same as turns of a user, who shows what there is, and an assistant, who acts."""
        shown = [self.prompt.strip(), *self.changes]
        pairs = zip(shown, self._turns(), strict=True)
        return [
            {"role": role, "content": content}
            for user, assistant in pairs
            for role, content in (("user", user), ("assistant", assistant))
        ]

    def _turns(self) -> Iterator[str]:
        for action, telling in zip(self.actions, self.tellings, strict=True):
            yield (f"{telling}\n" if telling else "") + f"{ACTION}{ACTION_TEXTS[action]}"


def tellings(strategies: Sequence[str], how: Telling) -> list[str]:
    """Returns what is told of the strategy before each action: something where the strategy changes, else nothing.

    Args:
        strategies: The strategies by name.
        how: ``tokens``: the name after a special token. ``sentences``: a sentence of ours, or the name in one.
    """
    told = []
    for before, strategy in zip(["", *strategies], strategies, strict=False):
        if how == "none" or strategy == before:
            told.append("")
        elif how == "tokens":
            told.append(f"{STRATEGY}{strategy}")
        else:
            told.append(SENTENCES.get(strategy, f"I {strategy.replace('_', ' ')}."))
    return told


class Changes:
    """What changed from step to step of a game, each computed once however many chunks tell it.

    Args:
        text: Step → the observation before it.
        history: Whether to tell diffs or whole observations.
    """

    def __init__(self, text: Callable[[int], str], history: History) -> None:
        self._text, self._history = text, history
        self._known: dict[int, str] = {}

    def at(self, step: int) -> str:
        """Returns what the action at the step before changed."""
        if self._history == "full":
            return self._text(step)
        if step not in self._known:
            self._known[step] = difference(self._text(step - 1), self._text(step))
        return self._known[step]
