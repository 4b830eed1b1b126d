"""The core of the acting loop: chooses the actions of all waiting env groups in one batch."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from strathack.dataset.actions import NO_ACTION
from strathack.dataset.devices import sent
from strathack.models.acting import Act, ActingConfig, ActingPolicy
from strathack.models.cleaved import AnyPolicy
from strathack.models.cores import State
from strathack.rl.acting.memory import OF_STEPS


class Player(Protocol):
    """Chooses actions for lanes; its state is passed in and returned.

    Attributes:
        device: The device of its inputs.
    """

    device: torch.device

    def initial_state(self, lanes: int) -> State:
        """The state before a game: name → [B, …]."""

    def act(self, inputs: Mapping[str, Tensor], state: State, uniforms: Tensor | None = None) -> tuple[Act, State]:
        """Chooses an action for each lane; see :meth:`strathack.models.acting.ActingPolicy.act`."""


class LearningPlayer(Player, Protocol):
    """A player whose weights are trained while it acts."""

    def refresh(self) -> int:
        """Takes over the newest weights. Returns how many updates they have had."""


class InferencePolicy:
    """Acts with a copy of a policy that is being trained; a :class:`LearningPlayer`.

    Args:
        policy: The policy that is trained.
        acting: How it acts.
        version: How many updates its weights have had.

    Raises:
        InputError: If strategies are to be held, but the policy is flat.
    """

    def __init__(self, policy: AnyPolicy, acting: ActingConfig, version: int = 0) -> None:
        self._trained, self._copy = policy, deepcopy(policy).eval().requires_grad_(False)
        self._acting = ActingPolicy(self._copy, acting, remembers=True)
        self._lock = threading.Lock()
        self._version = self._newest = version
        self._changed = False
        self.device = next(policy.parameters()).device
        # On a GPU, acting has a stream of its own, so each side's work on the weights waits for the other's.
        self._written = self._copied = self._event()

    @contextmanager
    def updating(self, version: int) -> Iterator[None]:
        """To be entered while the trained weights change; afterwards, acting uses the new weights.

        Args:
            version: How many updates the weights will have had afterwards.
        """
        with self._lock:
            self._after(self._copied)
            yield
            self._written = self._event()
            # An update of several passes comes here once per pass, each time with the same version.
            self._newest, self._changed = version, True

    def refresh(self) -> int:
        """See :class:`LearningPlayer`."""
        if self._changed:
            with self._lock, torch.no_grad():
                self._after(self._written)
                for mine, theirs in zip(self._copy.parameters(), self._trained.parameters(), strict=True):
                    mine.copy_(theirs)
                self._copied = self._event()
                self._version, self._changed = self._newest, False
            self._acting.forget(self._learning())
        return self._version

    def _learning(self) -> Iterator[nn.Module]:
        """Yields the copy's modules that stand for those of which something is trained."""
        for mine, theirs in zip(self._copy.modules(), self._trained.modules(), strict=True):
            if any(parameter.requires_grad for parameter in theirs.parameters()):
                yield mine

    def _event(self) -> torch.cuda.Event | None:
        """Marks the current place in the current stream; None on a CPU."""
        return torch.cuda.current_stream(self.device).record_event() if self.device.type == "cuda" else None

    def _after(self, event: torch.cuda.Event | None) -> None:
        if event is not None:
            torch.cuda.current_stream(self.device).wait_event(event)

    def initial_state(self, lanes: int) -> State:
        """See :class:`Player`."""
        return self._acting.initial_state(lanes)

    def act(self, inputs: Mapping[str, Tensor], state: State, uniforms: Tensor | None = None) -> tuple[Act, State]:
        """See :class:`Player`."""
        return self._acting.act(inputs, state, uniforms)


@dataclass(frozen=True)
class Row:
    """A row of a slot: the player's inputs, and the arrays that its choices are written to.

    Attributes:
        inputs: Name → tensor [lanes, …].
        actions: u8 [lanes].
        strategy: u8 [lanes].
    """

    inputs: Mapping[str, Tensor]
    actions: np.ndarray
    strategy: np.ndarray


class GroupState:
    """The state of an env group between its steps.

    Args:
        arrays: Its arrays; see :func:`strathack.rl.acting.memory.group_layout`.
        state: The player's state before a game.

    Attributes:
        lanes: The number of its environments.
        rows: Its rows, indexed by slot and row.
        state: The player's current state.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], state: State) -> None:
        slots, rows, self.lanes = arrays["first"].shape
        self.arrays, self.state = arrays, state
        # The tensors are made once, since many small operations take much of the loop's time.
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items() if name not in OF_STEPS}
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
    """A row to act on.

    Attributes:
        index: The index of the env group.
        group: The state of the env group.
        slot: The slot.
        row: The row of the slot.
    """

    index: int
    group: GroupState
    slot: int
    row: int


@dataclass(frozen=True)
class Choice:
    """The player's choices for several rows, with the rows' lanes side by side.

    Attributes:
        actions: i64 [B].
        strategy: i64 [B]; None for a flat policy.
        about: ``log_prob``, ``value`` and, if strategies are held, ``chose``; each [B].
        after: The player's state afterwards.
    """

    actions: np.ndarray
    strategy: np.ndarray | None
    about: Mapping[str, np.ndarray]
    after: State


def choose(places: Sequence[Place], player: Player, uniforms: Tensor | None = None) -> Choice:
    """Chooses actions for several env groups at once.

    Args:
        places: The rows to act on.
        player: The player that chooses.
        uniforms: Numbers that decide the player's draws, f32 [B, 2]; None lets the player draw at random.
    """
    rows = [place.group.rows[place.slot][place.row].inputs for place in places]
    inputs = {name: sent(_beside([row[name] for row in rows]), player.device) for name in rows[0]}
    act, after = player.act(inputs, joined([place.group.state for place in places]), uniforms)
    about = {"log_prob": act.log_prob, "value": act.output.value, "chose": act.chose}
    arrays = _on_host({"action": act.action, "strategy": act.strategy, **about}, player.device)
    return Choice(arrays.pop("action"), arrays.pop("strategy", None), arrays, after)


def _on_host(values: Mapping[str, Tensor | None], device: torch.device) -> dict[str, np.ndarray]:
    """Returns the values that are given; waits once for all of them."""
    there = {name: value.to("cpu", non_blocking=True) for name, value in values.items() if value is not None}
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    return {name: value.numpy() for name, value in there.items()}


def hand_out(places: Sequence[Place], choice: Choice) -> Iterator[tuple[Place, slice]]:
    """Writes the choices to the arrays that rollout workers read.

    Yields:
        Each row, and the range of the choice's lanes that belongs to it.
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
    """Returns the states of several env groups as one state, their lanes side by side."""
    if len(states) == 1:
        return states[0]
    return {name: _beside([state[name] for state in states]) for name in states[0]}
