"""Reconstruction: encode and decode. What Stage II cannot do better than."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8

from moso.tasks.encode import decode, encode
from moso.vqvae.model import VQVAE


def reconstruct(
    vqvae: VQVAE, frames: UInt8[np.ndarray, "N T H W 3"], device: torch.device
) -> UInt8[np.ndarray, "N T H W 3"]:
    """The clips as their tokens tell them."""
    return decode(vqvae, encode(vqvae, frames, device), device)
