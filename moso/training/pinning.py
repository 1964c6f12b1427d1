"""Page-locked memory, from which a GPU copies a batch while the host goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor


def pinned(batch: Any) -> Any:
    """`batch` with its tensors in page-locked memory; needs a CUDA device."""
    return map_tensors(batch, lambda tensor: tensor.pin_memory())


def map_tensors(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`batch`, a tensor or a dataclass of tensors and the like, with `change` applied to each tensor.

    Raises:
        TypeError: it holds something else.
    """
    if isinstance(batch, Tensor):
        return change(batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{f.name: map_tensors(getattr(batch, f.name), change) for f in fields(batch)})
    raise TypeError(f"a batch of tensors, or a dataclass of them, not {type(batch).__name__}")
