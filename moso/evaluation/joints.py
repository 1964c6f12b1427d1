"""Where the clips of a rollout meet: does the picture jump there, more than from any frame to the next?

Legend: N videos, L frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

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


def joint_jump(video: UInt8[np.ndarray, "N L H W 3"], joints: Sequence[int]) -> JointJump:
    """The change at the joints against the ordinary change.

    Args:
        video: predicted frames, [0, 255].
        joints: numbers, from 0, of the last frames of clips: frame i ends one, frame i + 1 begins the next.

    Raises:
        ConfigError: no joint, one outside the video, or no other place to compare with.
    """
    places = video.shape[1] - 1
    if not joints or min(joints) < 0 or max(joints) >= places:
        raise ConfigError("joints", list(joints), f"must be frames from 0 to {places - 1}, at least one")
    if len(set(joints)) >= places:
        raise ConfigError("joints", list(joints), "leave no other place to compare with", "take longer clips")
    levels = video.astype(np.int16)
    changes = np.abs(levels[:, 1:] - levels[:, :-1]).mean(axis=(0, 2, 3, 4), dtype=np.float64)
    is_joint = np.isin(np.arange(places), joints)
    at, elsewhere = float(changes[is_joint].mean()), float(changes[~is_joint].mean())
    if elsewhere > 0:
        return JointJump(at, elsewhere, at / elsewhere)
    return JointJump(at, elsewhere, 1.0 if at == 0 else float("inf"))
