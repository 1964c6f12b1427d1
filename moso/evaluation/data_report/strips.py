"""Sample strips: frames of an episode side by side, and below them what goes to object.

T frames of a piece, n frames shown, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from moso.evaluation.data_report.folder import FramesFolder
from moso.evaluation.data_report.sample import SampleConfig, spread_pieces
from moso.evaluation.data_report.thresholds import object_mask

SHOWN_FRAMES = 8
GAP = 2
PAPER = 128
"""Grey level of gaps and of pixels that are no object."""


@dataclass(frozen=True)
class Strip:
    """One piece of an episode: uint8 picture (2 H + gap, n W + gaps, 3), and what it shows."""

    episode_id: str
    first: int
    shown: tuple[int, ...]
    picture: UInt8[np.ndarray, "height width 3"]


def strips(folder: FramesFolder, split: str, config: SampleConfig) -> list[Strip]:
    """`config.strips` strips, evenly spread over a split."""
    if not config.strips:
        return []
    made = []
    for piece in spread_pieces(folder.cache, split, config.clip_frames, config.strips):
        frames = piece.frames(folder.cache)
        # Frame 0 of a piece never moves, by definition; the others are chosen evenly.
        places = np.unique(np.rint(np.linspace(min(1, piece.count - 1), piece.count - 1, SHOWN_FRAMES)).astype(int))
        mask = object_mask(frames)[places]
        objects = np.where(mask[..., None], frames[places], np.uint8(PAPER))
        rows = [_beside(list(frames[places])), _beside(list(objects))]
        line = np.full((GAP, rows[0].shape[1], 3), PAPER, dtype=np.uint8)
        made.append(
            Strip(
                piece.episode_id,
                piece.first,
                tuple(int(piece.first + p) for p in places),
                np.concatenate([rows[0], line, rows[1]]),
            )
        )
    return made


def _beside(frames: list[np.ndarray]) -> np.ndarray:
    gap = np.full((frames[0].shape[0], GAP, 3), PAPER, dtype=np.uint8)
    return np.concatenate([part for frame in frames for part in (frame, gap)][:-1], axis=1)
