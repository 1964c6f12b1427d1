"""The world as MuJoCo sees it: bin and table (the same always), objects (drawn), the arm's mocap capsules."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import mujoco
import numpy as np

from moso.sim.arm import ARM_HEIGHT, BASE, PARTS, RANGE_X, RANGE_Y, reachable
from moso.sim.config import ObjectsConfig, SimulationConfig

BIN = 0.35  # half the side of the bin's floor
WALL = 0.012  # half the thickness of a wall
WALL_HEIGHT = 0.10
STILL, MOVING, UNSEEN = 0, 1, 3  # geom groups: the renderer casts STILL once, MOVING in every frame, UNSEEN never
PHYSICS_STEPS = 20  # a frame
FLOOR_RGB = (0.80, 0.76, 0.68)
WALL_RGB = (0.46, 0.54, 0.64)
TABLE_RGB = (0.40, 0.35, 0.32)
BASE_RGB = (0.25, 0.26, 0.30)


@dataclass(frozen=True)
class SimObject:
    """One drawn object: shape, half extents (3,) metres, colour, place (x, y) and turn about z (radians)."""

    shape: str
    size: tuple[float, float, float]
    rgb: tuple[float, float, float]
    place: tuple[float, float]
    turn: float


def draw_start(rng: np.random.Generator) -> tuple[float, float, int]:
    """The gripper's first place (x, y) and the elbow's side (+1 or -1)."""
    while True:
        x, y = float(rng.uniform(*RANGE_X)), float(rng.uniform(*RANGE_Y))
        # a start at the rim leaves the whole bin ahead for the first stroke
        if reachable(x, y) and max(abs(x) / RANGE_X[1], abs(y) / RANGE_Y[1]) > 0.6:
            return x, y, 1 if rng.random() < 0.5 else -1


def draw_objects(rng: np.random.Generator, config: ObjectsConfig, gripper: tuple[float, float]) -> list[SimObject]:
    """The episode's objects, none of them under the gripper at `gripper`, all `config.spacing` apart.

    A layout in which the last object finds no place is thrown away and drawn anew.
    """
    count = int(rng.integers(config.count[0], config.count[1] + 1))
    limit = BIN - config.half_size[1] * math.sqrt(2) - 0.01
    while True:
        places: list[tuple[float, float]] = []
        for _ in range(200):
            x, y = float(rng.uniform(-limit, limit)), float(rng.uniform(-limit, limit))
            clear = math.hypot(x - gripper[0], y - gripper[1]) > config.half_size[1] * math.sqrt(2) + 0.06
            if clear and all(math.hypot(x - a, y - b) >= config.spacing for a, b in places):
                places.append((x, y))
            if len(places) == count:
                return [_draw_object(rng, config, place) for place in places]


def _draw_object(rng: np.random.Generator, config: ObjectsConfig, place: tuple[float, float]) -> SimObject:
    shape = config.shapes[int(rng.integers(len(config.shapes)))]
    a, b, c = (float(v) for v in rng.uniform(*config.half_size, size=3))
    size = (a, a, c) if shape == "cylinder" else (a, b, c)
    hue, saturation, value = (float(rng.uniform(*r)) for r in (config.hue, config.saturation, config.brightness))
    return SimObject(
        shape, size, colorsys.hsv_to_rgb(hue, saturation, value), place, float(rng.uniform(-math.pi, math.pi))
    )


def build_model(config: SimulationConfig, objects: list[SimObject]) -> mujoco.MjModel:
    """The compiled model: bodies in the order arm (PARTS), then objects; still geoms first."""
    step = 1.0 / config.fps / PHYSICS_STEPS
    arm = "".join(
        f'<body name="{p.name}" mocap="true"><geom type="capsule" size="{p.radius} {p.half_length}" group="{MOVING}" '
        f'contype="{int(p.collides)}" conaffinity="{int(p.collides)}" rgba="{_text(p.rgb)} 1"/></body>'
        for p in PARTS
    )
    things = "".join(_object_xml(i, o, config.objects.density) for i, o in enumerate(objects))
    return mujoco.MjModel.from_xml_string(
        f"""<mujoco>
        <option timestep="{step!r}" integrator="implicitfast" iterations="20"/>
        <visual><map znear="0.001"/></visual>
        <default><geom condim="4" friction="0.7 0.01 0.001" solref="0.01 1"/></default>
        <worldbody>
          <geom name="floor" type="plane" size="2 2 1" group="{STILL}" rgba="{_text(FLOOR_RGB)} 1"/>
          {_walls_xml()}
          <geom name="base" type="cylinder" pos="{BASE[0]} {BASE[1]} {ARM_HEIGHT / 2}"
                size="0.055 {ARM_HEIGHT / 2 + 0.04}" group="{STILL}" contype="0" conaffinity="0"
                rgba="{_text(BASE_RGB)} 1"/>
          {arm}{things}
        </worldbody></mujoco>"""
    )


def _object_xml(index: int, thing: SimObject, density: float) -> str:
    size = (thing.size[0], thing.size[2]) if thing.shape == "cylinder" else thing.size
    (x, y), half = thing.place, thing.turn / 2
    quaternion = f"{math.cos(half)!r} 0 0 {math.sin(half)!r}"
    # a slight damping stands for what rolls and slides on a real, soft mat: objects come to rest once they are let go
    return (
        f'<body name="object{index}" pos="{x!r} {y!r} {thing.size[2]!r}" quat="{quaternion}">'
        f'<joint type="free" damping="0.02"/><geom type="{thing.shape}" size="{_text(size)}" density="{density}" '
        f'group="{MOVING}" rgba="{_text(thing.rgb)} 1"/></body>'
    )


def _walls_xml() -> str:
    xml = ""
    for name, x, y in (("east", 1, 0), ("west", -1, 0), ("north", 0, 1), ("south", 0, -1)):
        place, length = BIN + WALL, BIN + 2 * WALL
        size = f"{WALL if x else length} {WALL if y else length} {WALL_HEIGHT / 2}"
        xml += (
            f'<geom name="{name}" type="box" pos="{x * place} {y * place} {WALL_HEIGHT / 2}" size="{size}" '
            f'group="{STILL}" rgba="{_text(WALL_RGB)} 1"/>'
        )
        # an unseen fence above each wall: what is squeezed against a wall cannot climb out of the bin
        place, size = BIN + 0.2, f"{0.2 if x else 0.75} {0.2 if y else 0.75} 0.5"
        xml += f'<geom type="box" pos="{x * place} {y * place} 0.5" size="{size}" group="{UNSEEN}"/>'
    return xml


def _text(values: tuple[float, ...]) -> str:
    return " ".join(repr(v) for v in values)
