"""Decomposition made visible: components drawn alone by the decoder, the others being zeros (Sec. C.3), and the
preprocessing's own split of the pixels (Algorithm 1, Figs. 6 and 7), which needs no network.

Legend: N clips, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from moso.frames.clips import to_float, to_uint8
from moso.tasks.checks import InputError, check_names
from moso.tasks.encode import decode, encode
from moso.tasks.networks import Networks
from moso.vqvae.decompose import decompose as split_pixels

PARTS = {"scene": ("scene",), "object": ("object",), "motion": ("motion",), "object_motion": ("object", "motion")}
"""Part -> the components that the decoder draws it from."""


def check_parts(parts: Sequence[str] | None, components: Sequence[str]) -> list[str]:
    """`parts` as a list when a model of these components has them; all it has when None.

    Raises:
        InputError: an unknown part, or one that the model has no tokens for.
    """
    present = [part for part, needed in PARTS.items() if set(needed) <= set(components)]
    wanted = present if parts is None else check_names("parts", parts, tuple(PARTS))
    for part in wanted:
        if part not in present:
            raise InputError(f"parts: this model decomposes without {part!r}; it has {', '.join(present)}")
    return wanted


def check_thresholds(low: float, high: float) -> None:
    """Nothing when a change can lie between the thresholds.

    Raises:
        InputError: none can.
    """
    if not 0 <= low <= high:
        raise InputError(f"thresholds: expected 0 <= low <= high, got low = {low} and high = {high}")


def decompose(
    networks: Networks, frames: UInt8[np.ndarray, "N T H W 3"], parts: Sequence[str]
) -> dict[str, UInt8[np.ndarray, "N T H W 3"]]:
    """Part -> the clips decoded from that part's codes alone."""
    tokens = encode(networks, frames)
    return {part: decode(networks, tokens, only=PARTS[part]) for part in parts}


def preprocess(
    frames: UInt8[np.ndarray, "N T H W 3"], low: float, high: float
) -> dict[str, UInt8[np.ndarray, "N T H W 3"]]:
    """Algorithm 1's split with thresholds `low` and `high` on pixels in [0, 1]. scene + object = frames, exactly.

    Motion is a difference in [-1, 1]: it is shown around grey, (d + 1) / 2.

    Raises:
        InputError: thresholds that no change could lie between.
    """
    check_thresholds(low, high)
    split = split_pixels(to_float(torch.from_numpy(np.ascontiguousarray(frames))), low, high)
    videos = {"scene": split.scene, "object": split.object, "motion": (split.motion + 1) / 2}
    return {part: to_uint8(video).numpy() for part, video in videos.items()}
