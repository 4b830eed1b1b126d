"""What a language model is asked, and what its reply means: as BALROG asks, or by the histories that we export.

BALROG (Paglieri et al., "Benchmarking Agentic LLM and VLM Reasoning On Games", 2024) gives the actions and how to
reply, the last observations and actions in turn, and the current observation.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from strathack.dataset.actions import ACTION_INDEX, ACTION_NAMES
from strathack.rl.config import LanguageConfig, Prompt
from strathack.rl.language.asking import Answer, Client, Messages
from strathack.text.balrog import carried_text, seen_text
from strathack.text.describing import describe, message_text
from strathack.text.history import (
    ACTION,
    ACTION_TEXTS,
    INSTRUCTION,
    OBSERVATION,
    STRATEGY,
    difference,
)

MORE = "--More--"
INVALID = "esc"
"""The action in place of a reply that names none."""


@dataclass(frozen=True)
class Move:
    """What a reply means.

    Attributes:
        actions: Names of the actions to take, one after the other.
        valid: Whether the reply named an action; if not, ``actions`` is the escape key.
        strategy: The strategy that it told; empty if none.
    """

    actions: tuple[str, ...]
    valid: bool = True
    strategy: str = ""


class Prompter(Protocol):
    """What one game's model is asked, from frame to frame."""

    def pages(self, observation: Mapping[str, np.ndarray]) -> tuple[str, ...]:
        """Returns actions to take at once because the model need not be asked on this frame; none if it is to be."""

    def look(self, observation: Mapping[str, np.ndarray]) -> None:
        """Takes in the frame that the model is asked about next."""

    def asked(self, client: Client) -> str | Messages:
        """Returns the prompt: a text that is continued, or a conversation."""

    def ask(self, client: Client, prompt: str | Messages) -> Answer:
        """Asks the model.

        Raises:
            UnansweredError: If there is no answer.
        """

    def understood(self, reply: str) -> Move:
        """Returns what a reply means, and keeps it for later prompts."""


def make_prompter(prompt: Prompt, config: LanguageConfig) -> Prompter:
    """Makes what one game's model is asked by.

    Args:
        prompt: The form of the prompts.
        config: How to ask.
    """
    return BalrogPrompter(config) if prompt == "balrog" else DiffPrompter(config)


NOT_OFFERED = frozenset({
    "attributes", "autopickup", "chat", "conduct", "extcmd", "extlist", "glance", "history", "help", "inventtype",
    "known", "knownclass", "options", "overview", "previous message", "quit", "redraw", "ride", "save", "seeall",
    "seeamulet", "seearmor", "seegold", "seerings", "seespells", "seetools", "seetrap", "seeweapon", "shell", "sit",
    "tip", "turnundead", "version", "versionshort", "whatdoes", "whatis", "adjust", "move", "movefar", "rush", "rush2",
    "wizard where", "+", '"', "$",
})  # fmt: skip
"""What actions are called that BALROG offers nobody: they tell about the program, or end it."""

MEANINGS: Mapping[str, str] = {
    "up": "climb the stairs that you stand on",
    "down": "descend the stairs that you stand on",
    "wait": "let a turn pass",
    "more": "read on where a message ends with --More--",
    "esc": "leave a menu or a question",
    "apply": "use a tool",
    "call": "name a monster or a kind of object",
    "cast": "cast a spell that you know",
    "close": "close a door beside you",
    "dip": "dip one object into another",
    "drop": "put an object down",
    "droptype": "put several objects down, by their kind",
    "eat": "eat something",
    "engrave": "write on the floor",
    "enhance": "improve your skills",
    "fight": "attack towards a direction, whatever is there",
    "fire": "shoot what is in your quiver",
    "force": "force a lock open",
    "inventory": "list what you carry",
    "invoke": "call on an artefact's power",
    "jump": "jump to a place",
    "kick": "kick a monster, a door or a chest",
    "look": "look at what lies here",
    "loot": "open a box that lies here",
    "monster": "use the ability of the monster that you have become",
    "offer": "sacrifice a corpse on an altar",
    "open": "open a door beside you",
    "pay": "pay a shopkeeper",
    "pickup": "take what lies here",
    "pray": "ask your god for help",
    "puton": "put on a ring or an amulet",
    "quaff": "drink something",
    "quiver": "choose what to shoot",
    "read": "read a scroll or a spellbook",
    "remove": "take off a ring or an amulet",
    "rub": "rub a lamp or a stone",
    "search": "search for what is hidden beside you",
    "swap": "exchange your weapon for the other one",
    "takeoff": "take off one piece of armour",
    "takeoffall": "take off several pieces of armour",
    "teleport": "teleport, if you can",
    "throw": "throw something",
    "travel": "walk to a place: then give > or < for stairs, _ for an altar",
    "twoweapon": "fight with two weapons, or no longer",
    "untrap": "make a trap harmless",
    "wear": "put on a piece of armour",
    "wield": "take a weapon in hand",
    "wipe": "wipe your face",
    "zap": "use a wand",
    "annotate": "note something about this level",
    "minus": "the key -",
    "space": "the space bar",
    "apos": "the key '",
}  # fmt: skip
"""What actions other than movement do, for the model."""


