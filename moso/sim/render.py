"""Pictures by MuJoCo's ray caster: Lambert shading, shadows from one point light, supersampling.

Of each picture's rays, those that meet bin and table come out the same in every frame of a still camera: their
distance, colour and shading are cast once (`Backdrop`). A frame then costs one cast from the camera at the moving
geoms, and one from the light at the visible points; of both, only the rays that meet a sphere around a part of a moving
geom are cast (`_near`), which leaves out most of them and changes no picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

from moso.sim.config import SimulationConfig, Vector
from moso.sim.scene import BIN, MOVING, STILL, TABLE_RGB

NEAR = 1e-3  # relative; what lies nearer to the light than a point by more than this shadows it
Array = np.ndarray


@dataclass(frozen=True)
class Backdrop:
    """What the rays of one camera meet when neither arm nor objects are there; R rays.

    Attributes:
        eye: (3,) the camera's place.
        rays: (R, 3) unit vectors.
        distance: (R,) metres.
        point: (R, 3) where each ray ends.
        to_point: (3, R) float32 unit vectors from the light to each point.
        ambient: (R, 3) brightness in shadow, grey levels.
        direct: (R, 3) what the light adds, grey levels; 0 where bin or base shadow it.
    """

    eye: Array
    rays: Array
    distance: Array
    point: Array
    to_point: Array
    ambient: Array
    direct: Array


def pixel_rays(config: SimulationConfig, target: Vector) -> Array:
    """Unit vectors (R, 3) through the middle of each subpixel, row by row from the top left.

    R = height * supersampling * width * supersampling.
    """
    px, py, pz = config.camera.position
    fx, fy, fz = _unit(target[0] - px, target[1] - py, target[2] - pz)
    rx, ry, _ = _unit(fy, -fx, 0.0)  # right: forward x up
    ux, uy, uz = ry * fz, -rx * fz, rx * fy - ry * fx  # up: right x forward
    rows, columns = config.height * config.supersampling, config.width * config.supersampling
    half = math.tan(math.radians(config.camera.field_of_view) / 2)
    down = ((np.arange(rows) + 0.5) / rows * 2 - 1) * half
    across = ((np.arange(columns) + 0.5) / columns * 2 - 1) * half * config.width / config.height
    a, d = (v.reshape(-1) for v in np.meshgrid(across, down))
    rays = np.stack([fx + rx * a - ux * d, fy + ry * a - uy * d, fz - uz * d], axis=1)
    return rays / np.sqrt((rays * rays).sum(axis=1, keepdims=True))


def _unit(x: float, y: float, z: float) -> Vector:
    length = math.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


class Renderer:
    """Draws the frames of one episode.

    Args:
        model: the episode's model (`build_model`).
        light: the light's place.
    """

    def __init__(self, config: SimulationConfig, model: mujoco.MjModel, light: Vector) -> None:
        self.config, self.model = config, model
        self.light = np.array(light, dtype=np.float64)
        self.albedo = (model.geom_rgba[:, :3] * 255.0).astype(np.float32)
        warmth = config.light.warmth
        self.tint = np.array([1 + warmth, 1.0, 1 - warmth], dtype=np.float32) * np.float32(1 - config.light.ambient)
        self._still = np.array([group == STILL for group in range(6)], dtype=np.uint8)
        self._moving = np.array([group == MOVING for group in range(6)], dtype=np.uint8)
        self._spheres = _bounding_spheres(model)

    def backdrop(self, data: mujoco.MjData, target: Vector) -> Backdrop:
        """Cast what stays still, for a camera that looks at `target`."""
        eye = np.array(self.config.camera.position)
        rays = pixel_rays(self.config, target)
        geom, distance, normal = self._cast(data, eye, rays, self._still)
        # a ray that meets nothing (a camera turned up to the sky) ends far away, in the dark
        missed = geom < 0
        distance[missed] = 1e3
        point = eye + rays * distance[:, None]
        albedo = self.albedo[geom]
        albedo[missed] = 0.0
        floor = geom == 0
        albedo[floor] = floor_colours(point[floor], albedo[floor])
        direct = self._direct(albedo, point, normal)
        direct[self._shadowed(data, point, self._still)] = 0.0
        to_point = _directions(self.light, point)
        return Backdrop(eye, rays, distance, point, to_point, albedo * np.float32(self.config.light.ambient), direct)

    def frame(self, data: mujoco.MjData, backdrop: Backdrop) -> Array:
        """The picture of `data`, uint8 (height, width, 3)."""
        near = self._near(data, backdrop.eye, backdrop.rays.T.astype(np.float32))
        geom, distance, normal = self._cast(data, backdrop.eye, backdrop.rays[near], self._moving)
        seen = (geom >= 0) & (distance < backdrop.distance[near])
        hit, geom, distance, normal = near[seen], geom[seen], distance[seen], normal[seen]
        point, to_point = backdrop.point.copy(), backdrop.to_point.copy()
        point[hit] = backdrop.eye + backdrop.rays[hit] * distance[:, None]
        to_point[:, hit] = _directions(self.light, point[hit])
        ambient, direct = backdrop.ambient.copy(), backdrop.direct.copy()
        albedo = self.albedo[geom]
        ambient[hit] = albedo * np.float32(self.config.light.ambient)
        direct[hit] = self._direct(albedo, point[hit], normal)
        direct[hit[self._shadowed(data, point[hit], self._still)]] = 0.0
        near = self._near(data, self.light, to_point)
        direct[near[self._shadowed(data, point[near], self._moving)]] = 0.0
        return self._downsample(ambient + direct)

    def _downsample(self, colours: Array) -> Array:
        s, height, width = self.config.supersampling, self.config.height, self.config.width
        grid = colours.reshape(height, s, width, s, 3)
        total = grid[:, 0, :, 0].copy()
        for i in range(s):
            for j in range(s):
                if i or j:
                    total += grid[:, i, :, j]
        return np.clip(np.rint(total / np.float32(s * s)), 0, 255).astype(np.uint8)

    def _direct(self, albedo: Array, point: Array, normal: Array) -> Array:
        """Lambert: the light that a surface sends back, by the angle at which it falls in."""
        to_light = self.light - point
        cosine = (to_light * normal).sum(axis=1) / np.sqrt((to_light * to_light).sum(axis=1))
        return albedo * self.tint * np.maximum(cosine, 0.0).astype(np.float32)[:, None]

    def _shadowed(self, data: mujoco.MjData, point: Array, groups: Array) -> Array:
        """Whether a geom of `groups` stands between the light and each point; bool (R,)."""
        # with vectors that end at the points, distances come in units of the way from light to point
        geom, distance, _ = self._cast(data, self.light, point - self.light, groups, normals=False)
        return (geom >= 0) & (distance < 1 - NEAR)

    def _near(self, data: mujoco.MjData, origin: Array, directions: Array) -> Array:
        """Numbers of the rays that pass through one of the spheres around the moving geoms.

        Args:
            directions: (3, R) float32 unit vectors.
        """
        geom, offset, radius = self._spheres
        away = data.geom_xpos[geom] + offset[:, None] * data.geom_xmat[geom].reshape(-1, 3, 3)[:, :, 2] - origin
        distance = np.sqrt((away * away).sum(axis=1))
        if (distance <= radius).any():  # the origin lies inside a sphere, which hides nothing then
            return np.arange(directions.shape[1])
        # a margin far above float32's rounding: which rays are left out must never depend on it
        cosine = (np.sqrt(1 - (radius / distance) ** 2) - 1e-5).astype(np.float32)
        away = (away / distance[:, None]).astype(np.float32)
        along = away[:, :1] * directions[0] + away[:, 1:2] * directions[1] + away[:, 2:] * directions[2]
        return np.flatnonzero((along >= cosine[:, None]).any(axis=0))

    def _cast(
        self, data: mujoco.MjData, origin: Array, rays: Array, groups: Array, normals: bool = True
    ) -> tuple[Array, Array, Array]:
        count = len(rays)
        geom, distance = np.full(count, -1, dtype=np.int32), np.zeros(count)
        normal = np.zeros((count, 3)) if normals else None
        mujoco.mj_multiRay(
            self.model, data, origin, rays.reshape(-1), groups, True, -1,
            geom, distance, None if normal is None else normal.reshape(-1), count, 1e10,
        )  # fmt: skip
        return geom, distance, np.zeros((0, 3)) if normal is None else normal


def _directions(origin: Array, point: Array) -> Array:
    """Unit vectors (3, R) float32 from `origin` to each point."""
    way = (point - origin).T.astype(np.float32)
    return way / np.sqrt((way * way).sum(axis=0))


def _bounding_spheres(model: mujoco.MjModel) -> tuple[Array, Array, Array]:
    """Spheres that cover the moving geoms: geom, offset of the middle along the geom's z axis, radius.

    A long capsule gets several along its axis: one around the whole arm would cover half of the picture.
    """
    spheres = []
    for geom in np.flatnonzero(model.geom_group == MOVING):
        radius, half = float(model.geom_size[geom, 0]), float(model.geom_size[geom, 1])
        if model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_CAPSULE:
            spheres.append((geom, 0.0, float(model.geom_rbound[geom])))
            continue
        count = max(1, round(half / radius))
        part = half / count
        for i in range(count):
            # the first and last spheres also hold the caps
            spheres.append(
                (
                    geom,
                    -half + part * (2 * i + 1),
                    math.hypot(radius, part) if i not in (0, count - 1) else part + radius,
                )
            )
    geoms, offsets, radii = zip(*spheres, strict=True)
    return np.array(geoms), np.array(offsets), np.array(radii)


def floor_colours(point: Array, albedo: Array) -> Array:
    """The bin's floor with its mild still pattern, and the table's colour outside the bin; grey levels (R, 3)."""
    x, y = point[:, 0], point[:, 1]
    waves = np.sin(31 * x + 5 * np.sin(9 * y)) * np.sin(27 * y + 4 * np.sin(11 * x + 1))
    pattern = (1 + 0.06 * waves).astype(np.float32)[:, None]
    inside = ((np.abs(x) < BIN) & (np.abs(y) < BIN))[:, None]
    return np.where(inside, albedo * pattern, np.array(TABLE_RGB, dtype=np.float32) * 255)
