"""Crop and antialiased resize of uint8 videos, in NumPy alone.

T frames, H W pixels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

Crop = Literal["none", "center"]


def crop_frames(frames: UInt8[np.ndarray, "T H W 3"], crop: Crop) -> UInt8[np.ndarray, "T h w 3"]:
    """A view of `frames`: all of it ("none"), or the largest centred square ("center")."""
    if crop == "none":
        return frames
    _, height, width, _ = frames.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frames[:, top : top + side, left : left + side]


@lru_cache(maxsize=16)
def _weights(old: int, new: int) -> Float32[np.ndarray, "new old"]:
    """Row i holds the shares of the old pixels in new pixel i, with sum 1: a triangle filter.

    The triangle's half width is one pixel of the coarser grid, so that shrinking averages over every old pixel (no
    aliasing) and enlarging is ordinary bilinear interpolation. Pixel centres lie at i + 0.5.
    """
    scale = old / new
    half = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distance = np.abs(np.arange(old) + 0.5 - centres[:, None])
    weights = np.maximum(0.0, 1.0 - distance / half)
    normed: Float32[np.ndarray, "new old"] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normed


def resize_frames(frames: UInt8[np.ndarray, "T H W 3"], height: int, width: int) -> UInt8[np.ndarray, "T h w 3"]:
    """`frames` at `height` x `width`, antialiased, rounded to the nearest grey level; unchanged where sizes match."""
    if frames.shape[1:3] == (height, width):
        return frames
    rows, columns = _weights(frames.shape[1], height), _weights(frames.shape[2], width)
    resized = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    for image, out in zip(frames, resized, strict=True):  # one frame at a time bounds the float32 memory
        lines = np.tensordot(rows, image.astype(np.float32), axes=(1, 0))
        pixels = np.einsum("xW,yWc->yxc", columns, lines, optimize=True)
        np.rint(pixels, out=pixels)
        out[...] = np.clip(pixels, 0, 255)
    return resized
