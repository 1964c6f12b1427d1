"""Several clips in one picture: a grid that moves, or a strip of frames.

Pixels are never painted over: what marks a given frame is the margin around it.

Legend: N clips, T frames, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from jaxtyping import UInt8

MARGIN = 2
PAPER = (255, 255, 255)
GIVEN = (197, 139, 0)
"""Ochre, as in the report: the margin of frames that were given."""


def film(
    clips: UInt8[np.ndarray, "N T H W 3"], *, columns: int | None = None, given: Collection[int] = ()
) -> UInt8[np.ndarray, "T h w 3"]:
    """The clips in a grid, row by row, moving together.

    Args:
        clips: of one length and size.
        columns: of the grid; None makes it about square.
        given: numbers of the frames, from 0, whose margins are ochre.

    Returns:
        One video; a single clip without given frames is itself, without a margin.
    """
    count, frames, height, width, _ = clips.shape
    if count == 1 and not given:
        return clips[0]
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    high, wide = height + 2 * MARGIN, width + 2 * MARGIN
    picture = np.empty((frames, rows * high, columns * wide, 3), dtype=np.uint8)
    picture[:] = PAPER
    for i, clip in enumerate(clips):
        top, left = i // columns * high, i % columns * wide
        for t in given:
            picture[t, top : top + high, left : left + wide] = GIVEN
        picture[:, top + MARGIN : top + MARGIN + height, left + MARGIN : left + MARGIN + width] = clip
    return picture


def strip(clips: UInt8[np.ndarray, "N T H W 3"], *, given: Collection[int] = ()) -> UInt8[np.ndarray, "h w 3"]:
    """Each clip a row, its frames side by side; those in `given` have ochre margins."""
    count, frames, height, width, _ = clips.shape
    high, wide = height + 2 * MARGIN, width + 2 * MARGIN
    picture = np.empty((count * high, frames * wide, 3), dtype=np.uint8)
    picture[:] = PAPER
    for t in given:
        picture[:, t * wide : (t + 1) * wide] = GIVEN
    for i, clip in enumerate(clips):
        for t, frame in enumerate(clip):
            top, left = i * high + MARGIN, t * wide + MARGIN
            picture[top : top + height, left : left + width] = frame
    return picture
