"""A rollout worker's side of the conversation with its learner: a socket for messages, shared memory for frames.

The learner says which env group is to be stepped on which row of which slot; the worker answers when it is. Messages
are a fixed head and, from the worker, a content: games that ended, their shards, what went wrong.
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
"""Learner to worker: what to do, env group, slot, row."""

REPLY = struct.Struct("<BHHHI")
"""ActingPolicy to learner: what this is, env group, slot, row, bytes that follow."""

AT_ONCE = 1 << 16
"""Bytes that are heard at once."""

SEED = struct.Struct("<q")
"""What a shard is sent after."""

HELLO = struct.Struct("<II")
"""A worker's first words: its number and its generation."""


class Command(IntEnum):
    """What a learner asks for."""

    BEGIN = 0
    STEP = 1


class Reply(IntEnum):
    """What a worker says."""

    READY = 0
    PLAYED = 1
    SHARD = 2
    REFUSED = 3
    FAILED = 4


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker does; it travels to its process.

    Attributes:
        lane: What is played.
        groups: Groups of environments.
        envs: Environments of an env group.
        steps: Steps of an unroll.
        slots: Unrolls that an env group has room for.
        make_record: Takes games down; None keeps none.
        awake_seconds: How long it waits for a command without sleeping. Environments step a third slower on a core
            that has slept; where there are fewer cores than threads, though, others have use for it.
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
        """The arrays of an env group."""
        return group_layout(self.slots, self.steps, self.envs, self.lane.observations)

    def make_group(self, place: tuple[int, ...], arrays: Mapping[str, np.ndarray]) -> EnvGroup:
        """An env group in a worker's process.

        Args:
            place: Its place, which with a lane's decides the lane's seeds.
            arrays: Its arrays.
        """
        return make_group(
            self.lane, [self.lane.seeds(*place, lane) for lane in range(self.envs)], arrays, self.make_record
        )


def act(path: Path, spec: WorkerSpec, number: int, generation: int) -> None:
    """Is a worker until the learner ends the conversation.

    Args:
        path: The learner's socket.
        spec: What to do.
        number: The worker's number.
        generation: How many workers of this number were before.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        connection.sendall(HELLO.pack(number, generation))
        _, descriptors, _, _ = socket.recv_fds(connection, 1, spec.groups)
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
    """Exactly so many bytes; none where the other side has ended."""
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
    with suppress(OSError):  # perhaps nobody listens any more
        connection.sendall(_message(kind, content))


class MessageReader:
    """Hears what a worker says, as many messages at once as have come.

    Args:
        connection: The learner's end.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._heard = bytearray()

    def messages(self) -> list[tuple[Reply, tuple[int, int, int], bytes]] | None:
        """What each is, env group, slot and row, and its content; None where the worker has ended."""
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
