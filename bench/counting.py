"""What a piece of work computes and moves: FLOPs, and the bytes that its operations read and write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_iter

from moso.training.flops import Flops


@dataclass
class Amount:
    """Of one operator: how often it was called, the bytes that it moved, its FLOPs."""

    calls: int = 0
    bytes: int = 0
    flops: float = 0.0


class Operators(Flops):
    """Counts, operator by operator, what runs inside; it changes no result. What is computed again counts too.

    FLOPs are those of moso.training.flops.Flops: of matrix products, convolutions and attention, a multiplication and
    an addition being two. Bytes: of every operation's tensors, read and written, views not counted: what would be moved
    if nothing were found in a cache and no two operations were fused.

    Attributes:
        within: a label for what runs now ("optimizer"), to tell the same operators apart.
        by: (label, operator) -> its amount; "aten::mm" and the like.
    """

    def __init__(self) -> None:
        super().__init__(again=True)
        self.within = ""
        self.by: dict[tuple[str, str], Amount] = defaultdict(Amount)

    @property
    def bytes(self) -> int:
        """Of all operators."""
        return sum(one.bytes for one in self.by.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before, kwargs = self.total, kwargs or {}
        result = super().__torch_dispatch__(func, types, args, kwargs)
        one = self.by[self.within, func._schema.name]
        one.calls += 1
        one.flops += self.total - before
        one.bytes += _moved(func._schema, args, kwargs, result)
        return result


def count(work: Callable[[], None]) -> tuple[int, int]:
    """FLOPs and bytes of one call of `work`, which runs for real (see Operators)."""
    with Operators() as counted:
        work()
    return int(counted.total), counted.bytes


def _moved(schema: Any, args: Any, kwargs: Any, result: Any) -> int:
    if any(one.alias_info is not None and not one.alias_info.is_write for one in schema.returns):
        return 0  # a view
    moved = _size((args, kwargs)) + _size(result)
    if not schema.returns:  # in place on lists, as the optimizers are
        named = {**dict(zip((one.name for one in schema.arguments), args, strict=False)), **kwargs}
        written = [one.name for one in schema.arguments if one.alias_info is not None and one.alias_info.is_write]
        moved += _size([named.get(name) for name in written])
    return moved


def _size(tree: Any) -> int:
    return sum(_stored(leaf) for leaf in tree_iter(tree) if isinstance(leaf, Tensor))


def _stored(tensor: Tensor) -> int:
    """Bytes of the elements; of an expanded tensor those that there are."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
