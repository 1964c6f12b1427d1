"""One episode: draw the world from the seed, let the arm push, film it."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from moso.sim.arm import TIP_HEIGHT, poses
from moso.sim.config import SimulationConfig, Vector
from moso.sim.render import Renderer
from moso.sim.scene import PHYSICS_STEPS, build_model, draw_objects, draw_start
from moso.sim.strokes import Stroke, draw_stroke


@dataclass(frozen=True)
class SimEpisode:
    """An episode of T frames, with what the recorder keeps and what only tests and tuning look at.

    Attributes:
        frames: uint8 (T, H, W, 3).
        actions: float32 (T, 3), metres: the gripper's way from this frame to the next one (x, y, z).
        states: float32 (T, 3), metres: the gripper's place (x, y, z of the fingertips).
        objects: float64 (T, n, 3), metres: the middles of the objects. Not recorded.
        under_way: number of the stroke under way at each frame, T long. Not recorded.
        strokes: the strokes. Not recorded.
    """

    frames: np.ndarray
    actions: np.ndarray
    states: np.ndarray
    objects: np.ndarray
    under_way: tuple[int, ...]
    strokes: tuple[Stroke, ...]


def simulate_episode(config: SimulationConfig, seed: int) -> SimEpisode:
    """The episode of a seed: the same bits whenever and wherever it is made by one version of MuJoCo and NumPy."""
    rng = np.random.Generator(np.random.PCG64(seed))
    x, y, elbow = draw_start(rng)
    things = draw_objects(rng, config.objects, (x, y))
    side = 1.0 if rng.random() < 0.5 else -1.0
    light = _draw_light(rng, config)
    model = build_model(config, things)
    data = mujoco.MjData(model)
    bodies = [model.body(f"object{i}").id for i in range(len(things))]
    _place(data, x, y, elbow)
    mujoco.mj_forward(model, data)
    renderer = Renderer(config, model, light)
    backdrop = renderer.backdrop(data, config.camera.target)

    frames = np.empty((config.frames, config.height, config.width, 3), dtype=np.uint8)
    actions = np.zeros((config.frames, 3), dtype=np.float32)
    states = np.empty((config.frames, 3), dtype=np.float32)
    objects = np.empty((config.frames, len(things), 3))
    numbers: list[int] = []
    strokes: list[Stroke] = []
    left = 0
    for t in range(config.frames):
        objects[t] = data.xpos[bodies]
        if left == 0:
            strokes.append(draw_stroke(rng, config.strokes, x, y, objects[t, :, :2]))
            left = strokes[-1].frames
        dx, dy = strokes[-1].step
        if config.camera.pan:
            backdrop = renderer.backdrop(data, _panned(config, side, t))
        frames[t] = renderer.frame(data, backdrop)
        states[t] = x, y, TIP_HEIGHT
        actions[t] = dx, dy, 0.0
        numbers.append(len(strokes) - 1)
        for i in range(1, PHYSICS_STEPS + 1):
            _place(data, x + dx * i / PHYSICS_STEPS, y + dy * i / PHYSICS_STEPS, elbow)
            mujoco.mj_step(model, data)
        x, y, left = x + dx, y + dy, left - 1
        mujoco.mj_kinematics(model, data)  # mj_step leaves the geoms where they were before its last integration
    return SimEpisode(frames, actions, states, objects, tuple(numbers), tuple(strokes))


def _place(data: mujoco.MjData, x: float, y: float, elbow: int) -> None:
    for i, (position, quaternion) in enumerate(poses(x, y, elbow)):
        data.mocap_pos[i] = position
        data.mocap_quat[i] = quaternion


def _draw_light(rng: np.random.Generator, config: SimulationConfig) -> Vector:
    x, y, z = config.light.position
    dx, dy = (float(v) for v in rng.uniform(-1.0, 1.0, size=2))
    return x + dx * config.light.spread, y + dy * config.light.spread, z


def _panned(config: SimulationConfig, side: float, t: int) -> Vector:
    x, y, z = config.camera.target
    return x + side * config.camera.pan * (t / (config.frames - 1) - 0.5), y, z
