"""What several tests need: the shared folder, the command line in a process of its own, a look for leftovers."""

from __future__ import annotations

import os
import random
import shutil
import string
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from hub import Hub
from hypothesis import settings
from pretend_cuda import build

from strathack import cli

# How long an example takes is decided by what else the machine does.
settings.register_profile("strathack", deadline=None)
settings.load_profile("strathack")


@pytest.fixture
def shared() -> Path:
    """The folder shared by every developer, with published games."""
    path = Path(os.environ.get("STRATHACK_SHARED", Path(__file__).parents[2] / "shared"))
    if not (path / "fixtures").is_dir():
        pytest.skip(f"no shared folder at {path}; STRATHACK_SHARED names another")
    return path


@pytest.fixture(scope="session")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for CUDA in processes of their own, compiled once; see tests/helpers/pretend_cuda."""
    return build(tmp_path_factory.mktemp("guard"))


@dataclass
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a refused request prints."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., Ended]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts ``strathack`` with some words, in a session of its own; what still runs is killed at the end."""
    processes = []

    def start(*words: object, prefix: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "strathack", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **options,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def run(start: Start) -> Run:
    """Runs ``strathack`` with some words to its end."""

    def run(*words: object, timeout: float = 240, **options: Any) -> Ended:
        process = start(*words, **options)
        out, err = process.communicate(timeout=timeout)
        return Ended(process.returncode, out, err)

    return run


@pytest.fixture
def run_here(capsys: pytest.CaptureFixture[str]) -> Run:
    """As ``run``, in this process, which has imported already what takes a new one many seconds."""

    def run(*words: object) -> Ended:
        capsys.readouterr()
        try:
            status = cli.main([*map(str, words)])
        except SystemExit as error:
            status = int(error.code or 0)
        return Ended(status, *capsys.readouterr())

    return run


_MARK = "STRATHACK_TESTS"
"""An environment variable by which all that these tests start is told from what others run beside them."""


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Lets PyTorch compute in one thread: for small tensors beside other work, two take up to fifteen times as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Sets one thread in this process before each test, as commands that a test ran here may have set more."""
    if "torch" in sys.modules:  # which has read the variable already
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_surroundings() -> Iterator[None]:
    """Marks the processes that tests start, and gives them a folder for temporary files of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(_MARK, uuid.uuid4().hex)
        folder = _short_folder()
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def unhurried() -> Iterator[None]:
    """Does not wait until files are on the disk: no test cuts the power, and thousands of them are written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def _short_folder() -> Path:
    """A new folder whose path is short enough for Ray's sockets, which other temporary folders are not."""
    letters = string.ascii_letters + string.digits
    while True:
        folder = Path("/tmp", "".join(random.SystemRandom().choices(letters, k=2)))
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            return folder


def _is_ours(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.environ().get(_MARK) == os.environ[_MARK] and process.pid != os.getpid()
    return False


def _leftovers() -> set[str]:
    temporary = Path(os.environ["TMPDIR"])
    folders = {str(p) for pattern in ("strathack-*", "nle*") for p in temporary.glob(pattern)}
    # Of processes that are gone; what runs looks after its own.
    shared = (path for path in Path("/dev/shm").glob("*faketime*"))
    memory = {str(path) for path in shared if not psutil.pid_exists(int(path.name.rpartition("_")[2] or 0))}
    processes = set()
    for process in filter(_is_ours, psutil.process_iter()):
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if any(mark in words for mark in ("ray::", "raylet", "gcs_server", "janitor.py", "-m strathack")):
                processes.add(f"{process.pid}: {words[:120]}")
    return folders | memory | processes


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails if a test leaves processes, temporary folders or shared memory behind (some seconds are granted)."""
    before = _leftovers()
    yield
    deadline = time.monotonic() + 15
    while (left := _leftovers() - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub, which this process's huggingface_hub uses, and a cache of datasets of its own."""
    fsspec = pytest.importorskip("fsspec")
    client = pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("STRATHACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("strathack.dataset.remote.stores.PAUSE", 0.01)

    def forget() -> None:  # what file systems remember of another hub
        client.HfFileSystem.clear_instance_cache()
        fsspec.get_filesystem_class("http").clear_instance_cache()

    with Hub(tmp_path / "hub") as running:
        for name, value in running.patches().items():
            monkeypatch.setattr(name, value)
        forget()
        yield running
    forget()
    client.close_session()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (not root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
