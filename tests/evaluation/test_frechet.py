"""The Fréchet distance: closed forms, scipy's matrix root, numpy's covariance; streaming equals whole."""

import numpy as np
import pytest
import scipy.linalg
import torch

from moso.errors import DataError
from moso.evaluation.extrapolation import GroupedMoments, extrapolated
from moso.evaluation.frechet import BatchedFrechet, Moments, frechet_distance, moments_of
from moso.torchvision_import import import_with_torchvision


def _features(seed, count, dimension, mean=0.0, scale=1.0):
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(dimension).normal(size=(dimension, dimension))
    return mean + scale * random.normal(size=(count, dimension)) @ mixing


def _of(mean, covariance, count=11):
    """Moments with exactly these two."""
    moments = Moments(len(mean))
    moments.count, moments.mean = count, np.array(mean, float)
    moments.scatter = np.array(covariance, float) * (count - 1)
    return moments


def test_moments_are_numpys_mean_and_covariance():
    features = _features(0, 50, 7, mean=3)
    moments = moments_of(features)
    assert moments.count == 50
    np.testing.assert_allclose(moments.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance(), np.cov(features, rowvar=False), rtol=1e-11)


def test_batches_their_order_and_merging_change_nothing():
    features = _features(1, 60, 5, mean=-2)
    whole = moments_of(features)
    for sizes in ([1] * 60, [7, 0, 13, 40], [59, 1]):
        parts = np.split(features, np.cumsum(sizes)[:-1])
        for ordered in (parts, parts[::-1]):
            streamed, merged = Moments(5), Moments(5)
            for part in ordered:
                streamed.add(part)
                merged.merge(moments_of(part))
            for moments in (streamed, merged):
                assert moments.count == 60
                np.testing.assert_allclose(moments.mean, whole.mean, rtol=1e-12)
                np.testing.assert_allclose(moments.covariance(), whole.covariance(), rtol=1e-11, atol=1e-12)


def test_a_small_covariance_far_from_zero_keeps_its_digits():
    """Raw second moments would leave 1e8^2 * 1e-16 = 1 of error."""
    features = 1e8 + _features(2, 400, 3)
    moments = Moments(3)
    for part in np.split(features, 40):
        moments.add(part)
    np.testing.assert_allclose(moments.covariance(), np.cov(features, rowvar=False), rtol=1e-6)


def test_going_on_from_a_state_is_the_same_to_the_bit(tmp_path):
    features = _features(3, 30, 4)
    straight = Moments(4)
    straight.add(features[:11])
    np.savez(tmp_path / "state.npz", **straight.state())
    straight.add(features[11:])
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        resumed = Moments.from_state(state)
    resumed.add(features[11:])
    assert resumed.count == 30
    assert np.array_equal(resumed.mean, straight.mean)
    assert np.array_equal(resumed.scatter, straight.scatter)


def test_the_distance_of_two_gaussians_on_a_line_is_the_closed_form():
    """(m1 - m2)^2 + (s1 - s2)^2 = 3^2 + (2 - 5)^2."""
    assert frechet_distance(_of([1], [[4]]), _of([4], [[25]])) == pytest.approx(18)


def test_the_distance_of_commuting_covariances_is_the_sum_over_their_axes():
    rotation = scipy.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    a = _of([0, 0, 0], rotation @ np.diag([1.0, 4, 9]) @ rotation.T)
    b = _of([1, 2, 2], rotation @ np.diag([4.0, 4, 1]) @ rotation.T)
    assert frechet_distance(a, b) == pytest.approx(9 + 1 + 0 + 4)


def test_the_distance_is_scipys_matrix_root():
    one, other = _features(5, 40, 6), _features(6, 30, 6, mean=0.5, scale=1.5) * np.arange(1, 7)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second)
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root).real
    assert frechet_distance(moments_of(one), moments_of(other)) == pytest.approx(expected, rel=1e-9)


