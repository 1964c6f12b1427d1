import numpy as np
import pytest

from moso.evaluation import statistics
from moso.evaluation.statistics import bootstrap_band, paired_bootstrap


def test_interval_of_two_episodes_is_the_range_worked_out_by_hand():
    # Episodes a (one clip, +1) and b (three clips, +5): resamples are aa (1), ab (16/4 = 4) and bb (5), with
    # probabilities 1/4, 1/2, 1/4. The 2.5% quantile is 1, the 97.5% quantile 5; the mean over clips is 4.
    found = paired_bootstrap(np.array([1.0, 5, 5, 5]), np.zeros(4), ["a", "b", "b", "b"], seed=0)
    assert (found.mean, found.low, found.high) == (4.0, 1.0, 5.0)
    assert (found.clips, found.episodes) == (4, 2)


def test_resamples_drawn_in_parts_are_those_drawn_at_once(monkeypatch):
    values, names = np.random.default_rng(1).normal(size=30), [f"e{i // 3}" for i in range(30)]
    at_once = paired_bootstrap(values, np.zeros(30), names, resamples=1000)
    monkeypatch.setattr(statistics, "DRAWN", 70)  # seven resamples of ten episodes
    assert paired_bootstrap(values, np.zeros(30), names, resamples=1000) == at_once


def test_intervals_of_few_episodes_carry_a_caution():
    assert statistics.caution(30) == ""
    assert statistics.caution(4).startswith("4 episodes are few")


def test_narrower_level_cuts_to_the_middle_resamples():
    found = paired_bootstrap(np.array([1.0, 5, 5, 5]), np.zeros(4), ["a", "b", "b", "b"], confidence=0.4)
    assert (found.low, found.high) == (4.0, 4.0)


def test_differences_are_paired_clip_by_clip():
    hard = np.array([10.0, 40.0, 20.0])  # clips differ much, methods by exactly one
    found = paired_bootstrap(hard + 1, hard, ["a", "b", "c"])
    assert (found.low, found.high) == (pytest.approx(1.0), pytest.approx(1.0))


def test_clips_of_one_episode_do_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(size=20)
    names = [f"e{i}" for i in range(20)]
    once = paired_bootstrap(values, np.zeros(20), names)
    tenfold = paired_bootstrap(np.repeat(values, 10), np.zeros(200), np.repeat(names, 10).tolist())
    assert (tenfold.low, tenfold.high) == (pytest.approx(once.low), pytest.approx(once.high))
    independent = paired_bootstrap(np.repeat(values, 10), np.zeros(200), [f"e{i}" for i in range(200)])
    assert independent.high - independent.low < 0.5 * (once.high - once.low)


def test_interval_agrees_with_the_normal_approximation_of_the_mean():
    values = np.random.default_rng(1).normal(2.0, 1.0, 400)
    found = paired_bootstrap(values, np.zeros(400), [str(i) for i in range(400)])
    error = values.std(ddof=1) / 20
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_same_seed_same_interval_whatever_the_order_of_clips():
    values, names = np.random.default_rng(2).normal(size=12), [f"e{i // 2}" for i in range(12)]
    order = np.random.default_rng(3).permutation(12)
    first = paired_bootstrap(values, np.zeros(12), names, seed=7)
    second = paired_bootstrap(values[order], np.zeros(12), [names[i] for i in order], seed=7)
    assert (second.low, second.high) == (pytest.approx(first.low), pytest.approx(first.high))
    assert paired_bootstrap(values, np.zeros(12), names, seed=8).low != first.low


@pytest.mark.parametrize(
    ("method", "episodes", "message"),
    [([1.0, np.nan], ["a", "b"], "not finite"), ([1.0, 2.0], ["a"], "one value a clip"), ([], [], "one value a clip")],
)
def test_refuses_what_has_no_mean(method, episodes, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(np.array(method), np.zeros(len(method)), episodes)


def test_smallest_detectable_difference_is_that_of_a_test_on_a_mean():
    # Two-sided at 95% with 80% power: (1.96 + 0.8416) standard errors, of unit variance over 400 episodes 1/20 each.
    values = np.random.default_rng(4).normal(size=400)
    values = (values - values.mean()) / values.std()
    found = paired_bootstrap(values, np.zeros(400), [str(i) for i in range(400)])
    assert found.detectable() == pytest.approx((1.959964 + 0.841621) / 20, rel=0.03)
    assert found.detectable(0.9) > found.detectable(0.8)
    with pytest.raises(ValueError, match="power"):
        found.detectable(0.3)


def test_a_true_difference_of_the_detectable_size_is_seen_four_times_in_five():
    random, episodes = np.random.default_rng(5), [str(i) for i in range(60)]
    size = (1.959964 + 0.841621) / np.sqrt(60)
    seen = [
        paired_bootstrap(random.normal(size, 1.0, 60), np.zeros(60), episodes, resamples=1000, seed=i).low > 0
        for i in range(300)
    ]
    assert 0.74 < np.mean(seen) < 0.87  # 0.8 within three standard deviations of 300 draws, and the bootstrap's bias


def test_band_is_the_interval_of_each_frame():
    values, names = np.random.default_rng(6).normal(size=(12, 3)), [f"e{i // 2}" for i in range(12)]
    low, high = bootstrap_band(values, names, seed=3)
    for frame in range(3):
        alone = paired_bootstrap(values[:, frame], np.zeros(12), names, seed=3)
        assert (low[frame], high[frame]) == (pytest.approx(alone.low), pytest.approx(alone.high))


def test_band_refuses_values_that_are_no_numbers():
    with pytest.raises(ValueError, match="not finite"):
        bootstrap_band(np.array([[1.0, np.inf]]), ["a"])
