"""Video prediction (Sec. 3.2): the frames after the first K.

The K given frames are repeated to a pseudo clip (Eq. 10) and encoded; Stage II draws the target clip's tokens from its
scene and object tokens and the motion tokens of the pools wholly inside the first K frames (Eq. 12); Stage I decodes
the frames K+1..T.

Legend: N clips, K given frames, T frames of a clip, P = T - K, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from moso.frames.clips import to_float
from moso.tasks.encode import decode
from moso.transformer.config import SamplingConfig
from moso.transformer.model import MosoTransformer
from moso.transformer.sampling import sample
from moso.vqvae.decompose import pseudo_clip
from moso.vqvae.model import VQVAE


def predict(
    vqvae: VQVAE,
    transformer: MosoTransformer,
    given: UInt8[np.ndarray, "N K H W 3"],
    *,
    seeds: Sequence[int],
    sampling: SamplingConfig,
    device: torch.device,
) -> UInt8[np.ndarray, "N P H W 3"]:
    """One sample of the T - K frames that follow `given`; `seeds` has one a clip."""
    known = to_float(torch.from_numpy(np.ascontiguousarray(given)).to(device))
    clips, given_frames, *picture = known.shape
    clip = known.new_zeros((clips, vqvae.grids.frames, *picture))
    clip[:, :given_frames] = known
    tokens = vqvae.encode(pseudo_clip(clip, given_frames))
    known_motion = tokens.motion[:, : transformer.given_motion_frames]
    drawn = sample(transformer, tokens.scene, tokens.object, known_motion, sampling, seeds)
    return decode(vqvae, drawn, device, frames=range(given_frames, vqvae.grids.frames))
