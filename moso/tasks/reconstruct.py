"""Reconstruction: encode and decode. What Stage II cannot do better than."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from moso.tasks.encode import decode, encode
from moso.tasks.networks import Networks


def reconstruct(networks: Networks, frames: UInt8[np.ndarray, "N T H W 3"]) -> UInt8[np.ndarray, "N T H W 3"]:
    """The clips as their tokens tell them."""
    return decode(networks, encode(networks, frames))
