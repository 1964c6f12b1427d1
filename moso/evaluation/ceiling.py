"""What Stage I alone makes of the true frames: the ceiling of every prediction, and what is left without motion.

A clip longer than the model's is reconstructed window by window, as a rollout draws it: each scored frame comes from
the first window that it is not a given frame of.

Legend: N clips, F frames of a clip, T frames of the model's, K given frames, P scored frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from moso.tasks.model import Model
from moso.tokens.clip_tokens import ClipTokens

Draw = Callable[[ClipTokens, Sequence[int]], UInt8[np.ndarray, "N n H W 3"]]
"""Tokens of a window and numbers of frames inside it -> these frames (or one for all)."""


def freeze_motion(tokens: ClipTokens) -> ClipTokens:
    """The same clips with every frame's motion tokens replaced by the first frame's.

    Where motion carries nothing, decoding them changes nothing: the reconstruction must break, or Stage I cheats.
    """
    return ClipTokens(tokens.scene, tokens.object, tokens.motion[:, :1].expand_as(tokens.motion).contiguous())


def starts(frames: int, clip_frames: int, given_frames: int) -> list[int]:
    """First frames of the windows that cover a clip: T - K apart, the last one moved back to end with the clip."""
    step, last = clip_frames - given_frames, frames - clip_frames
    return [*range(0, last, step), last]


def windowed(
    model: Model, whole: UInt8[np.ndarray, "N F H W 3"], frames: Sequence[int], draw: Mapping[str, Draw]
) -> dict[str, UInt8[np.ndarray, "N P H W 3"]]:
    """Several drawings of the true clips' tokens, of clips of any length.

    Args:
        model: any of the clips' size.
        whole: clips of at least T frames.
        frames: numbers of the wanted frames, from 0.
        draw: name -> function of a window's tokens and of frame numbers inside it.

    Raises:
        InputError: clips that do not fit the model.
    """
    length, wanted = model.clip_frames, list(frames)
    found = {name: np.empty((len(whole), len(wanted), *whole.shape[2:]), np.uint8) for name in draw}
    left = set(wanted)
    for first in starts(whole.shape[1], length, model.given_frames):
        here = [frame for frame in wanted if frame in left and first <= frame < first + length]
        if not here:
            continue
        left -= set(here)
        places, inside = [wanted.index(frame) for frame in here], [frame - first for frame in here]
        tokens = model.encode(whole[:, first : first + length])
        for name, of_tokens in draw.items():
            found[name][:, places] = of_tokens(tokens, inside)
    return found


def motion_frozen(model: Model) -> Draw:
    """Draws a window with every frame's motion tokens replaced by the first frame's: one frame for all.

    The decoder is blind to time (Eqs. 3-8): with one frame's motion tokens everywhere, all frames are one.
    """
    return lambda tokens, inside: model.decode(freeze_motion(tokens), [0])


def ceiling(
    model: Model, whole: UInt8[np.ndarray, "N F H W 3"], scored: Sequence[int]
) -> dict[str, UInt8[np.ndarray, "N P H W 3"]]:
    """ "reconstruction" and "motion_frozen" of the scored frames; see `windowed`."""
    return windowed(model, whole, scored, {"reconstruction": model.decode, "motion_frozen": motion_frozen(model)})
