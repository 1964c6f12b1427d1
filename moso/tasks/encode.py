"""Frames to tokens and back: the two halves of reconstruction, side by side.

Legend: N clips, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from moso.frames.clips import to_float, to_uint8
from moso.tasks.networks import Networks
from moso.tokens.clip_tokens import ClipTokens


def encode(networks: Networks, frames: UInt8[np.ndarray, "N T H W 3"]) -> ClipTokens:
    """Tokens of whole clips, on the CPU."""
    return networks.vqvae.encode(float_frames(networks, frames)).to("cpu")


def decode(
    networks: Networks,
    tokens: ClipTokens,
    frames: Sequence[int] | None = None,
    only: Collection[str] | None = None,
) -> UInt8[np.ndarray, "N n H W 3"]:
    """Frames of tokens; `frames` names which (all of them when None), `only` the components drawn (Sec. C.3)."""
    wanted = None if frames is None else torch.as_tensor(list(frames), dtype=torch.long, device=networks.device)
    return to_uint8(networks.vqvae.decode(tokens.to(networks.device), wanted, only=only)).cpu().numpy()


def float_frames(networks: Networks, frames: UInt8[np.ndarray, "N n H W 3"]) -> Float[Tensor, "N n 3 H W"]:
    """Frames as the networks read them, on their device, in [0, 1]."""
    return to_float(torch.from_numpy(np.ascontiguousarray(frames)).to(networks.device))
