"""Unconditional generation (Sec. 3.2): every pseudo token is the mask token and no motion token is given.

Legend: n videos, T frames of a clip, h w token grid, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from moso.tasks.encode import decode
from moso.tasks.networks import Networks
from moso.training.random import key_seed
from moso.transformer.config import SamplingConfig
from moso.transformer.sampling import sample


def video_seed(seed: int, number: int) -> int:
    """The seed of video `number` of those that `seed` names."""
    return key_seed(seed, "generate", number)


def generate(networks: Networks, seeds: Sequence[int], sampling: SamplingConfig) -> UInt8[np.ndarray, "n T H W 3"]:
    """One video a seed."""
    grids, mask, device = networks.vqvae.grids, networks.transformer.mask, networks.device
    scene, object = (torch.full((len(seeds), *grids.shape(name)), mask, device=device) for name in ("scene", "object"))
    no_motion = torch.zeros((len(seeds), 0, *grids.motion), dtype=torch.long, device=device)
    return decode(networks, sample(networks.transformer, scene, object, no_motion, sampling, seeds))
