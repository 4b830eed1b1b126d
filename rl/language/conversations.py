"""Asking as BALROG does, and what replies to that mean.

BALROG (Paglieri et al., "Benchmarking Agentic LLM and VLM Reasoning On Games", 2024) gives the actions and how to
reply, the last observations and actions in turn, and the current observation.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping

import numpy as np

from strathack.dataset.actions import ACTION_INDEX, ACTION_NAMES
from strathack.rl.config import LanguageConfig
from strathack.rl.language.asking import Answer, Client, Messages
from strathack.rl.language.prompting import INVALID, Fitting, Move
from strathack.text.balrog import carried_text, seen_text
from strathack.text.describing import describe, message_text
from strathack.text.history import ACTION_TEXTS

MORE = "--More--"

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
        self._fitting = Fitting(config.history)
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

        def showing(shown: int) -> Messages:
            """Returns the conversation with so many observations, each but the last with its reply."""
            return [self._instruction, *turns[len(turns) - 2 * (shown - 1) :], current]

        return self._fitting.longest(len(turns) // 2 + 1, showing, client.fits)

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