def test_the_distance_is_torchmetrics():
    """Its class with features of our own in the place of Inception's."""

    class Rows(torch.nn.Module):
        num_features = 6

        def forward(self, pictures):
            return pictures.flatten(1)[:, :6]

    fid = import_with_torchvision("torchmetrics.image.fid").FrechetInceptionDistance(
        Rows(), normalize=False, input_img_size=(3, 1, 2)
    )
    fid.set_dtype(torch.float64)
    one, other = _features(5, 40, 6), _features(6, 30, 6, mean=0.5, scale=1.5)
    for features, real in ((one, True), (other, False)):
        fid.update(torch.from_numpy(features).reshape(-1, 3, 1, 2), real=real)
    assert frechet_distance(moments_of(one), moments_of(other)) == pytest.approx(float(fid.compute()), rel=1e-6)


def test_the_distance_is_symmetric_zero_to_itself_and_blind_to_a_common_shift():
    a, b = _features(7, 40, 5), _features(8, 40, 5, mean=1)
    there, back = (frechet_distance(moments_of(x), moments_of(y)) for x, y in ((a, b), (b, a)))
    assert there == pytest.approx(back, rel=1e-9)
    assert frechet_distance(moments_of(a), moments_of(a)) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(moments_of(a + 9), moments_of(b + 9)) == pytest.approx(there, rel=1e-9)


def test_fewer_videos_than_dimensions_have_a_distance():
    """Singular covariances: two points each, along one axis; (0.5^0.5 * 2 - 0.5^0.5)^2 in variance, 0 in mean."""
    a = moments_of(np.array([[-1.0, 0, 0, 0], [1, 0, 0, 0]]))
    b = moments_of(np.array([[-2.0, 0, 0, 0], [2, 0, 0, 0]]))
    assert frechet_distance(a, b) == pytest.approx((8**0.5 - 2**0.5) ** 2)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Moments(3).add(np.zeros((2, 4))), r"shape \(2, 4\), expected \(n, 3\)"),
        (lambda: Moments(2).add([[0.0, np.nan]]), "not finite"),
        (lambda: Moments(2).merge(Moments(3)), "cannot be one set"),
        (lambda: moments_of(np.zeros((1, 2))).covariance(), "at least 2 features, there are 1"),
        (lambda: frechet_distance(moments_of(np.zeros((3, 2))), moments_of(np.zeros((3, 4)))), "no distance"),
    ],
)
def test_what_has_no_meaning_is_refused(act, message):
    with pytest.raises(DataError, match=message):
        act()


def _grouped(features, groups=8, order=None):
    grouped = GroupedMoments(features.shape[1], groups)
    numbers = np.arange(len(features)) if order is None else order
    for part in np.array_split(numbers, 7):
        grouped.add(features[part], part)
    return grouped


def test_groups_hold_the_whole_set_in_any_order():
    features = _features(9, 50, 4)
    shuffled = np.random.default_rng(0).permutation(50)
    for grouped in (_grouped(features), _grouped(features, order=shuffled)):
        whole = grouped.whole()
        assert whole.count == 50
        np.testing.assert_allclose(whole.covariance(), np.cov(features, rowvar=False), rtol=1e-10, atol=1e-12)
        third = grouped.part(2, 1)
        np.testing.assert_allclose(third.mean, features[2::8].mean(0), rtol=1e-12)


