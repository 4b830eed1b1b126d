"""Pretend CUDA: tensors that say ``cuda:0`` and are computed on the CPU, for tests on machines without a GPU.

The values are real; what a GPU would refuse is refused, and what would make the host wait for a GPU is counted:

- An operation on tensors of both devices raises :class:`MixedDevicesError`.
- A tensor that is used on one stream while another stream may still write or recycle it raises
  :class:`UnorderedStreamsError`.
- :data:`counts.WAITS` counts, by place in the source, reads of values, operations whose result has a shape that
  depends on values, copies between pageable memory and the device, and waits for events and streams.

The stand-in has to be registered before PyTorch is imported, so it lives in processes of its own::

    python -m pretend_cuda GUARD.so '[["MODULE:FUNCTION", "ARGUMENT", …], …]'

calls functions in such a process and prints what they return as JSON on the last line; :func:`build` makes the guard.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def build(folder: Path) -> Path:
    """Compiles the guard, in some seconds; skips the test where there is no C++ compiler."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("pretend CUDA is compiled, and there is no C++ compiler here")
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        pytest.skip("pretend CUDA needs PyTorch")
    torch, library = Path(found.origin).parent, folder / "guard.so"
    include = torch / "include"
    words = [
        compiler, "-shared", "-fPIC", "-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=1", f"-I{include}",
        f"-I{include / 'torch/csrc/api/include'}", str(HERE / "guard.cpp"), "-o", str(library), f"-L{torch / 'lib'}",
        "-lc10", "-ltorch_cpu",
    ]  # fmt: skip
    subprocess.run(words, check=True, capture_output=True, text=True)
    return library


def call(guard: Path, function: str, *arguments: object) -> Any:
    """Calls a function (``module:name``, its module among the tests' helpers) in a process with pretend CUDA."""
    return call_all(guard, [(function, *arguments)])[0]


def call_all(guard: Path, calls: Sequence[tuple[object, ...]], timeout: float = 1200) -> list[Any]:
    """Calls functions one after another in one process with pretend CUDA: its imports take longer than most of them."""
    words = [sys.executable, "-m", "pretend_cuda", str(guard), json.dumps([list(map(str, words)) for words in calls])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])}
    ended = subprocess.run(words, capture_output=True, text=True, timeout=timeout, env=environment)
    assert ended.returncode == 0, ended.stderr[-6000:]
    return json.loads(ended.stdout.strip().splitlines()[-1])
