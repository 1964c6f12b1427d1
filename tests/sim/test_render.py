"""The ray caster: shading and shadows against numbers worked out apart from it."""

import math

import mujoco
import numpy as np
import pytest

from moso.sim import CameraConfig, LightConfig, SimulationConfig
from moso.sim.arm import poses
from moso.sim.render import Renderer, floor_colours, pixel_rays
from moso.sim.scene import FLOOR_RGB, SimObject, build_model

RED = SimObject("box", (0.05, 0.05, 0.05), (1.0, 0.0, 0.0), (0.0, -0.1), 0.0)


def _render(config: SimulationConfig, light: tuple[float, float, float]) -> tuple[np.ndarray, Renderer, mujoco.MjData]:
    model = build_model(config, [RED])
    data = mujoco.MjData(model)
    for i, (position, quaternion) in enumerate(poses(0.2, 0.2, 1)):
        data.mocap_pos[i], data.mocap_quat[i] = position, quaternion
    mujoco.mj_forward(model, data)
    renderer = Renderer(config, model, light)
    return renderer.frame(data, renderer.backdrop(data, config.camera.target)), renderer, data


def test_rays_are_unit_vectors_and_their_middle_is_the_target() -> None:
    config = SimulationConfig(height=9, width=9, supersampling=1, camera=CameraConfig(target=(0.1, 0.2, 0.05)))
    rays = pixel_rays(config, config.camera.target)
    np.testing.assert_allclose((rays**2).sum(axis=1), 1.0)
    way = np.array(config.camera.target) - config.camera.position
    np.testing.assert_allclose(rays[40], way / np.linalg.norm(way), atol=1e-12)
    assert rays[36, 0] < rays[44, 0]
    assert rays[4, 2] > rays[76, 2]
    edge = math.degrees(math.acos(rays[40] @ rays[4]))  # the middle of the top row: 8/9 of the half picture
    assert edge == pytest.approx(math.degrees(math.atan(8 / 9 * math.tan(math.radians(47 / 2)))))


def test_a_box_lit_from_above_is_lambert_on_top_and_ambient_on_its_side() -> None:
    # a light far above: cosine 1 on the top face, 0 on the front face
    config = SimulationConfig(
        height=33,
        width=33,
        supersampling=1,
        camera=CameraConfig(position=(0.0, -0.7, 0.6), target=(0.0, -0.15, 0.1), field_of_view=5.0),
        light=LightConfig(ambient=0.4),
    )
    picture, _, _ = _render(config, (0.0, -0.1, 1e4))
    assert picture[4, 16].tolist() == [255, 0, 0]  # top: 0.4 + 0.6 * 1
    assert picture[28, 16].tolist() == [102, 0, 0]  # front: 0.4 * 255


def test_a_shadow_lies_on_the_far_side_of_the_box_and_holds_the_ambient_light_alone() -> None:
    config = SimulationConfig(height=64, width=64, supersampling=1, light=LightConfig(ambient=0.4))
    _, renderer, data = _render(config, (0.8, -0.1, 0.8))
    # the light stands at +x, 45 degrees over the box's top edge: the shadow falls towards -x, as long as it is high
    floor = np.array([[-0.08, -0.1, 0.0], [0.08, -0.1, 0.0], [-0.25, -0.1, 0.0]])
    moving = np.array([0, 1, 0, 0, 0, 0], dtype=np.uint8)
    assert renderer._shadowed(data, floor, moving).tolist() == [True, False, False]
    picture = renderer.frame(data, renderer.backdrop(data, config.camera.target))
    ray = floor[0] - np.array(config.camera.position)
    rays = pixel_rays(config, config.camera.target)
    nearest = int(np.argmax(rays @ (ray / np.linalg.norm(ray))))
    colour = floor_colours(floor[:1], np.array([FLOOR_RGB], dtype=np.float32) * 255)[0]
    np.testing.assert_allclose(
        picture.reshape(-1, 3)[nearest], 0.4 * colour, atol=2
    )  # half a pixel's shift in the pattern


def test_leaving_out_rays_changes_no_picture() -> None:
    config = SimulationConfig(height=48, width=48)
    picture, renderer, data = _render(config, config.light.position)
    backdrop = renderer.backdrop(data, config.camera.target)
    near = renderer._near(data, backdrop.eye, backdrop.rays.T.astype(np.float32))
    assert len(near) < len(backdrop.rays)
    renderer._near = lambda data, origin, directions: np.arange(directions.shape[1])  # type: ignore[method-assign]
    assert np.array_equal(renderer.frame(data, backdrop), picture)


def test_supersampling_averages_the_finer_picture() -> None:
    fine, _, _ = _render(SimulationConfig(height=64, width=64, supersampling=1), (0.35, -0.35, 1.3))
    soft, _, _ = _render(SimulationConfig(height=32, width=32, supersampling=2), (0.35, -0.35, 1.3))
    mean = fine.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(soft - mean).max() <= 1.0  # the finer picture was rounded before, the other after
