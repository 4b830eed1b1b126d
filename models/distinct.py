"""Distinct groups of cells: a function of a few cells is computed once for each distinct group in a batch.

On CPUs, kernels compiled by numba find the distinct groups. On other devices every group counts as distinct, since
finding them would make the host wait for the device, and give shapes that differ from batch to batch.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (as everywhere)

_FACTORS = np.random.default_rng(0).integers(0, 2**64, 32, dtype=np.uint64) | np.uint64(1)
"""Factors of a hash's words, random and odd."""

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ / golden ratio, odd: multiplying by it spreads differences to the high bits (Knuth, TAOCP 3, 6.4)."""


def is_worth_finding(device: torch.device) -> bool:
    """Returns whether equal groups are looked for on a device."""
    return device.type == "cpu"


def distinct(windows: Tensor, lanes: int | None = None) -> tuple[Tensor, Tensor]:
    """Returns the distinct groups of cells, and which of them stands at each place.

    Args:
        windows: Groups of cells, i64 [N, rows, columns, height, width]; may be a view that overlaps itself.
        lanes: Frame n − ``lanes`` is the one before frame n, so that much of both is the same; None if that is not
            known.

    Returns:
        The distinct groups, i64 [U, height · width], in the order in which they occur first, and then zeros; and for
        each place the index of its group, i32 [N, rows, columns]. The zeros make U one of few numbers, since oneDNN
        compiles a product of 16-bit matrices anew for every shape.
    """
    if not is_worth_finding(windows.device):
        groups = windows.flatten(3).flatten(0, 2)
        which = torch.arange(len(groups), dtype=torch.int32, device=windows.device)
        return groups, which.view(windows.shape[:3])
    groups, which = _distinct(windows.numpy(), len(windows) if lanes is None else lanes)
    return torch.from_numpy(groups), torch.from_numpy(which)


def copied(results: Tensor, which: Tensor) -> Tensor:
    """Copies rows by index, as ``results[which]``, with a backward pass that keeps the precision of many copies.

    The gradients of all copies of a row are added in 32 bits, whatever the rows' type.

    Args:
        results: [U, C].
        which: i32 [P].

    Returns:
        [P, C], in the type of ``results``.
    """
    copies: Tensor = _Copied.apply(results, which)
    return copies


class _Copied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, results: Tensor, which: Tensor) -> Tensor:
        ctx.save_for_backward(which)
        ctx.rows = len(results)
        return results.index_select(0, which)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (which,), (gradient,) = ctx.saved_tensors, gradients
        if not is_worth_finding(which.device):
            sums = gradient.new_zeros(ctx.rows, gradient.shape[1], dtype=torch.float32)
            return sums.index_add_(0, which, gradient.float()).to(gradient.dtype), None
        order, offsets = (torch.from_numpy(array) for array in _sorted_places(which.numpy(), ctx.rows))
        return F.embedding_bag(order, gradient.contiguous(), offsets, mode="sum"), None


@numba.njit("u8(i8[:,:,:,:,:],i8,i8,i8)", cache=True, nogil=True)
def _hash(windows: np.ndarray, n: int, y: int, x: int) -> np.uint64:
    """Mixes the bits of a group; the highest bits are the best mixed.

    A sum of products, each by a factor of its own, so that no product waits for another (multilinear hashing).
    """
    width, mixed = windows.shape[4], np.uint64(0)
    for i in range(windows.shape[3]):
        for j in range(width):
            mixed += np.uint64(windows[n, y, x, i, j]) * _FACTORS[(i * width + j) % len(_FACTORS)]
    return (mixed ^ mixed >> np.uint64(32)) * _SPREAD


@numba.njit("b1(i8[:,:,:,:,:],i8,i8,i8,i8)", cache=True, nogil=True)
def _is_as_before(windows: np.ndarray, n: int, before: int, y: int, x: int) -> bool:
    for i in range(windows.shape[3]):
        for j in range(windows.shape[4]):
            if windows[before, y, x, i, j] != windows[n, y, x, i, j]:
                return False
    return True


@numba.njit("b1(i8[:,::1],i8,i8[:,:,:,:,:],i8,i8,i8)", cache=True, nogil=True)
def _is_equal(groups: np.ndarray, known: int, windows: np.ndarray, n: int, y: int, x: int) -> bool:
    width = windows.shape[4]
    for i in range(windows.shape[3]):
        for j in range(width):
            if groups[known, i * width + j] != windows[n, y, x, i, j]:
                return False
    return True


@numba.njit("i4[::1](u8[::1],u8)", cache=True, nogil=True)
def _slots_of(hashes: np.ndarray, bits: np.uint64) -> np.ndarray:
    """Returns a table of 2ᵇⁱᵗˢ slots that holds the indices of some hashes; free slots are −1."""
    slots = np.full(1 << np.int64(bits), -1, dtype=np.int32)
    for group in range(len(hashes)):
        slot = np.int64(hashes[group] >> (np.uint64(64) - bits))
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = group
    return slots


@numba.njit("Tuple((i8[:,::1],i4[:,:,::1]))(i8[:,:,:,:,:],i8)", cache=True, nogil=True)
def _distinct(windows: np.ndarray, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the distinct groups with a hash table: open addressing, doubled whenever half of the slots are taken.

    A group that is the same as at this place in the frame before is not looked up.
    """
    frames, rows, columns, height, width = windows.shape
    which = np.empty((frames, rows, columns), dtype=np.int32)
    bits, count = np.uint64(11), 0
    hashes = np.empty(1024, dtype=np.uint64)
    groups = np.zeros((1024, height * width), dtype=np.int64)
    slots = _slots_of(hashes[:0], bits)
    for n in range(frames):
        for y in range(rows):
            for x in range(columns):
                if n >= lanes and _is_as_before(windows, n, n - lanes, y, x):
                    which[n, y, x] = which[n - lanes, y, x]
                    continue
                mixed = _hash(windows, n, y, x)
                slot = np.int64(mixed >> (np.uint64(64) - bits))
                found = slots[slot]
                while found >= 0 and not (hashes[found] == mixed and _is_equal(groups, found, windows, n, y, x)):
                    slot = (slot + 1) & (len(slots) - 1)
                    found = slots[slot]
                if found < 0:
                    found = slots[slot] = count
                    hashes[count] = mixed
                    groups[count] = windows[n, y, x].copy().reshape(height * width)
                    count += 1
                    if count == len(hashes):
                        hashes = np.concatenate((hashes, np.empty_like(hashes)))
                        groups = np.concatenate((groups, np.zeros_like(groups)))
                        bits += np.uint64(1)
                        slots = _slots_of(hashes[:count], bits)
                which[n, y, x] = found
    # One eighth at most is added, and a number of groups occurs that others had before.
    step = 1
    while 16 * step < count:
        step *= 2
    return groups[: -(-count // step) * step].copy(), which


@numba.njit("Tuple((i4[::1],i4[::1]))(i4[::1],i8)", cache=True, nogil=True)
def _sorted_places(which: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places of each row's copies, row by row, and where each row's places begin."""
    offsets = np.zeros(rows + 1, dtype=np.int32)
    for place in range(len(which)):
        offsets[which[place] + 1] += 1
    for row in range(rows):
        offsets[row + 1] += offsets[row]
    begins = offsets[:-1].copy()
    order = np.empty(len(which), dtype=np.int32)
    for place in range(len(which)):
        order[begins[which[place]]] = place
        begins[which[place]] += 1
    return order, offsets[:-1].copy()