def _offered() -> dict[str, str]:
    """Returns what a model may reply → the action: names, letters and digits."""
    names = {text: name for name, text in ACTION_TEXTS.items() if text not in NOT_OFFERED}
    letters = {
        chr(key): ACTION_NAMES[index]
        for key, index in ACTION_INDEX.items()
        if chr(key).isascii() and chr(key).isalnum()
    }
    signs = {sign: ACTION_NAMES[ACTION_INDEX[ord(sign)]] for sign in "<>_" if ord(sign) in ACTION_INDEX}
    return {**letters, **signs, **names}


OFFERED_ACTIONS: Mapping[str, str] = _offered()
"""What a model may reply → the action's name."""


def instruction() -> str:
    """Returns what a model is told before a game."""
    moves = [name for name in OFFERED_ACTIONS if name.removeprefix("far ") in _DIRECTIONS]
    walks = [f"{name}: walk {name}" + (" until something is in the way" if name[:3] == "far" else "") for name in moves]
    others = [f"{name}: {MEANINGS[name]}" for name in OFFERED_ACTIONS if name in MEANINGS]
    return "\n".join((
        "You play NetHack. At each turn, choose one of these actions:",
        "",
        *walks,
        *others,
        "a letter or a digit: press that key, to answer a question or to choose from a menu",
        "",
        'A question such as "What do you want to eat? [af or ?*]" is answered by one of the letters in brackets, here '
        'a or f; "In what direction?" by a direction. Walking into a monster attacks it. A wall or solid stone stops '
        "you: go another way then. Read the message first: it tells what your last action did.",
        "",
        "You will see what happened so far, and then the current observation. Get as deep and become as experienced "
        "as you can.",
        "",
        "Think if you need to, and end with your action between two marks: <|ACTION|>action<|END|>",
    ))  # fmt: skip


_DIRECTIONS = ("north", "east", "south", "west", "northeast", "southeast", "southwest", "northwest")
_MARKED = re.compile(r"<\|ACTION\|>(.*?)<\|END\|>", re.DOTALL)


def move_of(reply: str) -> Move:
    """Returns what a reply to BALROG's prompt means: the last marked action, or the bare name of one.

    A number of two digits presses both of them.
    """
    marked = _MARKED.findall(reply)
    named = (marked[-1] if marked else reply).strip()
    action = OFFERED_ACTIONS.get(named if len(named) == 1 else named.lower())
    if action is not None:
        return Move((action,))
    if re.fullmatch(r"[0-9]{2}", named):
        return Move(tuple(OFFERED_ACTIONS[digit] for digit in named))
    return Move((INVALID,), valid=False)


class BalrogPrompter:
    """Asks as BALROG does; a :class:`Prompter`.

    Args:
        config: How many observations to show, and in which dialect.
    """

    def __init__(self, config: LanguageConfig) -> None:
        self._dialect = config.dialect
        self._turns: deque[dict[str, str]] = deque(maxlen=2 * config.history - 1)
        self._instruction = {"role": "user", "content": instruction()}
        self._pages: list[str] = []
        self._feedback = ""
        self._carried = ""

    def pages(self, observation: Mapping[str, np.ndarray]) -> tuple[str, ...]:
        """See :class:`Prompter`: messages of several pages are gathered."""
        message = message_text(observation["tty_chars"])
        if MORE not in message:
            return ()
        self._pages.append(message.replace(MORE, "\n"))
        return ("more",)

    def look(self, observation: Mapping[str, np.ndarray]) -> None:
        """See :class:`Prompter`."""
        told = describe(observation, self._dialect)
        told = told._replace(message="".join([*self._pages, told.message]))
        self._pages.clear()
        self._carried = carried_text(told)
        shown = self._feedback + seen_text(told, observation["tty_chars"], observation["tty_cursor"])
        self._turns.append({"role": "user", "content": shown})
        self._feedback = ""

    def asked(self, client: Client) -> Messages:
        """See :class:`Prompter`."""
        *past, now = self._turns
        turns = [
            {**turn, "content": f"Observation:\n{turn['content']}"} if turn["role"] == "user" else turn for turn in past
        ]
        current = {"role": "user", "content": f"Current Observation:\n{self._carried}\n{now['content']}"}
        # If all do not fit the model's context, the oldest observations are left out, each with its reply.
        for begin in range(0, len(turns), 2):
            messages = [self._instruction, *turns[begin:], current]
            if client.fits(messages):
                return messages
        return [self._instruction, current]

    def ask(self, client: Client, prompt: str | Messages) -> Answer:
        """See :class:`Prompter`."""
        assert not isinstance(prompt, str), "made by this prompter"
        return client.chat(prompt)

    def understood(self, reply: str) -> Move:
        """See :class:`Prompter`: of a reply that names no action, the model is told in the next observation."""
        move = move_of(reply)
        if not move.valid:
            self._feedback = f"Your last reply named none of the actions, so {INVALID} was taken.\n\n"
        marked = _MARKED.findall(reply)
        self._turns.append({"role": "assistant", "content": marked[-1].strip() if marked else reply.strip()[:200]})
        return move


_TEXTS: Mapping[str, str] = {text: name for name, text in reversed(list(ACTION_TEXTS.items()))}


class DiffPrompter:
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
        self._fitting = config.history

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
        # One more than fitted last time, since steps differ.
        for seen in range(min(len(self._seen), self._fitting + 1), 0, -1):
            text = self._history(seen)
            if seen == 1 or client.fits(text):
                break
        self._fitting = seen
        return text

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
