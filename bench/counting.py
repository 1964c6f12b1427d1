"""What a piece of work computes and moves: FLOPs, and the bytes that its operations read and write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


def count(work: Callable[[], None]) -> tuple[int, int]:
    """FLOPs and bytes of one call of `work`, which runs for real.

    FLOPs: those of matrix products, convolutions and attention (torch.utils.flop_counter), a multiplication and an
    addition being two. Bytes: of every operation's tensors, read and written, views not counted: what would be moved
    if nothing were found in a cache and no two operations were fused.
    """
    flops = FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU)
    moved = _Bytes()
    with moved, flops:
        work()
    return int(flops.get_total_flops()), moved.bytes


class _Bytes(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        returns, taken = func._schema.returns, func._schema.arguments
        if any(one.alias_info is not None and not one.alias_info.is_write for one in returns):
            return result  # a view
        self.bytes += _size((args, kwargs)) + _size(result)
        if not returns:  # in place on lists, as the optimizers are
            named = {**dict(zip((one.name for one in taken), args, strict=False)), **kwargs}
            written = [one.name for one in taken if one.alias_info is not None and one.alias_info.is_write]
            self.bytes += _size([named.get(name) for name in written])
        return result


def _size(tree: Any) -> int:
    return sum(_stored(leaf) for leaf in tree_iter(tree) if isinstance(leaf, Tensor))


def _stored(tensor: Tensor) -> int:
    """Bytes of the elements; of an expanded tensor those that there are."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _forward(q: Any, k: Any, v: Any, *args: Any, **kwargs: Any) -> int:
    flops: int = sdpa_flop_count(q, k, v)
    return flops


def _backward(gradient: Any, q: Any, k: Any, v: Any, *args: Any, **kwargs: Any) -> int:
    flops: int = sdpa_backward_flop_count(gradient, q, k, v)
    return flops


# torch's own counter knows the kernels of GPUs only (torch 2.13)
_ATTENTION_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _forward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward,
}
