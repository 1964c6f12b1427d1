"""How much memory tensors take, counted as they come and go, on fake tensors as on real ones."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

ATEN = torch.ops.aten
LARGE = 1 << 30
"""Bytes from which glibc takes a piece of memory from the system and not from its heap, as moso.allocator tells it; an
older glibc does from 32 MiB on."""
SCATTER = 1.45
"""What the heap holds as a multiple of what lives in it: freed pieces lie between living ones. Measured
(docs/plan.md)."""


class MemoryMeter(TorchDispatchMode):
    """Counts the bytes of all storages that an operation inside the `with` block returned and that still live.

    Autograd's saved activations are such storages, and so are the temporary results between operations; what a kernel
    takes for itself while it runs is not seen. A storage that several tensors look at counts once.

    Fake tensors (entered before the meter) have no values. What the training reads back from its tensors is answered
    here: numbers are 1, and of a boolean tensor the share `true` of the entries is True.

    Args:
        true: share of True in boolean tensors whose True entries are asked for, in [0, 1].

    Attributes:
        live: bytes at present.
        peak: most bytes so far, since `restart`.
        held: the same bytes as a CPU's process holds them: storages below LARGE lie in the heap and count SCATTER
            times, larger ones are the system's pages, given back when they are freed.
        held_peak: most of that since `restart`.
    """

    def __init__(self, true: float = 1.0) -> None:
        super().__init__()
        self.true = true
        self.live = self.peak = 0
        self.held = self.held_peak = 0.0
        self._known: set[int] = set()

    def restart(self) -> None:
        """Forget the peak."""
        self.peak, self.held_peak = self.live, self.held

    def count(self, tensor: Tensor) -> None:
        """Count the tensor's storage, unless it is counted already."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        self.held += _held(size)
        self.held_peak = max(self.held_peak, self.held)
        weakref.finalize(storage, self._free, key, size).atexit = False

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size
        self.held -= _held(size)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        answer = _ANSWERS.get(func)
        out = answer(self.true, *args) if answer and _is_fake(args[0]) else func(*args, **(kwargs or {}))
        for value in tree_iter(out):
            if isinstance(value, Tensor):
                self.count(value)
        return out


def _held(size: int) -> float:
    return size if size >= LARGE else SCATTER * size


def _is_fake(tensor: Tensor) -> bool:
    from torch._subclasses.fake_tensor import FakeTensor

    return isinstance(tensor, FakeTensor)


def _number(true: float, tensor: Tensor) -> float | int | bool:
    return 1.0 if tensor.dtype.is_floating_point else 1


def _trues(true: float, tensor: Tensor) -> int:
    return round(true * tensor.numel())


def _nonzero(true: float, tensor: Tensor) -> Tensor:
    return tensor.new_empty((_trues(true, tensor), tensor.ndim), dtype=torch.int64)


def _index(true: float, tensor: Tensor, indices: list[Tensor | None]) -> Tensor:
    """Indexing; a boolean index is taken for as many indices as it has True entries."""
    numbers: list[Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool:
            some = index.new_empty(_trues(true, index), dtype=torch.int64)
            numbers += [some] * index.ndim
        else:
            numbers.append(index)
    out: Tensor = ATEN.index.Tensor(tensor, numbers)
    return out


_ANSWERS: dict[Any, Callable[..., Any]] = {
    ATEN._local_scalar_dense.default: _number,
    ATEN.nonzero.default: _nonzero,
    ATEN.index.Tensor: _index,
}
