"""The acting loop's core: from the frames of the env groups that wait to what is done on them, in one batch."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from strathack.dataset.actions import NO_ACTION
from strathack.models.acting import Act, ActingConfig, ActingPolicy
from strathack.models.cleaved import AnyPolicy
from strathack.models.cores import State

NO_INPUTS = frozenset({"acted", "actions", "strategy", "rewards", "ended", "next_seed"})
"""The arrays of an env group by which nothing is chosen."""


class Player(Protocol):
    """Chooses actions for lanes; what it remembers is handed to it.

    Attributes:
        device: Where it takes its inputs.
    """

    device: torch.device

    def initial_state(self, lanes: int) -> State:
        """The state before a game: name → [B, …]."""

    def act(self, inputs: Mapping[str, Tensor], state: State, uniforms: Tensor | None = None) -> tuple[Act, State]:
        """Chooses; see :meth:`strathack.models.acting.ActingPolicy.act`."""


class LearningPlayer(Player, Protocol):
    """A player that learns meanwhile."""

    def refresh(self) -> int:
        """Takes the newest weights over. Returns how many updates they have had."""


class InferencePolicy:
    """Acts with a copy of a policy that is being trained; a :class:`LearningPlayer`.

    Args:
        policy: The policy.
        acting: How it acts.
        version: How many updates its weights have had.

    Raises:
        InputError: If a flat policy is to hold strategies.
    """

    def __init__(self, policy: AnyPolicy, acting: ActingConfig, version: int = 0) -> None:
        self._trained, self._copy = policy, deepcopy(policy).eval().requires_grad_(False)
        self._acting = ActingPolicy(self._copy, acting)
        self._lock = threading.Lock()
        self._version = self._newest = version
        self._changed = False
        self.device = next(policy.parameters()).device

    @contextmanager
    def updating(self, version: int) -> Iterator[None]:
        """While the trained weights change; afterwards they are what is acted with.

        Args:
            version: How many updates they will have had.
        """
        with self._lock:
            yield
            # An update of several passes changes them several times, and is still one.
            self._newest, self._changed = version, True

    def refresh(self) -> int:
        """See :class:`LearningPlayer`."""
        if self._changed:
            with self._lock, torch.no_grad():
                for mine, theirs in zip(self._copy.parameters(), self._trained.parameters(), strict=True):
                    mine.copy_(theirs)
                self._version, self._changed = self._newest, False
        return self._version

    def initial_state(self, lanes: int) -> State:
        """See :class:`Player`."""
        return self._acting.initial_state(lanes)

    def act(self, inputs: Mapping[str, Tensor], state: State, uniforms: Tensor | None = None) -> tuple[Act, State]:
        """See :class:`Player`."""
        return self._acting.act(inputs, state, uniforms)


@dataclass(frozen=True)
class Row:
    """A row of a slot: what is chosen by, and where what is chosen goes.

    Attributes:
        inputs: Name → tensor [lanes, …].
        actions: u8 [lanes].
        strategy: u8 [lanes].
    """

    inputs: Mapping[str, Tensor]
    actions: np.ndarray
    strategy: np.ndarray


class GroupState:
    """What is known of an env group between its steps.

    Args:
        arrays: Its arrays; see :func:`strathack.rl.acting.memory.group_layout`.
        state: The player's state before a game.

    Attributes:
        lanes: Its environments.
        rows: By slot and row.
        state: The player's state now.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], state: State) -> None:
        slots, rows, self.lanes = arrays["first"].shape
        self.arrays, self.state = arrays, state
        # Made once, since much of the loop's time goes into many small things.
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items() if name not in NO_INPUTS}
        self.rows = [
            [
                Row(
                    {name: tensor[slot, row] for name, tensor in tensors.items()},
                    arrays["actions"][slot, row],
                    arrays["strategy"][slot, row],
                )
                for row in range(rows)
            ]
            for slot in range(slots)
        ]


@dataclass(frozen=True)
class Place:
    """A row that is to be acted on.

    Attributes:
        index: The env group's.
        group: What is known of it.
        slot: The slot.
        row: The row of it.
    """

    index: int
    group: GroupState
    slot: int
    row: int


@dataclass(frozen=True)
class Choice:
    """What was chosen on several rows, their lanes side by side.

    Attributes:
        actions: i64 [B].
        strategy: i64 [B]; None for a flat policy.
        about: ``log_prob``, ``value`` and, where strategies are held, ``chose``; [B].
        after: The player's state afterwards.
    """

    actions: np.ndarray
    strategy: np.ndarray | None
    about: Mapping[str, np.ndarray]
    after: State


def choose(places: Sequence[Place], player: Player, uniforms: Tensor | None = None) -> Choice:
    """Chooses for several env groups at once.

    Args:
        places: What is to be acted on.
        player: Who chooses.
        uniforms: What decides its draws, f32 [B, 2]; None lets it draw.
    """
    rows = [place.group.rows[place.slot][place.row].inputs for place in places]
    inputs = {name: _beside([row[name] for row in rows]).to(player.device) for name in rows[0]}
    act, after = player.act(inputs, joined([place.group.state for place in places]), uniforms)
    about = {"log_prob": act.log_prob, "value": act.output.value, "chose": act.chose}
    return Choice(
        act.action.cpu().numpy(),
        None if act.strategy is None else act.strategy.cpu().numpy(),
        {name: value.cpu().numpy() for name, value in about.items() if value is not None},
        after,
    )


def hand_out(places: Sequence[Place], choice: Choice) -> Iterator[tuple[Place, slice]]:
    """Writes what was chosen to where rollout workers read it.

    Yields:
        Each row and which lanes of the choice are its.
    """
    end = 0
    for place in places:
        own = slice(end, end + place.group.lanes)
        end = own.stop
        row = place.group.rows[place.slot][place.row]
        place.group.state = (
            choice.after if len(places) == 1 else {name: part[own] for name, part in choice.after.items()}
        )
        row.actions[:] = choice.actions[own]
        row.strategy[:] = NO_ACTION if choice.strategy is None else choice.strategy[own]
        yield place, own


def _beside(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def joined(states: Sequence[State]) -> State:
    """The states of several env groups as one."""
    if len(states) == 1:
        return states[0]
    return {name: _beside([state[name] for state in states]) for name in states[0]}
