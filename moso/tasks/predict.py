"""Video prediction (Sec. 3.2): the frames after the first K.

The K given frames are repeated to a pseudo clip (Eq. 10) and encoded; Stage II draws the target clip's tokens from its
scene and object tokens and the motion tokens of the pools wholly inside the first K frames (Eq. 12); Stage I decodes
the frames K+1..T.

Legend: N clips, K given frames, T frames of a clip, P = T - K, h w token grid, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8
from torch import Tensor

from moso.tasks.chunks import chunks
from moso.tasks.encode import decode, float_frames
from moso.tasks.networks import Networks
from moso.tokens.clip_tokens import ClipTokens
from moso.transformer.config import SamplingConfig
from moso.transformer.sampling import sample
from moso.vqvae.decompose import pseudo_clip


@dataclass(frozen=True)
class Conditioning:
    """What Stage II is told of the frames before.

    Attributes:
        scene, object: tokens of the pseudo clip.
        motion: tokens of the frames whose pools lie wholly inside the given ones.
    """

    scene: Int[Tensor, "N hs ws"]
    object: Int[Tensor, "N ho wo"]
    motion: Int[Tensor, "N g hm wm"]


def condition(networks: Networks, given: UInt8[np.ndarray, "N K H W 3"]) -> Conditioning:
    """The conditioning that K given frames make (Eqs. 10, 12); nothing else is read."""
    known = float_frames(networks, given)
    clips, given_frames, *picture = known.shape
    clip = known.new_zeros((clips, networks.clip_frames, *picture))
    clip[:, :given_frames] = known
    tokens = networks.vqvae.encode(pseudo_clip(clip, given_frames))
    return Conditioning(tokens.scene, tokens.object, tokens.motion[:, : networks.transformer.given_motion_frames])


def draw(
    networks: Networks, known: Conditioning, seeds: Sequence[int], sampling: SamplingConfig, samples: int = 1
) -> ClipTokens:
    """Samples of the target clips' tokens, those of a clip one after the other; `seeds` has one a sample."""
    pseudo = (known.scene, known.object)
    return sample(networks.transformer, *pseudo, known.motion, sampling, seeds, repeats=samples)


def predict(
    networks: Networks, given: UInt8[np.ndarray, "N K H W 3"], seeds: Sequence[int], sampling: SamplingConfig
) -> UInt8[np.ndarray, "N P H W 3"]:
    """One sample of the T - K frames that follow `given`; `seeds` has one a clip."""
    tokens = draw(networks, condition(networks, given), seeds, sampling)
    return decode(networks, tokens, range(networks.given_frames, networks.clip_frames))


def predict_samples(
    networks: Networks,
    given: UInt8[np.ndarray, "N K H W 3"],
    samples: int,
    seeds: Sequence[int],
    sampling: SamplingConfig,
) -> UInt8[np.ndarray, "N S P H W 3"]:
    """`samples` samples of each clip: sample j of seed s is what seed s + j gives.

    The given frames are encoded once; `networks.batch` samples are drawn at a time (or one a clip, if that is more).
    """
    known, wanted = condition(networks, given), range(networks.given_frames, networks.clip_frames)
    result = np.empty((len(given), samples, len(wanted), *given.shape[2:]), dtype=np.uint8)
    for part in chunks(samples, max(1, networks.batch // len(given))):
        numbers = range(part.start, part.stop)
        each = [seed + number for seed in seeds for number in numbers]
        videos = decode(networks, draw(networks, known, each, sampling, len(numbers)), wanted)
        result[:, part] = videos.reshape(len(given), len(numbers), *videos.shape[1:])
    return result
