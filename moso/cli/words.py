"""Words in messages."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """(1, "clip") -> "1 clip", (2, "clip") -> "2 clips"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
