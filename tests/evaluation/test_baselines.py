import numpy as np
import pytest

from moso.evaluation.baselines import hedge, linear, mean_given, repeat_last


def given_frames():
    frames = np.zeros((2, 2, 4, 4, 3), np.uint8)
    frames[:, 1] = 100
    frames[1, 1] = 200
    return frames


def test_repeat_last_holds_each_clips_last_given_frame():
    video = repeat_last(given_frames(), 3)
    assert video.shape == (2, 3, 4, 4, 3)
    assert (video[0] == 100).all()
    assert (video[1] == 200).all()


def test_hedge_mixes_the_last_frame_with_the_mean_training_image():
    video = hedge(given_frames(), 3, np.full((4, 4, 3), 50.0, np.float32))
    assert video.dtype == np.uint8
    assert video.shape == (2, 3, 4, 4, 3)
    assert (video[0] == 92).all()  # 0.85 x 100 + 0.15 x 50 = 92.5, rounded half to even
    assert (video[1] == 178).all()  # 177.5


def test_hedge_stays_within_8_bits():
    white = np.full((1, 2, 4, 4, 3), 255, np.uint8)
    assert (hedge(white, 1, np.full((4, 4, 3), 255.0, np.float32)) == 255).all()


def test_mean_of_the_given_frames_is_the_same_in_whatever_order_they_come():
    frames = given_frames()
    video = mean_given(frames, 3)
    assert video.shape == (2, 3, 4, 4, 3)
    assert (video[0] == 50).all()
    assert (video[1] == 100).all()
    np.testing.assert_array_equal(mean_given(frames[:, ::-1], 3), video)


def test_linear_goes_on_as_the_last_two_frames_changed_and_stays_within_8_bits():
    frames = np.zeros((1, 3, 1, 3, 3), np.uint8)
    frames[0, :, 0, 0] = np.array([[250], [10], [60]])  # the first of three frames does not count
    frames[0, :, 0, 1] = np.array([[0], [200], [100]])
    frames[0, :, 0, 2] = 7
    video = linear(frames, 4)
    assert video[0, :, 0, 0, 0].tolist() == [110, 160, 210, 255]
    assert video[0, :, 0, 1, 0].tolist() == [0, 0, 0, 0]
    assert video[0, :, 0, 2, 0].tolist() == [7, 7, 7, 7]


def test_there_is_no_line_through_one_frame():
    with pytest.raises(ValueError, match="two given frames"):
        linear(given_frames()[:, :1], 3)