def test_groups_go_on_from_a_state(tmp_path):
    features = _features(10, 40, 3)
    np.savez(tmp_path / "state.npz", **_grouped(features).state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        resumed = GroupedMoments.from_state(state)
    assert len(resumed.groups) == 8
    for one, other in zip(resumed.groups, _grouped(features).groups, strict=True):
        assert one.count == other.count == 5
        assert np.array_equal(one.scatter, other.scatter)


def test_the_extrapolated_value_undoes_the_bias_of_few_samples():
    """Two samples of one Gaussian: the true distance is 0, the measured one is not; the line's end nearly is."""
    results = []
    for seed in range(4):
        a, b = _grouped(_features(20 + seed, 400, 10)), _grouped(_features(40 + seed, 400, 10))
        results.append((frechet_distance(a.whole(), b.whole()), extrapolated(a, b)))
    measured = np.mean([value for value, _ in results])
    ends = np.mean([line.value for _, line in results])
    assert abs(ends) < measured / 5
    line = results[0][1]
    assert line.counts == (200, 250, 300, 350, 400)
    assert list(line.values) == sorted(line.values, reverse=True)
    assert line.values[-1] == pytest.approx(results[0][0])
    assert line.slope > 0


def test_the_extrapolated_value_keeps_a_true_distance():
    a, b = _grouped(_features(30, 800, 4)), _grouped(_features(31, 800, 4, mean=3))
    mixing = np.random.default_rng(4).normal(size=(4, 4))
    assert np.linalg.matrix_rank(mixing) == 4
    assert extrapolated(a, b).value == pytest.approx(4 * 3**2, rel=0.05)


def test_too_few_videos_are_not_extrapolated():
    a = _grouped(_features(32, 40, 20))
    with pytest.raises(DataError, match=r"a part of 20 features of 20 dimensions is too small .* about 56 videos"):
        extrapolated(a, a)
    with pytest.raises(DataError, match="same number"):
        extrapolated(a, _grouped(_features(32, 40, 20), groups=4))


def test_batches_are_one_sample_each_of_the_batchs_videos():
    """Against the distances worked out one by one: 2 batches of 6 videos, 3 samples; a video more is left out."""
    truth, drawn = _features(50, 13, 2), _features(51, 39, 2, mean=1).reshape(13, 3, 2)
    batched = BatchedFrechet(2, samples=3, batch=6)
    for number in range(13):
        batched.add(drawn[number], truth[number])
    expected = [
        frechet_distance(
            moments_of(drawn[start : start + 6, sample].astype(np.float32)),
            moments_of(truth[start : start + 6].astype(np.float32)),
        )
        for start in (0, 6)
        for sample in range(3)
    ]
    assert (batched.distances, batched.pending) == (6, 1)
    assert batched.value() == pytest.approx(np.mean(expected), rel=1e-12)


def test_a_fixed_reference_takes_the_place_of_the_batchs_own_videos():
    reference = moments_of(_features(52, 30, 2))
    drawn = _features(53, 8, 2).reshape(4, 2, 2)
    batched = BatchedFrechet(2, samples=2, batch=4, reference=reference)
    for video in drawn:
        batched.add(video, np.zeros(2))
    expected = [frechet_distance(moments_of(drawn[:, sample].astype(np.float32)), reference) for sample in (0, 1)]
    assert batched.value() == pytest.approx(np.mean(expected), rel=1e-12)


def test_batches_go_on_from_a_state_to_the_bit(tmp_path):
    truth, drawn = _features(54, 10, 3), _features(55, 20, 3).reshape(10, 2, 3)
    straight = BatchedFrechet(3, samples=2, batch=4)
    for number in range(10):
        if number == 6:  # in the middle of a batch
            np.savez(tmp_path / "state.npz", **straight.state())
        straight.add(drawn[number], truth[number])
    resumed = BatchedFrechet(3, samples=2, batch=4)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        resumed.restore_(state)
    for number in range(6, 10):
        resumed.add(drawn[number], truth[number])
    assert (resumed.distances, resumed.pending, resumed.value()) == (4, 2, straight.value())


def test_no_full_batch_has_no_value():
    batched = BatchedFrechet(2, samples=1, batch=3)
    batched.add(np.zeros((1, 2)), np.zeros(2))
    with pytest.raises(DataError, match="1 videos do not fill one batch of 3"):
        batched.value()
    with pytest.raises(DataError, match="2 samples of a video, expected 1"):
        batched.add(np.zeros((2, 2)), np.zeros(2))
