"""Frames to tokens and back: the two halves of reconstruction, side by side.

Legend: N clips, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from moso.frames.clips import to_float, to_uint8
from moso.tokens.clip_tokens import ClipTokens
from moso.vqvae.model import VQVAE


def encode(vqvae: VQVAE, frames: UInt8[np.ndarray, "N T H W 3"], device: torch.device) -> ClipTokens:
    """Tokens of whole clips, on the CPU."""
    return vqvae.encode(to_float(torch.from_numpy(np.ascontiguousarray(frames)).to(device))).to("cpu")


def decode(
    vqvae: VQVAE,
    tokens: ClipTokens,
    device: torch.device,
    frames: Sequence[int] | None = None,
    only: Collection[str] | None = None,
) -> UInt8[np.ndarray, "N n H W 3"]:
    """Frames of tokens; `frames` names which (all of them when None), `only` the components drawn (Sec. C.3)."""
    wanted = None if frames is None else torch.as_tensor(list(frames), dtype=torch.long, device=device)
    return to_uint8(vqvae.decode(tokens.to(device), wanted, only=only)).cpu().numpy()
