"""A process that replays games for a stream, several in turn; :mod:`strathack.collect.replaying.streaming` starts it.

It is a separate process because the clock has to be held from the process's start.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from strathack.collect.replaying.replay import DepartedError, Recording, replaying
from strathack.collect.running.workplace import Workplace, die_with_parent
from strathack.dataset.errors import InputError
from strathack.dataset.schema import DIGESTED_OBSERVATIONS, FRAME_CHUNK_STEPS, OBSERVATIONS
from strathack.dataset.shard import GameData

BLOCK_STEPS = 256
"""Steps of one game that are replayed at a time, before another game takes its turn."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Open:
    """Requests a game's first block.

    Attributes:
        number: The game's number from now on.
        game: The game.
        names: The names of the requested arrays.
        start: The first requested step.
    """

    number: int
    game: GameData
    names: tuple[str, ...]
    start: int


@dataclass(frozen=True)
class More:
    """Requests a game's next block."""

    number: int


@dataclass(frozen=True)
class Close:
    """Closes a game; this request gets no answer."""

    number: int


@dataclass(frozen=True)
class Block:
    """Steps of a game, or what went wrong.

    Attributes:
        number: The game's number.
        start: The first step of the block.
        arrays: Name → [n, elements of a step].
        error: What went wrong, in one line; empty if nothing did.
    """

    number: int
    start: int
    arrays: Arrays
    error: str = ""


class _Running:
    """A game being replayed; its frames are compared with the checkpoints of the recording."""

    def __init__(self, request: Open) -> None:
        self._game, self._names = request.game, request.names
        recording = Recording.of_game(request.game)
        self._clock = recording.clock
        self._keys = [name for name in request.names if name != "rewards"]
        self._stack = ExitStack()
        self._replay = self._stack.enter_context(replaying(recording, self._keys))
        self._sha256 = {key: hashlib.sha256() for key in DIGESTED_OBSERVATIONS}
        while self._replay.step < request.start:
            self.block(min(BLOCK_STEPS, request.start - self._replay.step))

    def block(self, steps: int = BLOCK_STEPS) -> tuple[int, Arrays]:
        """Replays the next steps; returns the first of them and their arrays.

        Raises:
            DepartedError: If the replay is not the recorded game.
        """
        self._clock.hold()  # other games, which took their turns, may have another
        replay = self._replay
        start = replay.step
        # Blocks end where checkpoints do.
        count = min(steps, len(replay) - start, FRAME_CHUNK_STEPS - start % FRAME_CHUNK_STEPS)
        wanted = dict.fromkeys([*self._keys, *DIGESTED_OBSERVATIONS])
        sources = {key: replay.observation[key].reshape(-1) for key in wanted}
        arrays = {key: np.empty((count, source.size), OBSERVATIONS[key].dtype) for key, source in sources.items()}
        rewards = np.empty(count, dtype="<f4")
        pairs = [(arrays[key], source) for key, source in sources.items()]
        for row in range(count):
            for values, source in pairs:
                values[row] = source
            rewards[row] = replay.advance()
        self._check(arrays)
        given = {**arrays, "rewards": rewards}
        return start, {name: given[name].reshape(count, -1) for name in self._names}

    def _check(self, arrays: Mapping[str, np.ndarray]) -> None:
        for key, running in self._sha256.items():
            running.update(arrays[key].data)
        step = self._replay.step
        if (step % FRAME_CHUNK_STEPS and step < len(self._replay)) or not len(self._game.checkpoints):
            return
        digest = hashlib.sha256(b"".join(running.digest() for running in self._sha256.values())).digest()
        index = (step - 1) // FRAME_CHUNK_STEPS
        if int.from_bytes(digest[:8], "little") != int(self._game.checkpoints[index]):
            first = index * FRAME_CHUNK_STEPS
            raise DepartedError(first, f"its replay shows other frames, first between steps {first} and {step - 1}")

    def close(self) -> None:
        """Ends the game."""
        self._stack.close()


class Server:
    """Answers requests in the order in which they come."""

    def __init__(self) -> None:
        self._running: dict[int, _Running] = {}

    def answer(self, request: Open | More | Close) -> Block | None:
        """Answers a request; returns None to :class:`Close`."""
        if isinstance(request, Close):
            running = self._running.pop(request.number, None)
            if running is not None:
                running.close()
            return None
        try:
            if isinstance(request, Open):
                self._running[request.number] = _Running(request)
            return Block(request.number, *self._running[request.number].block())
        except (DepartedError, InputError) as error:
            return Block(request.number, 0, {}, str(error))


def main() -> None:
    """Serves a connection until it closes. The arguments are its descriptor and the parent's process id."""
    die_with_parent(int(sys.argv[2]))
    connection, server, workplace = Connection(int(sys.argv[1])), Server(), Workplace()
    try:
        while True:
            block = server.answer(connection.recv())
            if block is not None:
                connection.send(block)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the stream has closed the connection
    finally:
        workplace.close()
