"""Distinct groups of cells: a function of a few cells is computed once for each distinct group in a batch.

On CPUs, kernels compiled by numba find the distinct groups. On other devices every group counts as distinct, since
finding them would make the host wait for the device, and give shapes that differ from batch to batch.

While a policy acts with the same weights, most of what it sees it has seen before. Results can therefore be kept from
step to step, in a :class:`Memory`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn
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
    return _distinct_on_host(windows, lanes)


@torch.compiler.disable
def _distinct_on_host(windows: Tensor, lanes: int | None) -> tuple[Tensor, Tensor]:
    found = _Found()
    which = found.find(windows, lanes)
    return found.since(0), which


class _Found:
    """The distinct groups that were found so far, in a hash table."""

    def __init__(self) -> None:
        self.count = 0
        self._hashes = np.empty(1024, dtype=np.uint64)
        self._slots = _slots_of(self._hashes[:0], np.uint64(11))
        self._groups: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the groups."""
        return 0 if self._groups is None else self.count * self._groups[0].nbytes

    def find(self, windows: Tensor, lanes: int | None = None) -> Tensor:
        """Adds the groups that are new, and returns the index of each place's group; see :func:`distinct`."""
        if self._groups is None:
            self._groups = np.zeros((len(self._hashes), windows.shape[3] * windows.shape[4]), dtype=np.int64)
        lanes = len(windows) if lanes is None else lanes
        which, self._hashes, self._groups, self._slots, self.count = _find(
            windows.numpy(), lanes, self._hashes, self._groups, self._slots, self.count
        )
        return torch.from_numpy(which)

    def since(self, begin: int) -> Tensor:
        """Returns the groups from one on, and then zeros, i64 [U, height · width]; see :func:`distinct`."""
        assert self._groups is not None
        # One eighth at most is added, and a number of groups occurs that others had before.
        count, step = self.count - begin, 1
        while 16 * step < count:
            step *= 2
        groups = np.zeros((-(-count // step) * step, self._groups.shape[1]), dtype=np.int64)
        groups[:count] = self._groups[begin : self.count]
        return torch.from_numpy(groups)


GroupFunction = Callable[[Tensor], Tensor]
"""A function of each group by itself: i64 [U, cells] to [U, C]."""


class _Kept:
    """The results of a function for all groups that it was computed for."""

    def __init__(self) -> None:
        self._found = _Found()
        self._computed = 0
        self._results: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of groups and results."""
        return self._found.nbytes + (0 if self._results is None else self._results[: self._computed].nbytes)

    def computed(self, function: GroupFunction, windows: Tensor, lanes: int | None) -> tuple[Tensor, Tensor]:
        """See :meth:`OfDistinct.computed`."""
        which = self._found.find(windows, lanes)
        known, count = self._computed, self._found.count
        if self._results is None or count > known:
            new = function(self._found.since(known))[: count - known]
            if self._results is None:
                self._results = new.new_empty(2 * count, new.shape[1])
            elif count > len(self._results):
                self._results = torch.cat([self._results[:known], new.new_empty(2 * count - known, new.shape[1])])
            self._results[known:count] = new
            self._computed = count
        return self._results, which


@dataclass
class Memory:
    """Results that are kept from step to step, as long as the weights are the same.

    Attributes:
        limit: Bytes of groups and results after which everything is forgotten, before the next step. What is kept
            longer is seldom seen again, and a larger table no longer fits a processor's cache.
    """

    limit: int = 1 << 24
    _kept: dict[nn.Module, dict[str, _Kept]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all groups and results."""
        return sum(one.nbytes for functions in self._kept.values() for one in functions.values())

    def kept(self, module: nn.Module, name: str) -> _Kept:
        """Returns the results of a module's function of that name."""
        return self._kept.setdefault(module, {}).setdefault(name, _Kept())

    def forget(self, modules: Iterable[nn.Module]) -> None:
        """Forgets the results of modules whose weights have changed."""
        for module in modules:
            self._kept.pop(module, None)

    def trim(self) -> None:
        """Forgets everything if it takes more than the limit.

        Never one function of a module alone, and never within a step: the indices of one function's groups are the
        cells of another's.
        """
        if self.nbytes > self.limit:
            self._kept.clear()


class OfDistinct(nn.Module):
    """A module that computes functions of groups of cells, each once for every distinct group.

    Attributes:
        memory: Where results are kept; None keeps none. See :func:`remembering`.
    """

    memory: Memory | None = None

    def computed(
        self, name: str, function: GroupFunction, windows: Tensor, lanes: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Computes a function of each group.

        Args:
            name: The function's name, by which results are kept.
            function: The function.
            windows: See :func:`distinct`.
            lanes: See :func:`distinct`.

        Returns:
            Results, [U, C], and the index of the result at each place, i32 [N, rows, columns].
        """
        if self.memory is not None:
            return self.memory.kept(self, name).computed(function, windows, lanes)
        groups, which = distinct(windows, lanes)
        return function(groups), which


@contextmanager
def remembering(modules: Iterable[OfDistinct], memory: Memory) -> Iterator[None]:
    """Within it, modules on the CPU take results from a memory, and add to it. There are no gradients of such results.

    Args:
        modules: The modules; their weights have to be those that the memory's results were computed with.
        memory: The memory.
    """
    memory.trim()
    for module in modules:
        module.memory = memory
    try:
        yield
    finally:
        for module in modules:
            module.memory = None


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


@numba.njit(
    "Tuple((i4[:,:,::1],u8[::1],i8[:,::1],i4[::1],i8))(i8[:,:,:,:,:],i8,u8[::1],i8[:,::1],i4[::1],i8)",
    cache=True,
    nogil=True,
)
def _find(
    windows: np.ndarray, lanes: int, hashes: np.ndarray, groups: np.ndarray, slots: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Finds groups in a hash table, and adds those that are new: open addressing, doubled when half is taken.

    A group that is the same as at this place in the frame before is not looked up.

    Args:
        windows: The groups.
        lanes: See :func:`distinct`.
        hashes: The hashes of the groups that are known, and room for more.
        groups: These groups, and room for as many more.
        slots: The table; see :func:`_slots_of`.
        count: How many are known.

    Returns:
        The index of each place's group; and the last four arguments as they are now.
    """
    frames, rows, columns, height, width = windows.shape
    which = np.empty((frames, rows, columns), dtype=np.int32)
    bits = np.uint64(0)
    while (1 << np.int64(bits)) < len(slots):
        bits += np.uint64(1)
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
    return which, hashes, groups, slots, count


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
