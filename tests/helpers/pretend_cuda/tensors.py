"""Tensors of pretend CUDA, and what they count."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from pretend_cuda import streams
from pretend_cuda.counts import CALLS, COPIED, note, place

CUDA = torch.device("cuda", 0)

_SHAPED_BY_VALUES = frozenset(
    ["nonzero", "_unique2", "unique_dim", "unique_consecutive", "masked_select", "bincount", "repeat_interleave"]
)
_READING = frozenset(["_local_scalar_dense", "equal", "is_nonzero"])
_INDEXING = frozenset(["index", "index_put", "index_put_", "_index_put_impl_"])
_MEMORY: dict[int, streams.Memory] = {}
_PINNED: list[Tensor] = []
_GUARD: list[Any] = []


class MixedDevicesError(RuntimeError):
    """An operation on tensors of both devices."""


class CudaTensor(torch.Tensor):
    """A tensor that says ``cuda:0``; its values are in ``elem``, on the CPU."""

    elem: Tensor

    @staticmethod
    def __new__(cls, elem: Tensor) -> CudaTensor:
        made: CudaTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, elem.size(), strides=elem.stride(), storage_offset=elem.storage_offset(), dtype=elem.dtype,
            layout=elem.layout, device=CUDA,
        )  # fmt: skip
        made.elem = elem
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"cuda({self.elem!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def tolist(self) -> Any:
        _wait("tolist")
        return self.elem.tolist()

    def numpy(self, *args: Any, **options: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def record_stream(self, stream: Any) -> None:
        memory_of(self).recorded.add(stream)


class Mode(TorchDispatchMode):
    """While it is entered, tensors are made on pretend CUDA where ``device`` says so."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name == "prim::device":
            return CUDA
        return run(func, args, kwargs or {})


def memory_of(tensor: CudaTensor) -> streams.Memory:
    """What is known of a tensor's memory."""
    return _MEMORY.setdefault(tensor.elem.untyped_storage().data_ptr(), streams.Memory(streams.current()))


def _wait(why: str) -> None:
    note(why)
    streams.current().done = streams.current().queued


def pin(tensor: Tensor) -> Tensor:
    """Marks a tensor's memory as pinned, and keeps it, so that no other tensor gets the same memory."""
    storage = tensor.untyped_storage()
    _GUARD[0].add_pinned(ctypes.c_void_p(storage.data_ptr()), ctypes.c_size_t(storage.nbytes()))
    _PINNED.append(tensor)
    return tensor


def unwrapped(value: Any) -> Any:
    return value.elem if isinstance(value, CudaTensor) else value


