"""A Ray cluster to work on: one that runs already, or one of our own on this machine."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from strathack.collect.running.janitor import Scratch, scratch_for_sockets, sweep_shared_memory
from strathack.dataset.errors import InputError, first_line
from strathack.dataset.signals import STOP_SIGNALS, Interrupted, in_main_thread

OBJECT_STORE_BYTES = 256 << 20
"""Shared memory of our own Ray node; finished games pass through it, a megabyte or two each."""

_WORKER_NICENESS = "RAY_worker_niceness"


_BELOW = 77
"""About how many characters Ray adds to the path of its folder for its sockets."""


class Cluster:
    """A connection to a Ray cluster. If the program is connected already, that connection is used and left open.

    Args:
        workers: Number of cores of a cluster of our own; None for all cores of this machine.
        address: Address of a running cluster, or None to start one on this machine for this run alone.
        niceness: Niceness of the worker processes of a cluster of our own; None for Ray's default, 15.

    Attributes:
        ray: The module ``ray``, connected.

    Raises:
        InputError: If no cluster answers at the address, or the program is connected to a cluster already.
        Interrupted: If SIGTERM arrives while the cluster starts.
    """

    def __init__(self, workers: int | None, address: str | None, niceness: int | None = None) -> None:
        self.ray = _import_ray()
        self._scratch: Scratch | None = None
        self._since = time.time() - 1
        self._connected_here = not self.ray.is_initialized()
        if not self._connected_here:
            if address is not None:
                raise InputError("address: this program is connected to a Ray cluster already; leave the address out")
            return
        try:
            with _own_handlers():
                if address is None:
                    self._scratch = scratch_for_sockets(_BELOW)
                    with _told(_WORKER_NICENESS, niceness), _told_token():
                        self._connect(workers, address)
                else:
                    self._connect(workers, address)
        except BaseException:
            self.close()
            raise

    def _connect(self, workers: int | None, address: str | None) -> None:
        if self._scratch is not None:
            self.ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(self._scratch.path),
            )
            return
        assert address is not None, "a cluster is ours or at an address"
        check_address(address)
        try:
            self.ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(f"address: no Ray cluster at {address!r} ({first_line(error)})") from error

    def close(self) -> None:
        """Ends the connection if it was made here, and our cluster if we started one; removes what the cluster left."""
        try:
            if self._connected_here:
                self.ray.shutdown()
        finally:
            if self._scratch is not None:
                self._scratch.close()
            else:  # workers that were killed while they started (their node left, say) leave names behind
                sweep_shared_memory(self._since)


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Restores our signal handlers after Ray's start, which replaces our handler for SIGTERM.

    Raises:
        Interrupted: If SIGTERM arrived meanwhile.
    """
    if not in_main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    except SystemExit as error:
        if error.code != signal.SIGTERM:
            raise
        raise Interrupted(signal.SIGTERM) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def _told(name: str, value: object) -> Iterator[None]:
    """Sets an environment variable for a cluster that starts in this context; a value that the user has set stays."""
    told = value is not None and name not in os.environ
    if told:
        os.environ[name] = str(value)
    try:
        yield
    finally:
        if told:
            del os.environ[name]


@contextmanager
def _told_token() -> Iterator[None]:
    """Gives our cluster a token; otherwise Ray would store one in the home folder, which may not be writable."""
    given = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    with _told("RAY_AUTH_TOKEN", None if given else _token()):
        yield


@cache
def _token() -> str:
    """Returns one token for all clusters of this process, since Ray reads the token only once."""
    return secrets.token_hex(32)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Otherwise Ray would print a C++ trace at a SIGTERM, by which schedulers end processes.
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
    import ray
    import ray.exceptions

    return ray


def check_address(address: str) -> None:
    """Checks that something listens at a cluster's address; Ray itself would try for minutes.

    Raises:
        InputError: If nothing listens there, or the address is not of the form host:port.
    """
    if address == "auto":
        return  # Ray answers at once
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"address: {address!r} is neither 'auto' nor host:port")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"address: no Ray cluster at {address!r} ({error})") from error
