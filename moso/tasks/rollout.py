"""Long prediction (Sec. 3.2): clip after clip, each clip's last K frames being the next one's given frames.

Two ways to hand them on. "tokens", the paper's: scene and object tokens of a clip stand for those of the next pseudo
clip, and the motion tokens of its last K frames for the given ones. "frames": the last K frames are decoded and encoded
again.

Legend: N clips, K given frames, T frames of a clip, P = T - K, L frames asked for, g frames whose motion tokens are
given, h w token grid, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from moso.tasks.encode import decode
from moso.tasks.networks import Networks
from moso.tasks.predict import Conditioning, condition, draw
from moso.tokens.clip_tokens import ClipTokens
from moso.training.random import key_seed
from moso.transformer.config import SamplingConfig

Carry = Literal["tokens", "frames"]


def carry_tokens(tokens: ClipTokens, given_frames: int, given_motion_frames: int) -> Conditioning:
    """The next clip's conditioning: scene and object tokens as they are, motion tokens of frames T-K+1 .. T-K+g.

    The last K frames become frames 1 .. K of the next clip, of which the first g are given.

    Args:
        tokens: of a clip of T frames.
        given_frames: K.
        given_motion_frames: g, at most K.
    """
    first = tokens.motion.shape[1] - given_frames
    return Conditioning(tokens.scene, tokens.object, tokens.motion[:, first : first + given_motion_frames])


def clip_seed(seed: int, clip: int) -> int:
    """The seed of clip number `clip` of a rollout; the first one's is `seed` itself, so that it equals `predict`."""
    return key_seed(seed, "rollout", clip) if clip else seed


def rollout(
    networks: Networks,
    given: UInt8[np.ndarray, "N K H W 3"],
    length: int,
    carry: Carry,
    seeds: Sequence[int],
    sampling: SamplingConfig,
) -> UInt8[np.ndarray, "N L H W 3"]:
    """The `length` frames that follow `given`; `seeds` has one a clip. Beside the result one clip is held at a time."""
    given_frames, frames = networks.given_frames, networks.clip_frames
    known = condition(networks, given)
    result = np.empty((len(given), length, *given.shape[2:]), dtype=np.uint8)
    for clip, done in enumerate(range(0, length, frames - given_frames)):
        tokens = draw(networks, known, [clip_seed(seed, clip) for seed in seeds], sampling)
        wanted = range(given_frames, min(frames, given_frames + length - done))
        result[:, done : done + len(wanted)] = decode(networks, tokens, wanted)
        if done + len(wanted) == length:
            break
        if carry == "tokens":
            known = carry_tokens(tokens, given_frames, networks.transformer.given_motion_frames)
        else:
            known = condition(networks, decode(networks, tokens, range(frames - given_frames, frames)))
    return result
