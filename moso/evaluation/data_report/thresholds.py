"""What Stage I's thresholds c_l and c_h (Algorithm 1) make of this data: the share of pixels that go to object.

Asked of moso.vqvae.decompose itself, so that the report cannot differ from what training does.
T frames of a piece, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from moso.frames.clips import to_float
from moso.vqvae.decompose import HIGH, LOW, decompose, difference

LOWS = (0.02, 0.05, LOW, 0.2, 0.3)
"""Around the paper's 0.1; the further values have no source."""
HIGHS = (0.5, 0.7, HIGH, 1.0)
"""Around the paper's 0.9; the further values have no source."""


def object_mask(
    frames: UInt8[np.ndarray, "T H W 3"], low: float = LOW, high: float = HIGH
) -> Bool[np.ndarray, "T H W"]:
    """Which pixels `decompose` takes for object, black ones included.

    A fourth channel of ones rides along: it never changes, so it has no part in the decision, and it comes out as one
    exactly where a pixel is object.
    """
    video = _clip(frames)
    marked = torch.cat([video, torch.ones_like(video[:, :, :1])], dim=2)
    mask: Bool[np.ndarray, "T H W"] = (decompose(marked, low, high).object[0, :, -1] > 0).numpy()
    return mask


def threshold_effect(
    pieces: Iterable[UInt8[np.ndarray, "T H W 3"]], lows: Sequence[float] = LOWS, highs: Sequence[float] = HIGHS
) -> list[dict[str, Any]]:
    """A row a pair of thresholds: low, high, and shares of all pixels, a piece's first frame included as in training.

    `object` goes to object; `still` (change below low) and `flicker` (change above high) to scene; they sum to 1.
    Without pieces there are no rows.
    """
    pairs = [(low, high) for low in lows for high in highs]
    objects, still, pixels = dict.fromkeys(pairs, 0), dict.fromkeys(lows, 0), 0
    for frames in pieces:
        video = _clip(frames)
        change = difference(video).abs().amax(dim=2)
        for low in lows:
            still[low] += int((change < low).sum())
        for pair in pairs:
            objects[pair] += int(object_mask(frames, *pair).sum())
        pixels += change.numel()
    return [
        {
            "low": low,
            "high": high,
            "object": objects[low, high] / pixels,
            "still": still[low] / pixels,
            "flicker": (pixels - objects[low, high] - still[low]) / pixels,
        }
        for low, high in pairs
        if pixels
    ]


def _clip(frames: UInt8[np.ndarray, "T H W 3"]) -> Float32[torch.Tensor, "1 T 3 H W"]:
    # A copy: torch has no tensors that cannot be written to, and the memory map is read-only.
    return to_float(torch.from_numpy(np.array(frames))[None])
