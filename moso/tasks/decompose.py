"""Decomposition made visible: each component drawn alone by the decoder, the others being zeros (Sec. C.3)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8

from moso.tasks.encode import decode, encode
from moso.tokens.clip_tokens import COMPONENTS
from moso.vqvae.model import VQVAE


def decompose(
    vqvae: VQVAE, frames: UInt8[np.ndarray, "N T H W 3"], device: torch.device
) -> dict[str, UInt8[np.ndarray, "N T H W 3"]]:
    """Component -> the clips decoded from that component's codes alone."""
    tokens = encode(vqvae, frames, device)
    return {component: decode(vqvae, tokens, device, only={component}) for component in COMPONENTS}
