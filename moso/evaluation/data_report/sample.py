"""What the report looks at where looking at everything would take as long as the data is large.

Pieces of episodes, evenly spread over all frames of a split: no draw, the same every time.

T frames of a piece, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from moso.errors import ConfigError
from moso.frames.cache import FrameCache


@dataclass(frozen=True)
class SampleConfig:
    """How much is looked at.

    Attributes:
        clip_frames: frames of a piece (16: the paper's clips have 16 to 30); episodes that are shorter are taken whole.
        clips: pieces a split whose brightness and motion are measured.
        threshold_clips: pieces a split that are decomposed, once for each pair of thresholds.
        strips: pieces a split that are shown.
    """

    clip_frames: int = 16
    clips: int = 256
    threshold_clips: int = 32
    strips: int = 6

    def __post_init__(self) -> None:
        for name, least in (("clip_frames", 2), ("clips", 1), ("threshold_clips", 1), ("strips", 0)):
            if getattr(self, name) < least:
                raise ConfigError(name, getattr(self, name), f"must be at least {least}")


@dataclass(frozen=True)
class Piece:
    """Frames [first, first + count) of an episode."""

    episode_id: str
    first: int
    count: int

    def frames(self, cache: FrameCache) -> UInt8[np.ndarray, "T H W 3"]:
        """uint8 [0, 255], a view of the memory map."""
        return cache.frames(self.episode_id, self.first, self.count)


def spread_pieces(cache: FrameCache, split: str, clip_frames: int, count: int) -> list[Piece]:
    """At most `count` pieces of `clip_frames` frames at even distances among all that the split has."""
    rows = cache.episodes[cache.episodes["split"] == split]
    lengths = rows["frames"].to_numpy(dtype=np.int64)
    starts = np.maximum(lengths - clip_frames + 1, 1)
    total = int(starts.sum())
    if not total:
        return []
    ends = np.cumsum(starts)
    places = np.unique((np.arange(count) + 0.5) * total // count).astype(np.int64)
    pieces = []
    for place, row in zip(places, np.searchsorted(ends, places, side="right"), strict=True):
        first = int(place - (ends[row] - starts[row]))
        pieces.append(Piece(str(rows["episode_id"].iloc[row]), first, int(min(clip_frames, lengths[row]))))
    return pieces
