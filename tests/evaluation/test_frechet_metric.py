"""FVD and FID of kept features: which rows enter a figure, and the numbers that it carries."""

import numpy as np
import pytest
import torch

from moso.errors import DataError
from moso.evaluation.frechet import frechet_distance, moments_of
from moso.evaluation.frechet_metric import frechet_figure, video_features


def _features(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_one_distance_is_over_all_samples_and_carries_its_numbers():
    drawn, truth = _features(0, 40, 3, 4), _features(1, 40, 4)
    figure = frechet_figure(drawn, truth, 4)
    assert figure.value == pytest.approx(frechet_distance(moments_of(drawn.reshape(120, 4)), moments_of(truth)))
    assert (figure.drawn, figure.reference, figure.left_out) == (120, 40, 0)
    assert figure.extrapolated < figure.value


def test_too_few_videos_have_no_extrapolated_value_and_say_why():
    figure = frechet_figure(_features(2, 6, 1, 4), _features(3, 6, 4), 4)
    assert figure.extrapolated is None
    assert "too small to extrapolate from" in figure.reason
    assert figure.value > 0


def test_frames_of_a_network_by_frame_are_rows_of_their_own():
    drawn, truth = _features(4, 20, 2, 3 * 4), _features(5, 20, 3 * 4)
    figure = frechet_figure(drawn, truth, 4, groups=1)
    expected = frechet_distance(moments_of(drawn.reshape(-1, 4)), moments_of(truth.reshape(-1, 4)))
    assert figure.value == pytest.approx(expected)
    assert (figure.drawn, figure.reference) == (120, 60)


@pytest.mark.parametrize("same_clips", [True, False])
def test_batches_leave_out_what_does_not_fill_one(same_clips):
    drawn, truth = _features(6, 11, 2, 3), _features(7, 11, 3)
    figure = frechet_figure(drawn, truth, 3, batch=5, same_clips=same_clips)
    expected = [
        frechet_distance(
            moments_of(drawn[start : start + 5, sample]), moments_of(truth[start : start + 5] if same_clips else truth)
        )
        for start in (0, 5)
        for sample in (0, 1)
    ]
    assert figure.value == pytest.approx(np.mean(expected), rel=1e-9)
    assert (figure.drawn, figure.reference, figure.left_out) == (20, 10 if same_clips else 11, 2)
    assert figure.extrapolated is None


def test_batches_of_more_videos_than_clips_take_the_samples_after_each_other_each_beside_its_clip():
    drawn, truth = _features(10, 3, 4, 2), _features(11, 3, 2)
    figure = frechet_figure(drawn, truth, 2, batch=5, ddof=0)
    # sample 0 of clips 0 1 2, sample 1 of clips 0 1 | sample 1 of clip 2, sample 2 of clips 0 1 2, sample 3 of clip 0
    first = np.stack([drawn[0, 0], drawn[1, 0], drawn[2, 0], drawn[0, 1], drawn[1, 1]])
    second = np.stack([drawn[2, 1], drawn[0, 2], drawn[1, 2], drawn[2, 2], drawn[0, 3]])
    expected = [
        frechet_distance(moments_of(first), moments_of(truth[[0, 1, 2, 0, 1]]), ddof=0),
        frechet_distance(moments_of(second), moments_of(truth[[2, 0, 1, 2, 0]]), ddof=0),
    ]
    assert figure.value == pytest.approx(np.mean(expected))
    assert (figure.drawn, figure.reference, figure.left_out) == (10, 3, 2)


def test_a_reference_of_another_number_must_be_said():
    drawn, truth = _features(8, 6, 1, 2), _features(9, 7, 2)
    with pytest.raises(DataError, match="7 true videos beside 6 clips"):
        frechet_figure(drawn, truth, 2)
    assert frechet_figure(drawn, truth, 2, same_clips=False).reference == 7
    with pytest.raises(DataError, match="do not fill one batch of 256"):
        frechet_figure(drawn, truth, 2, batch=256, same_clips=False)


def test_a_network_gives_a_row_a_video():
    class ByFrame:
        name, sha256, dimension, minimum_frames, by_frame = "means", "0", 3, 1, True

        def __call__(self, videos):
            return videos.float().mean(dim=(2, 3)).flatten(0, 1)

    videos = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 5, 3), np.uint8)
    rows = video_features(ByFrame())(videos[:, ::2])
    assert rows.shape == (2, 2 * 3)
    np.testing.assert_allclose(rows[1, 3:], torch.from_numpy(videos[1, 2]).float().mean(dim=(0, 1)), rtol=1e-5)
