"""Memory that a learner shares with its workers: frames are written where they are learned from, never pickled."""

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
"""The arrays of an env group that are no observations."""


def group_layout(slots: int, steps: int, lanes: int, observations: tuple[str, ...]) -> Layout:
    """The arrays of an env group, [slots, T + 1, lanes, …]; a slot holds an unroll.

    Row t of a slot is a frame and what was done on it:

    - the observations,
    - ``first``: a game starts at this frame,
    - ``acted``: an action was taken on it; not so on what a game that was cut came to,
    - ``previous_action``: the action before it, 255 where there was none,
    - ``actions``, ``strategy`` (255 for none): what was chosen on it,
    - ``rewards``, ``ended``: what followed.

    The last row is the frame after the last step, and the next unroll's first.

    Args:
        slots: Unrolls that are filled, wait, or are learned from.
        steps: T.
        lanes: Environments.
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
    """Arrays in memory that has no name: it is gone when the last process that holds it is, however they end.

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
            with tempfile.TemporaryFile() as file:  # as nameless, where there is no such call
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, size)
        return cls.attach(descriptor, layout)

    @classmethod
    def attach(cls, descriptor: int, layout: Layout) -> SharedArrays:
        """Maps arrays that were made."""
        places, size = _places(layout)
        memory = mmap.mmap(descriptor, size)
        arrays = {
            name: np.frombuffer(memory, dtype, prod(shape), places[name]).reshape(shape)
            for name, (shape, dtype) in layout.items()
        }
        return cls(descriptor, arrays)

    def close(self) -> None:
        """Lets go of the descriptor; the memory goes with the last array."""
        os.close(self.descriptor)
