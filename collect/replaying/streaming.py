"""Frames of keys-only games for a stream: processes replay the games while the stream reads them."""

from __future__ import annotations

import itertools
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from multiprocessing.connection import Connection
from types import TracebackType

import numpy as np

from strathack.collect.playing.clock import DEFAULT_CLOCK
from strathack.collect.replaying.server import Block, Close, More, Open
from strathack.collect.running.workplace import usable_cores
from strathack.dataset.errors import CorruptionError, InputError, RunError
from strathack.dataset.frames import FrameReader, StoredFrames
from strathack.dataset.keys import keys_only
from strathack.dataset.reading import Game

_SERVER = "from strathack.collect.replaying.server import main; main()"
"""Not ``python -m``, under which the classes of requests would be different ones."""


class ReplayedFrames(AbstractContextManager["ReplayedFrames"]):
    """A :class:`strathack.dataset.frames.FrameSource` that replays games in separate processes.

    The frames equal those of the expanded dataset, bit for bit; while they are replayed, they are compared with the
    digests in the keys-only dataset.

    Args:
        processes: Number of processes; by default one per core.

    Examples:
        >>> with ReplayedFrames() as frames:
        ...     for batch in unrolls(dataset, lanes=32, steps=32, observations=["tty_chars"], frames=frames):
        ...         learn(batch)
    """

    def __init__(self, processes: int | None = None) -> None:
        if processes is not None and processes < 1:
            raise InputError(f"processes: {processes} is below 1")
        environment = DEFAULT_CLOCK.environment()
        self._processes = [_Process(environment) for _ in range(processes or usable_cores())]
        self._lock = threading.Lock()

    def open(self, game: Game, names: Sequence[str], start: int) -> ReplayedReader:
        """Opens a game in the process with the fewest open games; see :class:`strathack.dataset.frames.FrameSource`."""
        keys = keys_only(game)
        with self._lock:
            process = min(self._processes, key=lambda candidate: candidate.open_games)
            process.take()
        return ReplayedReader(process, game, Open(process.next_number(), keys, tuple(names), start))

    def close(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Process:
    """A replaying process, and the thread that distributes the blocks that it sends."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, queue.SimpleQueue[Block | None]] = {}
        self.open_games = 0
        started: Future[subprocess.Popen[bytes]] = Future()
        self._receiver = threading.Thread(
            target=self._run, args=(theirs, environment, started), name="strathack-replayed", daemon=True
        )
        self._receiver.start()
        self._process = started.result()

    def next_number(self) -> int:
        """Returns a new number for a game."""
        return next(self._numbers)

    def send(self, request: Open | More | Close) -> None:
        """Sends a request.

        Raises:
            RunError: If the process is gone.
        """
        if isinstance(request, Open):
            self._waiting[request.number] = queue.SimpleQueue()
        try:
            with self._sending:
                self._connection.send(request)
        except OSError as error:
            raise self.gone() from error

    def take(self) -> None:
        """Counts a game that is about to be opened."""
        with self._sending:
            self.open_games += 1

    def block(self, number: int) -> Block:
        """Waits for a game's next block and returns it.

        Raises:
            RunError: If the process is gone.
        """
        block = self._waiting[number].get()
        if block is None:
            raise self.gone()
        return block

    def forget(self, number: int) -> None:
        """Closes a game, if the process still runs."""
        with suppress(RunError):
            self.send(Close(number))
        self._waiting.pop(number, None)
        with self._sending:
            self.open_games -= 1

    def gone(self) -> RunError:
        """Returns the error that reports that the process is gone."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        return RunError(f"a replaying process is gone (exit status {self._process.poll()})")

    def _run(
        self, theirs: socket.socket, environment: Mapping[str, str], started: Future[subprocess.Popen[bytes]]
    ) -> None:
        # The process dies with the thread that starts it; the one that needs it first may be a short-lived one.
        with theirs:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-c", _SERVER, str(theirs.fileno()), str(os.getpid())],
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                )
            except Exception as error:  # noqa: BLE001  (raised again by whoever waits for the process)
                started.set_exception(error)
                return
        started.set_result(process)
        self._receive()
        with suppress(subprocess.TimeoutExpired):  # or it would be killed before it has ended
            process.wait(10)

    def _receive(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                block = self._connection.recv()
                waiting = self._waiting.get(block.number)
                if waiting is not None:
                    waiting.put(block)
        for waiting in list(self._waiting.values()):
            waiting.put(None)

    def close(self) -> None:
        """Shuts the connection, which ends the process, and waits for its end."""
        with suppress(OSError):
            socket.socket(fileno=os.dup(self._connection.fileno())).shutdown(socket.SHUT_RDWR)
        self._receiver.join()
        self._connection.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ReplayedReader:
    """Reads one game; while a block is being read, the next one is requested already.

    Args:
        process: The process that replays the game.
        game: The game.
        request: The request that opens it.
    """

    def __init__(self, process: _Process, game: Game, request: Open) -> None:
        self._process, self._game, self._number = process, game, request.number
        self._start, self._stop = request.start, request.start
        self._arrays: Mapping[str, np.ndarray] = {}
        self._asked = request.start < len(game)
        if self._asked:
            process.send(request)

    def copy(self, start: int, stop: int, out: Mapping[str, np.ndarray]) -> None:
        """Copies steps; see :class:`strathack.dataset.frames.FrameReader`.

        Raises:
            CorruptionError: If the replay is not the recorded game.
            RunError: If the process is gone.
        """
        at = start
        while at < stop:
            while at >= self._stop:
                self._next()
            count = min(self._stop, stop) - at
            for name, target in out.items():
                target[at - start : at - start + count] = self._arrays[name][at - self._start :][:count]
            at += count

    def _next(self) -> None:
        block = self._process.block(self._number)
        if block.error:
            raise CorruptionError(f"{self._game.place}: {self._game.name}: {block.error}")
        self._arrays = block.arrays
        self._start = block.start
        self._stop = block.start + len(next(iter(block.arrays.values())))
        if self._stop < len(self._game):
            self._process.send(More(self._number))

    def close(self) -> None:
        """Closes the game."""
        if self._asked:
            self._process.forget(self._number)


class AnyFrames(AbstractContextManager["AnyFrames"]):
    """A :class:`strathack.dataset.frames.FrameSource` that reads stored frames, and replays games that have none.

    The processes that replay are started when the first game needs one.

    Args:
        processes: Number of processes; by default one per core.
    """

    def __init__(self, processes: int | None = None) -> None:
        self._processes = processes
        self._replayed: ReplayedFrames | None = None
        self._starting = threading.Lock()  # since threads that fill a batch open games at the same time

    def open(self, game: Game, names: Sequence[str], start: int) -> FrameReader:
        """Opens a game; see :class:`strathack.dataset.frames.FrameSource`."""
        if all(name in game.obs or name in game.arrays for name in names):
            return StoredFrames().open(game, names, start)
        with self._starting:
            if self._replayed is None:
                self._replayed = ReplayedFrames(self._processes)
        return self._replayed.open(game, names, start)

    def close(self) -> None:
        """Ends the processes; they are started again if they are needed again."""
        if self._replayed is not None:
            self._replayed.close()
            self._replayed = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
