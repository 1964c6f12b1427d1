"""The arm: where it stands, how far it reaches, and the pose of each part for a place of the gripper.

Two links of equal length turn in a horizontal plane above the bin about a base behind it; a gripper hangs from the
tip: a wrist, a crossbar and two fingers, all capsules moved as mocap bodies. Only the gripper collides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LINK = 0.38
BASE = (0.0, 0.43)
ARM_HEIGHT = 0.21
FINGER_SPREAD = 0.028
TIP_HEIGHT = 0.022
REACH = (0.18, 0.745)
RANGE_X = (-0.27, 0.27)
RANGE_Y = (-0.26, 0.24)


@dataclass(frozen=True)
class Part:
    """One capsule of the arm: name, radius, half length (without the caps), colour, whether it collides."""

    name: str
    radius: float
    half_length: float
    rgb: tuple[float, float, float]
    collides: bool


STEEL = (0.16, 0.18, 0.23)
JOINT = (0.93, 0.55, 0.12)
CLAW = (0.90, 0.88, 0.84)
PARTS = (
    Part("upper", 0.038, LINK / 2, STEEL, False),
    Part("fore", 0.033, LINK / 2, STEEL, False),
    Part("elbow", 0.046, 0.012, JOINT, False),
    Part("wrist", 0.034, (ARM_HEIGHT - 0.13) / 2, JOINT, False),
    Part("bar", 0.020, FINGER_SPREAD, CLAW, True),
    Part("left", 0.018, 0.045, CLAW, True),
    Part("right", 0.018, 0.045, CLAW, True),
)
Pose = tuple[tuple[float, float, float], tuple[float, float, float, float]]
UPRIGHT = (1.0, 0.0, 0.0, 0.0)


def reachable(x: float, y: float) -> bool:
    """Whether the gripper may be at (x, y): inside its range over the bin and within the two links' reach."""
    distance = math.hypot(x - BASE[0], y - BASE[1])
    # narrower towards the camera, whose picture is: an arm outside of it cannot be predicted
    side = min(RANGE_X[1], 0.21 + 0.14 * (y - RANGE_Y[0]))
    inside = abs(x) <= side and RANGE_Y[0] <= y <= RANGE_Y[1]
    return inside and REACH[0] <= distance <= REACH[1]


def joint_angles(x: float, y: float, elbow: int) -> tuple[float, float]:
    """Two-link inverse kinematics: directions of the upper arm and of the forearm, radians from +x.

    Args:
        x, y: the gripper's place, reachable.
        elbow: +1 or -1, the side to which the elbow points.
    """
    dx, dy = x - BASE[0], y - BASE[1]
    distance = math.hypot(dx, dy)
    # equal links: the triangle is isosceles, both base angles have this cosine
    inner = math.acos(min(1.0, distance / (2 * LINK)))
    heading = math.atan2(dy, dx)
    return heading + elbow * inner, heading - elbow * inner


def _lying(angle: float) -> tuple[float, float, float, float]:
    """Quaternion that turns a capsule's own axis (z) to the horizontal direction `angle`."""
    half = math.sqrt(0.5)
    return (half, -half * math.sin(angle), half * math.cos(angle), 0.0)


def poses(x: float, y: float, elbow: int) -> list[Pose]:
    """Position and quaternion (w, x, y, z) of each of PARTS, for the gripper at (x, y)."""
    upper, fore = joint_angles(x, y, elbow)
    ex, ey = BASE[0] + LINK * math.cos(upper), BASE[1] + LINK * math.sin(upper)
    # the fingers stand abreast, across the forearm
    sx, sy = -math.sin(fore) * FINGER_SPREAD, math.cos(fore) * FINGER_SPREAD
    finger = TIP_HEIGHT + PARTS[5].radius + PARTS[5].half_length
    top = finger + PARTS[5].half_length
    return [
        (((BASE[0] + ex) / 2, (BASE[1] + ey) / 2, ARM_HEIGHT), _lying(upper)),
        (((ex + x) / 2, (ey + y) / 2, ARM_HEIGHT), _lying(fore)),
        ((ex, ey, ARM_HEIGHT), UPRIGHT),
        ((x, y, (ARM_HEIGHT + top) / 2), UPRIGHT),
        ((x, y, top), _lying(fore + math.pi / 2)),
        ((x + sx, y + sy, finger), UPRIGHT),
        ((x - sx, y - sy, finger), UPRIGHT),
    ]
