"""Long prediction (Sec. 3.2): clip after clip, each clip's last K frames being the next one's given frames.

Two ways to hand them on. "tokens", the paper's: scene and object tokens of a clip stand for those of the next pseudo
clip, and the motion tokens of its last K frames for the given ones. "frames": the last K frames are decoded and encoded
again.

Where two clips meet, both have drawn one and the same frame: the old one as its last, the new one as its K-th, from
other scene and object tokens. What the two drawings differ by would show as a jump; `fade` adds it to the new clip's
first frames, less from frame to frame. With it a joint looks like any other place (docs/measurements.md).

Legend: N clips, K given frames, T frames of a clip, P = T - K, L frames asked for, g frames whose motion tokens are
given, h w token grid, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int16, UInt8

from moso.choices import Carry
from moso.tasks.chunks import chunks
from moso.tasks.encode import decode
from moso.tasks.networks import Networks
from moso.tasks.predict import Conditioning, condition, draw
from moso.tokens.clip_tokens import ClipTokens
from moso.training.random import key_seed
from moso.transformer.config import SamplingConfig

FADED_FRAMES = 2
"""Frames over which the joint between two clips is spread."""


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


def fade(
    frames: UInt8[np.ndarray, "N n H W 3"], offset: Int16[np.ndarray, "N H W 3"], over: int = FADED_FRAMES
) -> UInt8[np.ndarray, "N n H W 3"]:
    """`frames` with `offset` added, which falls evenly: over / (over + 1) of it at the first one, nothing after `over`.

    Args:
        frames: of the new clip, those shown.
        offset: the old clip's drawing of the frame before them, less the new clip's drawing of it.
        over: number of frames that are changed.
    """
    faded = frames.copy()
    for i in range(min(over, frames.shape[1])):
        mixed = frames[:, i] + offset * np.float32((over - i) / (over + 1))
        faded[:, i] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return faded


def rollout(
    networks: Networks,
    given: UInt8[np.ndarray, "N K H W 3"],
    length: int,
    carry: Carry,
    faded: Sequence[bool],
    seeds: Sequence[int],
    sampling: SamplingConfig,
) -> UInt8[np.ndarray, "N V L H W 3"]:
    """The `length` frames that follow `given`; `seeds` has one a clip. Beside the result one clip is held at a time.

    A shorter rollout is the beginning of a longer one. `faded` has an entry for each of the V videos of a clip: whether
    its joints are faded. They are drawn from the same tokens.
    """
    return roll(networks, condition(networks, given), length, carry, faded, seeds, sampling)


def trials(
    networks: Networks,
    given: UInt8[np.ndarray, "N K H W 3"],
    samples: int,
    length: int,
    carry: Carry,
    faded: bool,
    seeds: Sequence[int],
    sampling: SamplingConfig,
) -> Iterator[tuple[slice, UInt8[np.ndarray, "N n L H W 3"]]]:
    """Samples of the `length` frames that follow, `networks.batch` videos (or one a clip, if that is more) at a time.

    The given frames are encoded once, and what Stage II knows of them is worked out once for the samples of a turn.
    Memory does not depend on the number of samples. Sample j of seed s is what seed s + j gives (`predict_samples`).

    Yields:
        Which samples, and their videos.
    """
    known = condition(networks, given)
    for part in chunks(samples, max(1, networks.batch // len(given))):
        count = part.stop - part.start
        each = [seed + number for seed in seeds for number in range(part.start, part.stop)]
        videos = roll(networks, known, length, carry, (faded,), each, sampling, count)[:, 0]
        yield part, videos.reshape(len(given), count, *videos.shape[1:])


def roll(
    networks: Networks,
    known: Conditioning,
    length: int,
    carry: Carry,
    faded: Sequence[bool],
    seeds: Sequence[int],
    sampling: SamplingConfig,
    samples: int = 1,
) -> UInt8[np.ndarray, "R V L H W 3"]:
    """`rollout` from what Stage II is told: R = N x `samples` videos, those of a row of `known` one after the other.

    `seeds` has one a video.
    """
    given_frames, frames = networks.given_frames, networks.clip_frames
    result = np.empty((len(seeds), len(faded), length, networks.height, networks.width, 3), dtype=np.uint8)
    for clip, done in enumerate(range(0, length, frames - given_frames)):
        drawn_seeds = [clip_seed(seed, clip) for seed in seeds]
        # From the second clip on each sample goes on from tokens of its own.
        tokens = draw(networks, known, drawn_seeds, sampling, 1 if clip else samples)
        wanted = range(given_frames, min(frames, given_frames + length - done))
        drawn = decode(networks, tokens, wanted)
        before = decode(networks, tokens, [given_frames - 1])[:, 0] if clip and any(faded) else None
        for video, fades in enumerate(faded):
            joined = drawn
            if fades and before is not None:
                joined = fade(drawn, np.subtract(result[:, video, done - 1], before, dtype=np.int16))
            result[:, video, done : done + len(wanted)] = joined
        if done + len(wanted) == length:
            break
        if carry == "tokens":
            known = carry_tokens(tokens, given_frames, networks.transformer.given_motion_frames)
        else:
            known = condition(networks, decode(networks, tokens, range(frames - given_frames, frames)))
    return result
