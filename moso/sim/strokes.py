"""Where the gripper goes: straight strokes of constant speed through the bin, each aimed at an object."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from moso.sim.arm import RANGE_X, RANGE_Y, reachable
from moso.sim.config import StrokesConfig

MARCH = 0.005  # metres; how finely the reach along a line is searched
TRIES = 40


@dataclass(frozen=True)
class Stroke:
    """A straight motion: `step` (metres a frame, x and y) for `frames` frames; `aimed` is the object's number or -1."""

    step: tuple[float, float]
    frames: int
    aimed: int


def way_ahead(x: float, y: float, dx: float, dy: float) -> float:
    """Metres that the gripper can go from (x, y) along the unit vector (dx, dy) before it leaves its reach."""
    steps = 0
    while reachable(x + dx * MARCH * (steps + 1), y + dy * MARCH * (steps + 1)):
        steps += 1
    return steps * MARCH


def draw_stroke(rng: np.random.Generator, config: StrokesConfig, x: float, y: float, objects: np.ndarray) -> Stroke:
    """The next stroke from (x, y).

    Objects are tried in a drawn order; the first one is taken through which the reach allows a stroke of the least
    length and speed. Where no object allows it, the stroke goes to a drawn place far off, so that motion never stops
    short.

    Args:
        objects: (n, 2) places of the objects' middles, metres.
    """
    least = config.frames[0] * config.step[0]
    for index in rng.permutation(len(objects)):
        dx, dy = float(objects[index, 0]) - x, float(objects[index, 1]) - y
        distance = math.hypot(dx, dy)
        offset = float(rng.uniform(-config.aim_spread, config.aim_spread))
        if distance < 0.09:  # beside or under the gripper: the line's direction would be an accident
            continue
        dx, dy = dx - offset * dy / distance, dy + offset * dx / distance
        length = math.hypot(dx, dy)
        dx, dy = dx / length, dy / length
        ahead = way_ahead(x, y, dx, dy)
        if ahead >= max(least, distance):
            return _draw_speed(rng, config, dx, dy, ahead, int(index))
    best, best_ahead = (0.0, 0.0), 0.0
    for _ in range(TRIES):
        dx, dy = float(rng.uniform(*RANGE_X)) - x, float(rng.uniform(*RANGE_Y)) - y
        length = max(math.hypot(dx, dy), 1e-9)
        ahead = way_ahead(x, y, dx / length, dy / length)
        if ahead > best_ahead:
            best, best_ahead = (dx / length, dy / length), ahead
        if ahead >= least:
            break
    return _draw_speed(rng, config, *best, best_ahead, -1)


def _draw_speed(
    rng: np.random.Generator, config: StrokesConfig, dx: float, dy: float, ahead: float, aimed: int
) -> Stroke:
    slow, fast = config.step
    most = min(config.frames[1], max(config.frames[0], int(ahead / slow)))
    frames = int(rng.integers(config.frames[0], most + 1))
    fast = min(fast, ahead / frames)
    step = float(rng.uniform(min(slow, fast), fast))
    return Stroke((dx * step, dy * step), frames, aimed)
