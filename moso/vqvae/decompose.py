"""Decomposition of a clip into motion, scene and object videos (Sec. 3.1.1, Algorithm 1), and the pseudo clip (Eq. 10).

B batch, T frames of a clip, C channels, H W pixels, K given frames. Pure functions on float frames in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

LOW, HIGH = 0.1, 0.9
"""c_l and c_h of Algorithm 1, on pixels in [0, 1]."""


class Decomposition(NamedTuple):
    """The three videos of Algorithm 1: motion in [-1, 1], scene and object in [0, 1] with scene + object = frames,
    exactly."""

    motion: Float[Tensor, "B T C H W"]
    scene: Float[Tensor, "B T C H W"]
    object: Float[Tensor, "B T C H W"]


def difference(frames: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T C H W"]:
    """The motion video: d_t = x_t - x_{t-1}, d_1 = 0.

    The released code takes 2 x_t - x_{t-1} - x_{t+1}, which reads the next frame: the tokens of the last given frame
    would then depend on the first one to be predicted. This difference is causal; tests/vqvae/test_leaks.py shows
    that the other one leaks.
    """
    motion = torch.zeros_like(frames)
    motion[:, 1:] = frames[:, 1:] - frames[:, :-1]
    return motion


def decompose(frames: Float[Tensor, "B T C H W"], low: float = LOW, high: float = HIGH) -> Decomposition:
    """Algorithm 1: pixels of middling change are object, those of tiny or very large change are scene.

    Args:
        frames: float in [0, 1].
        low, high: the change, as the largest over channels, from and up to which a pixel is object.
    """
    motion = difference(frames)
    change = motion.abs().amax(dim=2, keepdim=True)
    is_object = (change >= low) & (change <= high)
    # selecting, not subtracting: x - x is exact, but a mask times x and a subtraction need not be for every rounding
    # mode
    nothing = torch.zeros((), dtype=frames.dtype, device=frames.device)
    return Decomposition(motion, torch.where(is_object, nothing, frames), torch.where(is_object, frames, nothing))


def pseudo_clip(frames: Shaped[Tensor, "B T *rest"], given_frames: int) -> Shaped[Tensor, "B T *rest"]:
    """Eq. 10: x_1 .. x_K, then x_K repeated up to T. Works on any (B, T, ...) tensor, uint8 frames included.

    Args:
        frames: at least the K given frames; what comes after them is not read.
        given_frames: K, in [1, T].
    """
    last = torch.arange(frames.shape[1], device=frames.device).clamp(max=given_frames - 1)
    return frames[:, last]