def run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Runs an operation on the values, after the checks that a GPU would make."""
    name = func._schema.name.partition("::")[2]
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    here = [tensor for tensor in tensors if isinstance(tensor, CudaTensor)]
    wanted = torch.device(kwargs["device"]).type if kwargs.get("device") is not None else None
    on_cuda = bool(here) or wanted == "cuda"
    if on_cuda:
        CALLS[name] += 1
        _check(name, args, here, tensors)
        _count_copies(name, args, kwargs, wanted)
    pinned = bool(kwargs.get("pin_memory"))
    values, options = tree_map(unwrapped, (args, kwargs))
    if on_cuda and wanted == "cuda":
        options["device"] = torch.device("cpu")
    if options.get("pin_memory"):
        options["pin_memory"] = None
    if name == "_pin_memory":
        return pin(args[0].clone())
    out = _EMULATED.get(name, func)(*values, **options)
    if pinned:
        return pin(out)
    if not on_cuda or wanted == "cpu" or name in _READING:
        return out
    if func._schema.is_mutable:
        return _written(func, args, kwargs, out)
    return tree_map(lambda value: _new(value, here) if isinstance(value, Tensor) else value, out)


def _check(name: str, args: tuple[Any, ...], here: list[CudaTensor], tensors: list[Tensor]) -> None:
    """Raises for a mix of devices or streams, and counts what waits."""
    others = [tensor for tensor in tensors if not isinstance(tensor, CudaTensor) and tensor.dim()]
    if here and others and name not in ("copy_", "_to_copy", *_INDEXING):
        shapes = [tuple(tensor.shape) for tensor in here], [tuple(tensor.shape) for tensor in others]
        raise MixedDevicesError(f"aten::{name} at {place()}: {shapes[0]} on cuda:0, {shapes[1]} on the CPU")
    if not isinstance(threading.current_thread(), threading._DummyThread):  # autograd's own keep to the forward's
        for tensor in here:
            memory_of(tensor).check(streams.current(), f"aten::{name} at {place()}")
    if not here:
        return
    if name in _READING or name in _SHAPED_BY_VALUES:
        _wait(name)
    if name in _INDEXING:
        indices = [index for index in args[1] if isinstance(index, Tensor)]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            _wait("index by bool")
        if any(not isinstance(index, CudaTensor) and index.dim() for index in indices):
            _wait("index on the CPU")


def _count_copies(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], wanted: str | None) -> None:
    """Counts copies between the host and the device, and waits for those that are not from or to pinned memory."""
    if name == "_to_copy":
        source, to_device = args[0], wanted == "cuda"
        # The host's end of an asynchronous copy is allocated by PyTorch, pinned.
        pinned = not to_device or source.is_pinned()
        between = wanted is not None and isinstance(source, CudaTensor) != to_device
        non_blocking = kwargs.get("non_blocking")
    elif name == "copy_":
        target, source = args[:2]
        to_device = isinstance(target, CudaTensor)
        between = isinstance(source, CudaTensor) != to_device
        pinned = between and (source if to_device else target).is_pinned()
        non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking")
    else:
        return
    if between:
        COPIED["to device" if to_device else "to host"] += source.numel() * source.element_size()
        if not (non_blocking and pinned):
            _wait("copy to the device" if to_device else "copy to the host")


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
    """Notes what was written in place, and returns the same wrappers that came in."""
    stream = streams.current()
    stream.queued += 1
    given = {**dict(zip((one.name for one in func._schema.arguments), args, strict=False)), **kwargs}
    written = [one.name for one in func._schema.arguments if one.alias_info is not None and one.alias_info.is_write]
    for value in tree_leaves([given.get(name) for name in written]):
        if isinstance(value, CudaTensor):
            memory_of(value).writes[stream] = stream.queued
    if not func._schema.returns:
        return None
    if "out" in kwargs:
        return kwargs["out"]
    first = args[0] if args else None
    if isinstance(first, Tensor) and isinstance(out, Tensor) and out is unwrapped(first):
        return first
    return tree_map(lambda value: CudaTensor(value) if isinstance(value, Tensor) else value, out)


def _new(value: Tensor, inputs: Iterable[CudaTensor]) -> CudaTensor:
    """Wraps a result; memory that no input had is new."""
    made = CudaTensor(value)
    pointer = value.untyped_storage().data_ptr()
    if all(pointer != tensor.elem.untyped_storage().data_ptr() for tensor in inputs):
        stream = streams.current()
        stream.queued += 1
        _MEMORY[pointer] = streams.Memory(stream, {stream: stream.queued})
    return made


def _lstm_cell(igates: Tensor, hgates: Tensor, cx: Tensor, b_ih: Any = None, b_hh: Any = None) -> tuple[Tensor, ...]:
    gates = igates + hgates if b_ih is None else igates + hgates + b_ih + b_hh
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cy = f * cx + i * g
    return o * cy.tanh(), cy, torch.cat([i, f, g, o], 1)


def _lstm_cell_backward(
    grad_h: Any, grad_c: Any, cx: Tensor, cy: Tensor, workspace: Tensor, has_bias: bool
) -> tuple[Tensor, ...]:
    i, f, g, o = workspace.chunk(4, 1)
    bent = cy.tanh()
    grad_h = torch.zeros_like(cy) if grad_h is None else grad_h
    through = (torch.zeros_like(cy) if grad_c is None else grad_c) + grad_h * o * (1 - bent * bent)
    gates = torch.cat(
        [
            through * g * i * (1 - i),
            through * cx * f * (1 - f),
            through * i * (1 - g * g),
            grad_h * bent * o * (1 - o),
        ],
        1,
    )
    return gates, through * f, gates.sum(0) if has_bias else gates.new_empty(0)


_EMULATED: dict[str, Callable[..., Any]] = {
    "_thnn_fused_lstm_cell": _lstm_cell,
    "_thnn_fused_lstm_cell_backward_impl": _lstm_cell_backward,
}
"""Operations that the CPU lacks."""
