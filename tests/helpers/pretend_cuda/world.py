"""Makes a process believe that it has one GPU."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch

from pretend_cuda import streams, tensors

PROPERTIES = SimpleNamespace(
    name="Pretend", major=9, minor=0, multi_processor_count=132, total_memory=80 << 30, L2_cache_size=50 << 20
)
_state = [torch.zeros(16, dtype=torch.uint8)]


def _set_state(state: torch.Tensor, device: Any = None) -> None:
    if type(state) is not torch.Tensor:
        raise TypeError("a random state is set from the CPU")
    _state[0] = state.clone()


_FUNCTIONS: dict[str, Any] = {
    "_lazy_init": lambda: None,
    "is_available": lambda: True,
    "is_bf16_supported": lambda *args, **options: True,
    "device_count": lambda: 1,
    "set_device": lambda *args: None,
    "current_device": lambda: 0,
    "empty_cache": lambda: None,
    "memory_allocated": lambda *args: 0,
    "max_memory_allocated": lambda *args: 0,
    "reset_peak_memory_stats": lambda *args: None,
    "get_device_capability": lambda *args: (PROPERTIES.major, PROPERTIES.minor),
    "get_device_name": lambda *args: PROPERTIES.name,
    "get_device_properties": lambda *args: PROPERTIES,
    "get_rng_state": lambda device=None: _state[0].clone(),
    "set_rng_state": _set_state,
    "get_rng_state_all": lambda: [_state[0].clone()],
    "set_rng_state_all": lambda states: _set_state(states[0]),
    "manual_seed": lambda seed: None,
    "manual_seed_all": lambda seed: None,
    "synchronize": lambda *args: streams.current().synchronize(),
    "Stream": streams.Stream,
    "Event": streams.Event,
    "stream": streams.entered,
    "current_stream": streams.current,
    "default_stream": lambda device=None: streams.DEFAULT,
}
"""What replaces functions of ``torch.cuda``."""


def _no_inference_mode(mode: Any = True) -> Any:
    """What replaces ``torch.inference_mode``, whose tensors cannot be wrapped."""
    if callable(mode):
        return torch.no_grad()(mode)
    return torch.no_grad() if mode else nullcontext()


@contextmanager
def entered(guard: Any) -> Iterator[None]:
    """Within, and in threads that are started within, there is one GPU; for the rest of the process's life.

    Args:
        guard: The library that is registered as the device.
    """
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    tensors._GUARD.append(guard)
    for name, value in _FUNCTIONS.items():
        setattr(torch.cuda, name, value)
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    torch.inference_mode = _no_inference_mode  # type: ignore[assignment,misc]
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch.backends.cudnn.is_acceptable = lambda tensor: False  # type: ignore[assignment]  # flatten_parameters asks
    train = torch.nn.Module.train

    def train_lasting(self: torch.nn.Module, mode: bool = True) -> torch.nn.Module:
        for tensor in (*self.parameters(), *self.buffers()):
            if isinstance(tensor, tensors.CudaTensor):
                tensors.memory_of(tensor).lasting = True
        return train(self, mode)

    torch.nn.Module.train = train_lasting  # type: ignore[method-assign,assignment]
    run = threading.Thread.run

    def run_in_mode(self: threading.Thread) -> None:
        torch._C._set_only_lift_cpu_tensors(True)
        with tensors.Mode():
            run(self)

    threading.Thread.run = run_in_mode  # type: ignore[method-assign]
    torch._C._set_only_lift_cpu_tensors(True)
    with tensors.Mode():
        yield
