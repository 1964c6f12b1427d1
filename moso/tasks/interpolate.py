"""Frame interpolation (Sec. 3.2, C.3): the missing frames' motion tokens are masked and filled in, the others stay.

Scene and object tokens come from the clip. In the paper the clip is the whole one, the missing frames included
("whole_clip"); here the default ("given_frames") replaces the missing frames by their given neighbours before anything
is encoded, so that nothing is known of them: by a blend of both neighbours, which serves better than holding the one
before (docs/measurements.md).

Legend: N clips, T frames, K given frames of the model, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8

from moso.choices import TokensFrom
from moso.tasks.encode import decode, float_frames
from moso.tasks.networks import Networks
from moso.tokens.clip_tokens import ClipTokens
from moso.transformer.config import SamplingConfig
from moso.transformer.sampling import evaluating, fill_motion

STEPS = 16
"""Sampling steps of interpolation (Sec. 3.2)."""


def fill_frames(
    frames: UInt8[np.ndarray, "N T H W 3"], given: Sequence[int], how: Literal["hold", "blend"] = "blend"
) -> UInt8[np.ndarray, "N T H W 3"]:
    """The clips with every missing frame replaced by what its given neighbours say; the missing ones are not read.

    Args:
        frames: the clips.
        given: indices of the given frames, ascending.
        how: "hold" repeats the given frame before; "blend" mixes the two neighbours by their distance. Before the first
            and after the last given frame that one is repeated.
    """
    filled = np.empty_like(frames)
    known = np.asarray(given)
    for t in range(frames.shape[1]):
        after = int(np.searchsorted(known, t))
        if after < len(known) and known[after] == t:
            filled[:, t] = frames[:, t]
        elif after in (0, len(known)):
            filled[:, t] = frames[:, known[0 if after == 0 else -1]]
        elif how == "hold":
            filled[:, t] = frames[:, known[after - 1]]
        else:
            before, later = int(known[after - 1]), int(known[after])
            share = (t - before) / (later - before)
            mixed = frames[:, before] * np.float32(1 - share) + frames[:, later] * np.float32(share)
            filled[:, t] = np.rint(mixed).astype(np.uint8)
    return filled


def interpolate(
    networks: Networks,
    frames: UInt8[np.ndarray, "N T H W 3"],
    given: Sequence[int],
    tokens_from: TokensFrom,
    seeds: Sequence[int],
    sampling: SamplingConfig,
) -> UInt8[np.ndarray, "N T H W 3"]:
    """The clips with the missing frames drawn anew and the given ones as their tokens tell them."""
    known = fill_frames(frames, given) if tokens_from == "given_frames" else frames
    return decode(networks, draw_missing(networks, known, given, seeds, sampling))


def draw_missing(
    networks: Networks,
    clips: UInt8[np.ndarray, "N T H W 3"],
    given: Sequence[int],
    seeds: Sequence[int],
    sampling: SamplingConfig,
) -> ClipTokens:
    """Tokens of `clips`, but the motion tokens of the frames that are not given are masked and drawn."""
    transformer, given_frames = networks.transformer, networks.given_frames
    tokens, pseudo = networks.vqvae.encode_with_pseudo(float_frames(networks, clips), max(1, given_frames))
    scene, object = pseudo.scene, pseudo.object
    if not given_frames:  # no pseudo clip: such a transformer knows its tokens as masks only
        scene, object = (torch.full_like(part, transformer.mask) for part in (scene, object))
    missing = sorted(set(range(networks.clip_frames)) - set(given))
    motion = tokens.motion.clone()
    motion[:, missing] = transformer.mask
    given_motion = tokens.motion[:, : transformer.given_motion_frames]
    with evaluating(transformer):
        guidance = transformer.guidance(tokens.scene, tokens.object, scene, object, given_motion)
    return ClipTokens(tokens.scene, tokens.object, fill_motion(transformer, motion, guidance, sampling, seeds))
