"""Predictions that need no model: what a figure has to be held against.

All of them take and return 8-bit frames, so that every method is compared in the same form.

Legend: N clips, K given frames, H W pixels.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

HEDGE_LAST = 0.85


def repeat_last(given: UInt8[np.ndarray, "N K H W 3"], predicted_frames: int) -> UInt8[np.ndarray, "N P H W 3"]:
    """The last given frame, `predicted_frames` times: right wherever nothing moves."""
    return np.repeat(given[:, -1:], predicted_frames, axis=1)


def mean_given(given: UInt8[np.ndarray, "N K H W 3"], predicted_frames: int) -> UInt8[np.ndarray, "N P H W 3"]:
    """The mean of all given frames, `predicted_frames` times: what does not know in which order they came."""
    mean = np.rint(given.mean(axis=1, keepdims=True, dtype=np.float64)).astype(np.uint8)
    return np.repeat(mean, predicted_frames, axis=1)


def linear(given: UInt8[np.ndarray, "N K H W 3"], predicted_frames: int) -> UInt8[np.ndarray, "N P H W 3"]:
    """Each pixel goes on as it changed between the last two given frames, within [0, 255].

    Right for light that rises evenly; an object that moves leaves its place and does not arrive at the next.

    Args:
        given: uint8 [0, 255], K at least 2.
        predicted_frames: how many frames to return.

    Raises:
        ValueError: one given frame alone: there is no line through it.
    """
    if given.shape[1] < 2:
        raise ValueError("linear extrapolation needs two given frames")
    last = given[:, -1].astype(np.int32)
    change = last - given[:, -2]
    frames = [np.clip(last + step * change, 0, 255).astype(np.uint8) for step in range(1, predicted_frames + 1)]
    return np.stack(frames, axis=1)


def hedge(
    given: UInt8[np.ndarray, "N K H W 3"], predicted_frames: int, mean_image: Float[np.ndarray, "H W 3"]
) -> UInt8[np.ndarray, "N P H W 3"]:
    """0.85 x the last given frame + 0.15 x the mean training image: what blurring towards the usual buys.

    It raises PSNR without predicting anything; a prediction that does not beat it has learned to hedge.

    Args:
        given: uint8 [0, 255].
        predicted_frames: how many frames to return.
        mean_image: mean over the training frames, [0, 255].
    """
    mixed = HEDGE_LAST * given[:, -1:].astype(np.float32) + (1 - HEDGE_LAST) * mean_image.astype(np.float32)
    frames: NDArray[np.uint8] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return np.repeat(frames, predicted_frames, axis=1)
