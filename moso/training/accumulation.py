"""Gradient accumulation: a batch taken in parts, one after the other, for one update."""

from __future__ import annotations


def split(size: int, count: int) -> list[slice]:
    """`count` neighbouring slices of `size` samples, none of them empty, whose lengths differ by one at most.

    Raises:
        ValueError: there are fewer samples than parts.
    """
    if size < count:
        raise ValueError(f"{size} samples have no {count} parts")
    return [slice(size * i // count, size * (i + 1) // count) for i in range(count)]
