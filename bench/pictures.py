"""Frames to measure with: smooth, grainy, moving, so that they compress about as a camera's do."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8


def video(seed: int, frames: int, pixels: int) -> UInt8[np.ndarray, "T H W 3"]:
    """A window that moves over a random picture: uint8 [0, 255], the same for the same arguments."""
    rng = np.random.default_rng(seed)
    picture = _picture(rng, 2 * pixels)
    x, y = rng.integers(0, pixels, 2)
    dx, dy = rng.integers(-2, 3, 2)
    places = [(np.clip(y + t * dy, 0, pixels), np.clip(x + t * dx, 0, pixels)) for t in range(frames)]
    return np.stack([picture[top : top + pixels, left : left + pixels] for top, left in places])


def _picture(rng: np.random.Generator, pixels: int) -> UInt8[np.ndarray, "H W 3"]:
    levels = np.zeros((pixels, pixels, 3))
    for cells, weight in ((3, 120.0), (9, 80.0), (27, 40.0)):
        weights, knots = _hats(pixels, cells), rng.random((cells + 1, cells + 1, 3))
        levels += weight * np.einsum("hi,ijc,wj->hwc", weights, knots, weights, optimize=True)
    return (levels + rng.integers(0, 4, levels.shape)).clip(0, 255).astype(np.uint8)


def _hats(pixels: int, cells: int) -> Float[np.ndarray, "pixels knots"]:
    """Weights of linear interpolation between `cells` + 1 knots."""
    place = np.linspace(0, cells, pixels)
    return np.clip(1 - np.abs(place[:, None] - np.arange(cells + 1)), 0, None)
