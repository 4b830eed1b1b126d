"""How a rollout worker and its learner communicate: by messages over a socket, with frames in shared memory.

The learner sends which env group to step on which row of which slot; the worker answers once this is done. A message
is a header of fixed size and, from the worker, a content: games that ended, their shards, errors.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

from strathack.dataset.errors import InputError, RunError
from strathack.rl.acting.memory import Layout, SharedArrays, group_layout
from strathack.rl.environments.stepping import EnvGroup, LaneSpec, MakeRecord, make_group

COMMAND = struct.Struct("<BHHH")
"""From learner to worker: the command, env group, slot, row."""

REPLY = struct.Struct("<BHHHI")
"""From worker to learner: the kind of reply, env group, slot, row, number of bytes that follow."""

AT_ONCE = 1 << 16
"""Largest number of bytes that are received at once."""

SEED = struct.Struct("<q")
"""The seed, which precedes the shard in a message."""

MOST_DESCRIPTORS = 253
"""File descriptors that Linux passes on in one message (SCM_MAX_FD)."""

HELLO = struct.Struct("<II")
"""A worker's first message: its number and its generation."""


class Command(IntEnum):
    """What a learner asks a rollout worker to do."""

    BEGIN = 0
    STEP = 1
    STOP = 2


class Reply(IntEnum):
    """The kinds of messages that a rollout worker sends."""

    READY = 0
    PLAYED = 1
    SHARD = 2
    REFUSED = 3
    FAILED = 4


@dataclass(frozen=True)
class WorkerSpec:
    """What a rollout worker does; it is sent to the worker's process.

    Attributes:
        lane: What each lane plays.
        groups: Number of env groups.
        envs: Environments in each env group.
        steps: Steps of an unroll.
        slots: Number of unrolls that each env group has room for.
        make_record: Begins the record of a game; None records no games.
        awake_seconds: How long the worker waits for a command without sleeping. Environments step a third slower on a
            core that has slept; but if there are fewer cores than threads, other threads need the core.
    """

    lane: LaneSpec
    groups: int
    envs: int
    steps: int
    slots: int = 3
    make_record: MakeRecord | None = None
    awake_seconds: float = 0.0

    @property
    def layout(self) -> Layout:
        """The layout of an env group's arrays."""
        return group_layout(self.slots, self.steps, self.envs, self.lane.observations)

    def make_group(self, place: tuple[int, ...], arrays: Mapping[str, np.ndarray]) -> EnvGroup:
        """Makes an env group in a worker's process.

        Args:
            place: The place of the env group; together with a lane's index it decides the lane's seeds.
            arrays: The arrays of the env group.
        """
        return make_group(
            self.lane, [self.lane.seeds(*place, lane) for lane in range(self.envs)], arrays, self.make_record
        )


def act(path: Path, spec: WorkerSpec, number: int, generation: int) -> None:
    """Runs a rollout worker until the learner closes the connection.

    Args:
        path: The learner's socket.
        spec: What to do.
        number: The worker's number.
        generation: How many workers had this number before.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        connection.sendall(HELLO.pack(number, generation))
        descriptors: list[int] = []
        while len(descriptors) < spec.groups:
            came, some, _, _ = socket.recv_fds(connection, 1, MOST_DESCRIPTORS)
            if not came:
                return  # the learner has ended
            if not some:
                said = f"{spec.groups} env groups need more open files than a process may have here"
                _say(connection, Reply.REFUSED, said.encode())
                return
            descriptors += some
        shared = [SharedArrays.attach(descriptor, spec.layout) for descriptor in descriptors]
        groups: list[EnvGroup] = []
        try:
            for index, arrays in enumerate(shared):
                groups.append(spec.make_group((number, generation, index), arrays.arrays))
            _converse(connection, groups, spec.awake_seconds)
        except (InputError, RunError) as error:
            _say(connection, Reply.REFUSED, str(error).encode())
        except (BrokenPipeError, ConnectionResetError):
            pass  # the learner has ended
        except Exception as error:  # noqa: BLE001  (foreign environments may raise anything; another worker begins anew)
            _say(connection, Reply.FAILED, f"{type(error).__name__}: {error}".encode())
        finally:
            for one in groups:
                one.close()
            for arrays in shared:
                arrays.close()


def _converse(connection: socket.socket, groups: list[EnvGroup], awake_seconds: float) -> None:
    while command := _next_command(connection, awake_seconds):
        what, index, slot, row = COMMAND.unpack(command)
        one = groups[index]
        if what == Command.BEGIN:
            played, shown = one.begin(slot), 0
        elif what == Command.STOP:
            played, shown = one.stop(slot, row), one.row_after(row)
        else:
            played, shown = one.step(slot, row), one.row_after(row)
        words = []
        for game in played:
            words.append(_message(Reply.PLAYED, json.dumps(asdict(game)).encode()))
        for lane in one.lanes:
            words += [_message(Reply.SHARD, SEED.pack(seed) + shard) for seed, shard in lane.finished]
            lane.finished.clear()
        words.append(_message(Reply.READY, b"", index, slot, shown))
        connection.sendall(b"".join(words))


def _next_command(connection: socket.socket, awake_seconds: float) -> bytes:
    """Waits for a command, at first without sleeping."""
    patience = time.monotonic() + awake_seconds
    while time.monotonic() < patience:
        with suppress(BlockingIOError):
            command = connection.recv(COMMAND.size, socket.MSG_DONTWAIT)
            return command + receive(connection, COMMAND.size - len(command)) if command else b""
    return receive(connection, COMMAND.size)


def receive(connection: socket.socket, size: int) -> bytes:
    """Receives exactly ``size`` bytes; returns none if the other side has ended."""
    parts = []
    while size:
        part = connection.recv(size)
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _message(kind: Reply, content: bytes, *place: int) -> bytes:
    return REPLY.pack(kind, *(place or (0, 0, 0)), len(content)) + content


def _say(connection: socket.socket, kind: Reply, content: bytes) -> None:
    with suppress(OSError):  # the other side may have ended
        connection.sendall(_message(kind, content))


class MessageReader:
    """Reads the messages of a rollout worker, as many at once as have arrived.

    Args:
        connection: The learner's end of the socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._heard = bytearray()

    def messages(self) -> list[tuple[Reply, tuple[int, int, int], bytes]] | None:
        """Returns the kind, the env group, slot and row, and the content of each; None if the worker has ended."""
        part = self._connection.recv(AT_ONCE)
        if not part:
            return None
        heard = self._heard
        heard += part
        messages, start = [], 0
        while len(heard) >= start + REPLY.size:
            kind, index, slot, row, size = REPLY.unpack_from(heard, start)
            end = start + REPLY.size + size
            if len(heard) < end:
                break
            messages.append((Reply(kind), (index, slot, row), bytes(heard[start + REPLY.size : end])))
            start = end
        del heard[:start]
        return messages
