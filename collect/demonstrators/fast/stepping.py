"""The bot's steps: what it keeps of an observation, the message, and the updates that follow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from types import TracebackType
from typing import Any

import nle.nethack as nh
import numpy as np
from autoascend.agent import Agent, BLStats
from autoascend.character import Character, Property
from autoascend.exceptions import AgentFinished, AgentPanic
from nle.nethack import actions

from strathack.collect.demonstrators.fast.items import flatten
from strathack.collect.demonstrators.fast.notes import BLIND, CONFUSED, HALLUCINATING, STUNNED
from strathack.collect.demonstrators.fast.replacing import Replacement

OBSERVED = (
    "glyphs",
    "blstats",
    "message",
    "tty_chars",
    "tty_cursor",
    "misc",
    "specials",
    "inv_strs",
    "inv_letters",
    "inv_oclasses",
    "inv_glyphs",
)
"""The observation keys that the bot reads."""

_HITPOINTS, _MAX_HITPOINTS = BLStats._fields.index("hitpoints"), BLStats._fields.index("max_hitpoints")
_ENTERING_TEXT, _WAITING_FOR_SPACE = 1, 2
_LONGEST_INACTIVITY = 200
_MORE = "--More--"
_PAGE = re.compile(rb"\(\d+ of \d+\)")
_MARK = re.compile(r"--More--|\(end\)|\(\d+ of \d+\)")


def step(agent: Any, action: Any, additional_action_iterator: Iterator[Any] | None = None) -> None:
    """Takes an action, and those that the iterator gives for the prompts that follow."""
    if agent._no_step_calls:
        raise ValueError("Shouldn't call step now")
    if isinstance(action, str):
        assert len(action) == 1
        action = _action_of(action)
    shown, reward, done, _ = agent.env.step(action)
    observation = {key: shown[key].copy() for key in OBSERVED}
    agent.step_count += 1
    agent.score += reward
    cursor = observation["tty_cursor"]
    agent.cursor_pos = (cursor[0] - 1, cursor[1])
    if hasattr(agent, "blstats"):
        gold = agent.stats_logger.gold
        for item in flatten(agent.inventory.items):
            if item.category == nh.COIN_CLASS:
                gold.append(item.count)
        gold.append(0)
    if done:
        raise AgentFinished
    agent.update(observation, additional_action_iterator)


@lru_cache(maxsize=256)
def _action_of(letter: str) -> Any:
    return actions.ACTIONS[actions.ACTIONS.index(ord(letter))]


def update(
    agent: Any, observation: Mapping[str, np.ndarray], additional_action_iterator: Iterator[Any] | None = None
) -> None:
    """Takes in an observation, after answering the prompts that it shows."""
    agent._observation = observation
    done = agent.update_message_and_popup(observation)
    agent._is_reading_message_or_popup = True
    if additional_action_iterator is not None:
        try:
            next_action = next(additional_action_iterator)
        except StopIteration:
            pass
        else:
            agent.step(next_action, additional_action_iterator)
            return

    misc = observation["misc"].tolist()
    if not done or misc[_WAITING_FOR_SPACE]:
        agent.step(actions.TextCharacters.SPACE)
        return
    if misc[_ENTERING_TEXT]:
        if "You may wish for an object." in agent.message:
            agent.step("b", iter("lessed greased +2 gray dragon scale mail\r"))
        else:
            agent.step(actions.Command.ESC)
        return
    if "Where do you want to be teleported?" in agent.message:
        agent.step(actions.Command.ESC)
        return
    if b"[yn]" in observation["tty_chars"].tobytes():
        agent.type_text("y")
        return
    _take_in(agent, observation)


def _take_in(agent: Any, observation: Mapping[str, np.ndarray]) -> None:
    """Makes an observation without a prompt the current one."""
    agent._is_reading_message_or_popup = False
    agent._message_history.append(agent.message)
    before = observation if agent.last_observation is None else agent.last_observation
    agent._previous_glyphs = before["glyphs"]
    agent.last_observation = observation
    agent.blstats = stats = _bottom_line(observation["blstats"])
    agent.glyphs = observation["glyphs"]

    level = agent.current_level()
    agent.stats_logger.log_cumulative_value(
        "max_turns_on_position",
        key=(level.dungeon_number, level.level_number, stats.y, stats.x),
        value=stats.time - agent._last_turn,
    )
    agent._inactivity_counter += 1
    if agent._last_turn != stats.time:
        agent._last_turn = stats.time
        agent._inactivity_counter = 0
    # The bot tells its panics apart by their first argument, here as everywhere.
    assert agent._inactivity_counter < _LONGEST_INACTIVITY, (
        "turn inactivity",
        sorted(set(agent._message_history[-50:])),
    )
    in_operation = agent.turns_in_atom_operation is not None
    agent.update_state(
        allow_update=agent._atom_operation_allow_update or not in_operation, allow_callbacks=not in_operation
    )


def _bottom_line(blstats: np.ndarray) -> Any:
    """Returns the bottom line as plain integers, which are quicker than NumPy's.

    With no hit points they stay NumPy's: the bot divides by hit points, and NumPy does not raise.
    """
    values = blstats.tolist()
    if values[_HITPOINTS] <= 0 or values[_MAX_HITPOINTS] <= 0:
        return BLStats(*blstats)
    return BLStats(*values)


def get_message_and_popup(agent: Any, obs: Mapping[str, np.ndarray]) -> tuple[str, list[str], bool]:
    """Returns the message, the lines of a popup, and whether nothing is left to be shown."""
    screen = obs["tty_chars"].tobytes()
    if b"\0" in screen or b"\n" in screen or not screen.isascii():
        return _get_message_and_popup(agent, obs)
    message = obs["message"].tobytes().decode().replace("\0", " ").replace("\n", "").strip().removesuffix(_MORE)
    if not (b"--More--" in screen or b"(end)" in screen or (b" of " in screen and _PAGE.search(screen))):
        return message, [], True
    text = screen.decode("ascii")
    width = obs["tty_chars"].shape[1]
    lines = [text[start : start + width] for start in range(0, len(text), width)]
    mark, _ = agent._find_marker(lines)
    if mark is None:  # it was cut by a line's end
        return message, [], True
    return _page(message, lines, *mark)


def _page(message: str, lines: Sequence[str], row: int, column: int) -> tuple[str, list[str], bool]:
    """Tells message and popup apart on a screen that has more to show: the message comes first, broken into lines."""
    shown = [*lines[:row], lines[row][:column]]
    of_message = 0
    if message:
        wanted, seen, letters = _letters(message), "", ""
        for line in shown:
            of_message += 1
            seen += line.strip()
            letters += _letters(line)
            if letters == wanted:
                break
        else:
            if row:
                raise ValueError(f"Message:\n{message!r}\ndoesn't match the screen:\n{seen!r}")
            words, words_seen = message.split(), seen.split()
            assert len(words) < len(words_seen), (words, words_seen)
            assert words_seen[-len(words) :] == words, (words, words_seen)
            return seen, [], False
    popup = [line[column:].strip() for line in shown[of_message:]]
    return message, [line for line in popup if line], False


def _letters(text: str) -> str:
    """Returns what is letter or digit: breaking a message may add or lose other characters."""
    return "".join(filter(str.isalnum, text))


_get_message_and_popup = Agent.get_message_and_popup


def find_marker(lines: Sequence[str]) -> tuple[tuple[int, int] | None, str | None]:
    """Returns where the mark of a page or popup stands, (row, column), and the mark itself.

    Raises:
        ValueError: If there is more than one.
    """
    marks = _MARK.findall(" ".join(lines))
    if len(marks) > 1:
        raise ValueError("Too many markers")
    for mark in marks:
        for row, line in enumerate(lines):
            column = line.find(mark)
            if column >= 0:
                return (row, 0 if column == 1 else column), mark  # lists of what is known begin at column 1
    return None, None


def update_state(agent: Any, allow_update: bool = True, allow_callbacks: bool = True) -> None:
    """Updates what the bot knows, and lets preempting strategies look at it."""
    assert not agent._no_step_calls
    if agent._is_updating_state:
        return
    agent._is_updating_state = True
    message, popup = agent.message, agent.popup
    try:
        if allow_update:
            for look in (
                agent.character.update,
                agent.inventory.update,
                agent.monster_tracker.update,
                partial(agent.check_terrain, force=False),
                agent.update_level,
                agent.global_logic.update,
            ):
                look()
                agent.message, agent.popup = message, popup
        if allow_callbacks:
            agent.call_update_functions()
    finally:
        agent._is_updating_state = False


def call_update_functions(agent: Any, funcs: Sequence[Callable[[], None]] | None = None) -> None:
    """Calls functions that must not step."""
    if funcs is None:
        funcs = agent.on_update
    else:
        assert all(func in agent.on_update for func in funcs)
    with _NoStepCalls(agent):
        for func in funcs:
            func()


class _NoStepCalls(AbstractContextManager[None]):
    __slots__ = ("_agent", "_outermost")

    def __init__(self, agent: Any) -> None:
        self._agent = agent

    def __enter__(self) -> None:
        self._outermost = not self._agent._no_step_calls
        if self._outermost:
            self._agent._no_step_calls = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outermost:
            self._agent._no_step_calls = False


class _AtomOperation(AbstractContextManager[None]):
    __slots__ = ("_agent", "_allow_update", "_before", "_outermost")

    def __init__(self, agent: Any, allow_update: bool = False) -> None:
        self._agent, self._allow_update = agent, allow_update

    def __enter__(self) -> None:
        agent, allow = self._agent, self._allow_update
        assert not agent._no_step_calls
        self._outermost = agent.turns_in_atom_operation is None
        self._before = before = None if self._outermost else agent._atom_operation_allow_update
        if self._outermost:
            agent.turns_in_atom_operation = 0
        elif before is not None:
            assert before or not allow
            allow = before and allow
        agent._atom_operation_allow_update = allow

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        agent = self._agent
        agent._atom_operation_allow_update = self._before
        if self._outermost:
            agent.turns_in_atom_operation = None
            if kind is None:
                agent.update_state()


class _OnUpdate(AbstractContextManager[None]):
    """Within the context, the functions are called at every update."""

    __slots__ = ("_agent", "_functions")

    def __init__(self, agent: Any, functions: Sequence[Callable[[], None]]) -> None:
        self._agent, self._functions = agent, functions

    def __enter__(self) -> None:
        self._agent.on_update.extend(self._functions)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for function in self._functions:
            self._agent.on_update.remove(function)


def disallow_step_calling(agent: Any) -> _NoStepCalls:
    """Returns a context in which a step is an error."""
    return _NoStepCalls(agent)


def atom_operation(agent: Any, allow_update: bool = False) -> _AtomOperation:
    """Returns a context whose steps belong together: the bot looks around after the last one only."""
    return _AtomOperation(agent, allow_update)


def add_on_update(agent: Any, funcs: Sequence[Callable[[], None]]) -> _OnUpdate:
    """Returns a context in which the functions are called at every update."""
    return _OnUpdate(agent, funcs)


def panic_if_position_changes(agent: Any) -> _OnUpdate:
    """Returns a context in which an update at another place is a panic."""
    stats = agent.blstats
    y, x = stats.y, stats.x

    def check() -> None:
        if agent.blstats.x != x or agent.blstats.y != y:
            raise AgentPanic("position changed")

    return _OnUpdate(agent, [check])


def type_text(agent: Any, text: str) -> None:
    """Types letters, without updates between them."""
    with _AtomOperation(agent):
        for letter in text:
            agent.step(letter)


_DIRECTIONS = {
    "n": actions.CompassDirection.N,
    "s": actions.CompassDirection.S,
    "e": actions.CompassDirection.E,
    "w": actions.CompassDirection.W,
    "ne": actions.CompassDirection.NE,
    "se": actions.CompassDirection.SE,
    "nw": actions.CompassDirection.NW,
    "sw": actions.CompassDirection.SW,
    ">": actions.MiscDirection.DOWN,
    "<": actions.MiscDirection.UP,
    ".": actions.MiscDirection.WAIT,
}


def direction(agent: Any, y: Any, x: int | None = None) -> bool:
    """Presses the key of a direction, given by its letters or by the tile beside the player."""
    letters = y if x is None else agent.calc_direction(agent.blstats.y, agent.blstats.x, y, x)
    agent.step(_DIRECTIONS[letters])
    return True


def current_level(agent: Any) -> Any:
    """Returns the level on which the player is."""
    stats = agent.blstats
    level = agent.levels.get((stats.dungeon_number, stats.level_number))
    return _current_level(agent) if level is None else level


_current_level = Agent.current_level


def polymorph(properties: Any) -> bool:
    """Whether the player has another shape than at the start."""
    agent = properties.agent
    glyph = agent.glyphs[agent.blstats.y, agent.blstats.x]
    return bool(glyph != agent.character.self_glyph and nh.glyph_is_monster(glyph))


def _condition(bit: int) -> property:
    return property(lambda properties: bool(properties.agent.notes.status & bit))


def carrying_capacity(character: Any) -> Any:
    """Returns the weight that can be carried; a NumPy integer below 1,000, since the bot divides it by weights of 0."""
    stats = character.agent.blstats
    return min(1000, (np.int64(stats.strength_percentage) + np.int64(stats.constitution)) * 25 + 50)


REPLACEMENTS = (
    Replacement(Agent, "step", step, "none"),
    Replacement(Agent, "update", update, "none"),
    Replacement(Agent, "_find_marker", staticmethod(find_marker)),
    Replacement(Agent, "get_message_and_popup", get_message_and_popup),
    Replacement(Agent, "direction", direction, "none"),
    Replacement(Agent, "update_state", update_state, "none"),
    Replacement(Agent, "call_update_functions", call_update_functions, "none"),
    Replacement(Agent, "disallow_step_calling", disallow_step_calling, "none"),
    Replacement(Agent, "atom_operation", atom_operation, "none"),
    Replacement(Agent, "add_on_update", add_on_update, "none"),
    Replacement(Agent, "panic_if_position_changes", panic_if_position_changes, "none"),
    Replacement(Agent, "type_text", type_text, "none"),
    Replacement(Agent, "current_level", current_level),
    Replacement(Property, "confusion", _condition(CONFUSED)),
    Replacement(Property, "stun", _condition(STUNNED)),
    Replacement(Property, "hallu", _condition(HALLUCINATING)),
    Replacement(Property, "blind", _condition(BLIND)),
    Replacement(Property, "polymorph", property(polymorph)),
    Replacement(Character, "carrying_capacity", property(carrying_capacity)),
)
