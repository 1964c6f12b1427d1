"""The change where clips meet, against the ordinary change."""

import numpy as np
import pytest

from moso.errors import ConfigError
from moso.evaluation.joints import JointJump, frame_changes, joint_jump, joints


def levels(*values: int) -> np.ndarray:
    """The changes of one video of flat frames."""
    video = np.array(values, np.uint8).reshape(1, -1, 1, 1, 1) * np.ones((1, 1, 2, 2, 3), np.uint8)
    return frame_changes(video)


def test_a_jump_shows_as_a_ratio_above_one():
    # Changes 1, 1, 4, 1, 2 with joints after frames 2 and 4: (4 + 2) / 2 against (1 + 1 + 1) / 3.
    assert joint_jump(levels(10, 11, 10, 14, 15, 13), [2, 4]) == JointJump(3.0, 1.0, 3.0)


def test_even_motion_has_ratio_one_and_dark_to_bright_counts_as_bright_to_dark():
    assert joint_jump(levels(250, 5, 250, 5), [1]) == JointJump(245.0, 245.0, 1.0)


def test_videos_are_taken_together():
    both = np.concatenate([levels(0, 1, 3), levels(0, 3, 3)])
    assert joint_jump(both, [1]) == JointJump(1.0, 2.0, 0.5)


def test_stillness_has_no_jump_unless_there_is_one():
    assert joint_jump(levels(7, 7, 7), [0]).ratio == 1
    assert joint_jump(levels(7, 8, 8), [0]).ratio == float("inf")


@pytest.mark.parametrize("at", [[], [-1], [3], [0, 1, 2]])
def test_joints_that_leave_nothing_to_compare_are_refused(at):
    with pytest.raises(ConfigError, match="joints"):
        joint_jump(levels(1, 2, 3, 4), at)


def test_joints_are_where_a_clip_ends_and_the_next_begins():
    # T - K = 10: frames 0..9 are of the first clip, 10..19 of the second, 20..27 of the third
    assert joints(28, 10) == [9, 19]
    assert joints(20, 10) == [9]  # nothing follows the second clip
    assert joints(10, 10) == []
    assert joints(11, 10) == [9]


def test_change_is_the_mean_absolute_difference_of_neighbours_in_grey_levels():
    video = np.zeros((1, 3, 1, 2, 3), np.uint8)
    video[0, 1] = 10
    video[0, 2, 0, 0] = 250  # half of the pixels change by 240, the others by 10
    assert frame_changes(video).tolist() == [[10.0, 125.0]]
