"""What an episode of the embedded data set is: issue 11, 'Real input'."""

import math

import numpy as np
import pytest

from moso.sim import CameraConfig, LightConfig, ObjectsConfig, SimulationConfig
from moso.sim.arm import BASE, LINK, TIP_HEIGHT, joint_angles, reachable
from moso.sim.episode import SimEpisode, simulate_episode
from moso.sim.scene import BIN


def test_frames_actions_and_states_have_the_recorded_shapes(episodes: list[SimEpisode]) -> None:
    for episode in episodes:
        assert episode.frames.shape == (30, 64, 64, 3)
        assert episode.frames.dtype == np.uint8
        assert episode.actions.shape == episode.states.shape == (30, 3)
        assert episode.actions.dtype == episode.states.dtype == np.float32


def test_same_seed_same_bits_and_another_seed_another_episode(episodes: list[SimEpisode]) -> None:
    again = simulate_episode(SimulationConfig(), 3)
    assert np.array_equal(again.frames, episodes[3].frames)
    assert np.array_equal(again.states, episodes[3].states)
    assert not np.array_equal(episodes[3].frames[0], episodes[4].frames[0])


def test_consecutive_frames_differ_by_4_to_6_grey_levels_on_average(episodes: list[SimEpisode]) -> None:
    differences = [np.abs(np.diff(e.frames.astype(int), axis=0)).mean() for e in episodes]
    assert 4.0 <= np.mean(differences) <= 6.0


def test_objects_move_in_most_episodes_and_stay_in_the_bin(episodes: list[SimEpisode]) -> None:
    moved = [np.linalg.norm(e.objects[-1] - e.objects[0], axis=1).max() >= 0.03 for e in episodes]
    assert np.mean(moved) > 0.9
    for episode in episodes:
        assert np.abs(episode.objects[..., :2]).max() < BIN
        assert episode.objects[..., 2].min() > 0.03
        assert episode.objects[..., 2].max() < 0.12


def test_objects_do_not_move_before_the_gripper_is_near(episodes: list[SimEpisode]) -> None:
    seen = 0
    for e in episodes:
        away = np.linalg.norm(e.objects[..., :2] - e.states[:, None, :2], axis=2)  # (T, n)
        gaps = np.linalg.norm(e.objects[0, :, None] - e.objects[0, None], axis=2) + np.eye(e.objects.shape[1])
        # alone from the start, and the gripper never came within 20 cm: nothing can have pushed it
        for n in np.flatnonzero((away.min(axis=0) > 0.20) & (gaps.min(axis=1) > 0.25)):
            seen += 1
            assert np.linalg.norm(e.objects[:, n, :2] - e.objects[0, n, :2], axis=1).max() < 0.01
    assert seen > 0


def test_the_arm_reaches_deep_into_the_bin_in_most_episodes(episodes: list[SimEpisode]) -> None:
    assert (
        np.mean([e.states[:, 1].min() < 0 for e in episodes]) > 0.9
    )  # beyond the middle; it comes from behind (y > 0)


def test_actions_lead_from_each_state_to_the_next(episodes: list[SimEpisode]) -> None:
    for e in episodes:
        np.testing.assert_allclose(e.states[:-1] + e.actions[:-1], e.states[1:], atol=1e-6)
        assert (e.states[:, 2] == np.float32(TIP_HEIGHT)).all()
        assert all(reachable(float(x), float(y)) for x, y, _ in e.states)


def test_strokes_are_straight_steady_and_10_to_18_frames_long(episodes: list[SimEpisode]) -> None:
    aimed = 0
    for e in episodes:
        numbers = np.array(e.under_way)
        for n, stroke in enumerate(e.strokes):
            assert 10 <= stroke.frames <= 18
            actions = e.actions[numbers == n]
            assert (actions == actions[0]).all()
            if n < len(e.strokes) - 1:  # the last one may be cut off by the episode's end
                assert len(actions) == stroke.frames
            aimed += stroke.aimed >= 0
    assert aimed >= 0.9 * sum(len(e.strokes) for e in episodes)


def test_strokes_aim_at_their_object(episodes: list[SimEpisode]) -> None:
    for e in episodes:
        for n, stroke in enumerate(e.strokes):
            if stroke.aimed < 0:
                continue
            t = e.under_way.index(n)
            way, step = e.objects[t, stroke.aimed, :2] - e.states[t, :2], np.array(stroke.step)
            cross = (way[0] * step[1] - way[1] * step[0]) / np.hypot(*step)
            assert abs(cross) <= SimulationConfig().strokes.aim_spread + 1e-6  # how far the line passes the middle
            assert way @ step > 0


def test_pictures_show_the_gripper_where_the_state_says() -> None:
    # an independent pinhole projection of the wrist, whose orange nothing else in this configuration has
    config = SimulationConfig(objects=ObjectsConfig(count=(1, 1), hue=(0.6, 0.65)))
    _, cy, cz = config.camera.position
    length = math.hypot(cy, cz)
    forward, up = np.array([0, -cy / length, -cz / length]), np.array([0, cz / length, -cy / length])
    found = 0
    for seed in range(3):
        e = simulate_episode(config, seed)
        for t in range(0, 30, 5):
            way = np.array([e.states[t, 0], e.states[t, 1], 0.17]) - config.camera.position
            scale = 32 / math.tan(math.radians(47 / 2)) / (way @ forward)
            column, row = 32 + way[0] * scale, 32 - (way @ up) * scale
            if 1 <= row < 63 and 1 <= column < 63:
                r, g, b = e.frames[t, int(row), int(column)].astype(int)
                found += 1
                assert r > 1.3 * g > 2 * b, (seed, t)
    assert found >= 10


@pytest.mark.parametrize("elbow", [1, -1])
def test_inverse_kinematics_is_undone_by_forward_kinematics(elbow: int) -> None:
    for x, y in ((0.0, 0.0), (0.2, -0.2), (-0.25, 0.2), (0.0, 0.2)):
        upper, fore = joint_angles(x, y, elbow)
        assert BASE[0] + LINK * (math.cos(upper) + math.cos(fore)) == pytest.approx(x)
        assert BASE[1] + LINK * (math.sin(upper) + math.sin(fore)) == pytest.approx(y)


def test_objects_vary_by_seed_and_the_arm_starts_elsewhere(episodes: list[SimEpisode]) -> None:
    assert {e.objects.shape[1] for e in episodes} == {3, 4, 5}
    assert len({tuple(e.states[0]) for e in episodes}) == len(episodes)


def test_light_and_camera_settings_change_pictures_but_not_the_motion(tiny: SimulationConfig) -> None:
    plain = simulate_episode(tiny, 5)
    lit = simulate_episode(SimulationConfig(8, 32, 32, 1, light=LightConfig(spread=0.5)), 5)
    panned = simulate_episode(SimulationConfig(8, 32, 32, 1, camera=CameraConfig(pan=0.2)), 5)
    for other in (lit, panned):
        assert np.array_equal(plain.states, other.states)
        assert np.array_equal(plain.objects, other.objects)
        assert not np.array_equal(plain.frames, other.frames)
    corner = np.s_[
        :, -3:, :
    ]  # the near wall, which nothing reaches: still under a still camera, not under a panning one
    assert (plain.frames[corner] == plain.frames[0][-3:]).mean() > 0.95
    assert (panned.frames[corner] == panned.frames[0][-3:]).mean() < 0.95
