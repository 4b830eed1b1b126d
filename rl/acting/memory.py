"""Memory that a learner shares with its rollout workers: they write frames into it, so none are pickled."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from strathack.dataset.schema import OBSERVATIONS

ALIGNMENT = 64

Layout = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Array name → shape and type."""


_TYPES = {
    "first": "?",
    "acted": "?",
    "previous_action": "u1",
    "actions": "u1",
    "strategy": "u1",
    "rewards": "<f4",
    "ended": "?",
}

ABOUT_STEPS = frozenset(_TYPES)
"""The arrays of an env group that are not observations."""

OF_STEPS = ABOUT_STEPS - {"first", "previous_action"}
"""Those that are no inputs of a player, but tell what it did and what followed."""


def group_layout(slots: int, steps: int, lanes: int, observations: tuple[str, ...]) -> Layout:
    """Returns the layout of an env group's arrays, [slots, T + 1, lanes, …]; a slot holds an unroll.

    Row t of a slot holds a frame and the action taken on it:

    - the observations,
    - ``first``: whether a game starts at this frame,
    - ``acted``: whether an action was taken on this frame; false on the final frame of a game that was cut,
    - ``previous_action``: the action before this frame, 255 if there was none,
    - ``actions``, ``strategy`` (255 for none): what was chosen on this frame,
    - ``rewards``, ``ended``: the reward that followed, and whether the game ended.

    The last row is the frame after the last step; it is also the first row of the next unroll.

    Args:
        slots: Number of unrolls that can be filled, waiting or being learned from at a time.
        steps: T, the steps of an unroll.
        lanes: Number of environments.
        observations: Observation keys.
    """
    rows = slots, steps + 1, lanes
    arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
        key: ((*rows, *OBSERVATIONS[key].shape), OBSERVATIONS[key].dtype) for key in observations
    }
    return arrays | {name: (rows, np.dtype(kind)) for name, kind in _TYPES.items()}


def _places(layout: Layout) -> tuple[dict[str, int], int]:
    places, end = {}, 0
    for name, (shape, dtype) in layout.items():
        places[name] = end
        end += -(-prod(shape) * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    return places, end


@dataclass(frozen=True)
class SharedArrays:
    """Arrays in unnamed shared memory, which is freed when the last process that holds it ends, even in a crash.

    Attributes:
        descriptor: The file descriptor by which another process maps the same memory.
        arrays: The arrays by name.
    """

    descriptor: int
    arrays: dict[str, np.ndarray]

    @classmethod
    def create(cls, layout: Layout) -> SharedArrays:
        """Makes arrays of zeros."""
        _, size = _places(layout)
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("strathack")
        else:
            with tempfile.TemporaryFile() as file:  # has no name either; for systems without memfd_create
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, size)
        return cls.attach(descriptor, layout)

    @classmethod
    def attach(cls, descriptor: int, layout: Layout) -> SharedArrays:
        """Maps arrays that exist already."""
        places, size = _places(layout)
        memory = mmap.mmap(descriptor, size)
        arrays = {
            name: np.frombuffer(memory, dtype, prod(shape), places[name]).reshape(shape)
            for name, (shape, dtype) in layout.items()
        }
        return cls(descriptor, arrays)

    def close(self) -> None:
        """Closes the descriptor; the memory is freed with the last array."""
        os.close(self.descriptor)
