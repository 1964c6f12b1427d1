"""Recombinations for the page (Sec. 4.4): one component of a clip drawn with the others of another clip.

Legend: T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from moso.frames.clips import Clip, Clips
from moso.tasks.model import Model

PAIRS = 3


@dataclass(frozen=True)
class Recombination:
    """Two clips and what they give together.

    Attributes:
        first: gives one component.
        second: gives the others.
        videos: "first" and "second", the two clips, and a component's name -> that component of the first with the rest
            of the second; uint8 (T, H, W, 3) each.
    """

    first: Clip
    second: Clip
    videos: dict[str, UInt8[np.ndarray, "T H W 3"]]


def recombination_pairs(clips: Sequence[Clip], count: int = PAIRS) -> list[tuple[int, int]]:
    """`count` pairs of indices, spread over the clips, each of two episodes; fewer where there are not so many."""
    firsts: dict[str, int] = {}
    for index, clip in enumerate(clips):
        firsts.setdefault(clip.episode_id, index)
    indices = list(firsts.values())
    taken = min(count, len(indices) // 2)
    half = len(indices) // 2
    return [(indices[i * half // taken], indices[half + i * half // taken]) for i in range(taken)]


def draw_recombinations(model: Model, clips: Clips, pairs: Sequence[tuple[int, int]]) -> list[Recombination]:
    """Each of the model's components of one clip with the others of another.

    Args:
        model: of the clips' size; one with a single component can recombine nothing, which gives no recombination.
        clips: at least as long as the model's window, whose first T frames are taken.
        pairs: (first, second) indices of clips.
    """
    parts = model.components
    if len(parts) < 2:
        return []
    found = []
    for first, second in pairs:
        a, b = (clips.batch([index]).numpy()[:, : model.clip_frames] for index in (first, second))
        mixed = {}
        for part in parts:
            sources: dict[str, Any] = {other: a if other == part else b for other in parts}
            mixed[part] = model.recombine(**sources)[0]
        videos = {"first": a[0], "second": b[0], **mixed}
        found.append(Recombination(clips.clips[first], clips.clips[second], videos))
    return found
