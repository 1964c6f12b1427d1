"""Crop and antialiased resize of uint8 videos, in NumPy alone.

T frames, H W pixels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

Crop = Literal["none", "center"]
Resize = Literal["antialias", "area"]


def crop_frames(frames: UInt8[np.ndarray, "T H W 3"], crop: Crop) -> UInt8[np.ndarray, "T h w 3"]:
    """A view of `frames`: all of it ("none"), or the largest centred square ("center")."""
    if crop == "none":
        return frames
    _, height, width, _ = frames.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frames[:, top : top + side, left : left + side]


@lru_cache(maxsize=16)
def _weights(old: int, new: int, kind: Resize) -> Float32[np.ndarray, "new old"]:
    """Row i holds the shares of the old pixels in new pixel i, with sum 1. Pixel centres lie at i + 0.5.

    "antialias": a triangle whose half width is one pixel of the coarser grid, so that shrinking averages over every old
    pixel (no aliasing) and enlarging is ordinary bilinear interpolation. "area": the share of each old pixel in the
    area that the new one covers.
    """
    scale = old / new
    if kind == "area":
        left = np.arange(new)[:, None] * scale
        pixels = np.arange(old)
        weights = np.maximum(0.0, np.minimum(left + scale, pixels + 1) - np.maximum(left, pixels))
    else:
        half = max(scale, 1.0)
        centres = (np.arange(new) + 0.5) * scale
        distance = np.abs(np.arange(old) + 0.5 - centres[:, None])
        weights = np.maximum(0.0, 1.0 - distance / half)
    normed: Float32[np.ndarray, "new old"] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normed


def resize_frames(
    frames: UInt8[np.ndarray, "T H W 3"], height: int, width: int, kind: Resize = "antialias"
) -> UInt8[np.ndarray, "T h w 3"]:
    """`frames` at `height` x `width`, rounded to the nearest grey level; unchanged where sizes match.

    Args:
        frames: uint8 [0, 255].
        height: pixels.
        width: pixels.
        kind: "antialias" (a triangle filter), or "area" (the mean over the area that a pixel covers).
    """
    if frames.shape[1:3] == (height, width):
        return frames
    rows, columns = _weights(frames.shape[1], height, kind), _weights(frames.shape[2], width, kind)
    resized = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    for image, out in zip(frames, resized, strict=True):  # one frame at a time bounds the float32 memory
        lines = np.tensordot(rows, image.astype(np.float32), axes=(1, 0))
        pixels = np.einsum("xW,yWc->yxc", columns, lines, optimize=True)
        np.rint(pixels, out=pixels)
        out[...] = np.clip(pixels, 0, 255)
    return resized
