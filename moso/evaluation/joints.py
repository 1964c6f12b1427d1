"""Where the clips of a rollout meet: does the picture jump there, more than from any frame to the next?

Legend: N videos, L frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from moso.errors import ConfigError


@dataclass(frozen=True)
class JointJump:
    """Mean absolute change from a frame to the next, in grey levels of 255.

    Attributes:
        at_joints: at the joints.
        elsewhere: at all other places: the ordinary change.
        ratio: at_joints / elsewhere; 1 where a joint looks like any other place (also where nothing moves at all).
    """

    at_joints: float
    elsewhere: float
    ratio: float


def joints(frames: int, predicted_frames: int) -> list[int]:
    """Numbers, from 0, of the frames that end a clip and have another clip behind them.

    Args:
        frames: L, of the whole prediction.
        predicted_frames: T - K, of one clip.
    """
    return list(range(predicted_frames - 1, frames - 1, predicted_frames))


def frame_changes(video: UInt8[np.ndarray, "N L H W 3"]) -> Float[np.ndarray, "N places"]:
    """Mean absolute difference of each frame from the one before it, in grey levels of 255."""
    levels = video.astype(np.int16)
    changes: Float[np.ndarray, "N places"] = np.abs(levels[:, 1:] - levels[:, :-1]).mean(
        axis=(2, 3, 4), dtype=np.float64
    )
    return changes


def joint_jump(changes: Float[np.ndarray, "N places"], joints: Sequence[int]) -> JointJump:
    """The change at the joints against the ordinary change.

    Args:
        changes: of L - 1 places between predicted frames (`frame_changes`).
        joints: frame i ends a clip, frame i + 1 begins the next (`joints`).

    Raises:
        ConfigError: no joint, one outside the video, or no other place to compare with.
    """
    places = changes.shape[1]
    if not joints or min(joints) < 0 or max(joints) >= places:
        raise ConfigError("joints", list(joints), f"must be frames from 0 to {places - 1}, at least one")
    if len(set(joints)) >= places:
        raise ConfigError("joints", list(joints), "leave no other place to compare with", "take longer clips")
    is_joint = np.isin(np.arange(places), joints)
    at, elsewhere = float(changes[:, is_joint].mean()), float(changes[:, ~is_joint].mean())
    if elsewhere > 0:
        return JointJump(at, elsewhere, at / elsewhere)
    return JointJump(at, elsewhere, 1.0 if at == 0 else float("inf"))
