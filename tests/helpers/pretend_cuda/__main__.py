"""Runs functions in a world with a GPU; see the package."""

import ctypes
import importlib
import importlib.util
import json
import sys
from pathlib import Path


def load(guard: str) -> ctypes.CDLL:
    """Registers the stand-in with PyTorch's libraries, before PyTorch itself is imported."""
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.origin is not None
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(Path(found.origin).parent / "lib" / name), ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(guard, ctypes.RTLD_GLOBAL)
    library.register_guard()
    return library


if __name__ == "__main__":
    library = load(sys.argv[1])
    from pretend_cuda import world

    results = []
    with world.entered(library):
        for function, *arguments in json.loads(sys.argv[2]):
            module, name = function.split(":")
            results.append(getattr(importlib.import_module(module), name)(*arguments))
    print(json.dumps(results))
