import numpy as np

from moso.evaluation.baselines import hedge, repeat_last


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
