import json
import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from moso.registry.paired import paired
from moso.registry.policy import PromotionPolicy

PROTOCOL = {"best_of": "none"}
POLICY = PromotionPolicy()
RANDOM = np.random.default_rng(11)
OLD = RANDOM.normal(20, 3, 24)


def test_two_episodes_that_differ_by_0_and_1_give_the_interval_worked_out_by_hand(a_table):
    # Drawn with replacement: both the first (mean 0) in 1 of 4 cases, both the second (1) in 1 of 4, else 0.5.
    found = paired(a_table([20.0, 21.0]), a_table([20.0, 20.0]), POLICY, PROTOCOL).intervals["prediction.psnr"]
    assert (found.mean, found.low, found.high, found.clips, found.episodes) == (0.5, 0.0, 1.0, 2, 2)
    assert found.standard_error == pytest.approx(math.sqrt(0.125), rel=0.03)


def test_standard_error_and_smallest_difference_are_those_of_the_textbook(a_table):
    gains = RANDOM.normal(0.3, 1, 24)
    found = paired(a_table(OLD + gains), a_table(OLD), POLICY, PROTOCOL).intervals["prediction.psnr"]
    # The mean of 24 independent differences, whose spread the bootstrap takes from the sample (n, not n - 1).
    expected = gains.std() / math.sqrt(24)
    assert found.standard_error == pytest.approx(expected, rel=0.03)
    z = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
    assert found.detectable() == pytest.approx(z * expected, rel=0.03)
    assert (found.low, found.high) == pytest.approx(
        (gains.mean() - 1.96 * expected, gains.mean() + 1.96 * expected), abs=0.04
    )


def test_how_hard_a_clip_is_falls_out_and_the_order_of_the_rows_too(a_table):
    hard = np.linspace(-10, 10, 24)
    ours, theirs = a_table(OLD + hard + 0.25), a_table(OLD + hard)
    found = paired(ours, theirs, POLICY, PROTOCOL).intervals["prediction.psnr"]
    assert (found.low, found.high) == pytest.approx((0.25, 0.25))
    shuffled = paired(ours.sample(frac=1, random_state=3), theirs, POLICY, PROTOCOL).intervals["prediction.psnr"]
    assert shuffled == found


def test_clips_of_one_episode_are_no_independent_samples(a_table):
    # Two episodes of 12 clips: as unsure as two clips, whatever their number.
    gains = np.tile([0.0, 1.0], 12)
    found = paired(a_table(OLD + gains, episodes=2), a_table(OLD, episodes=2), POLICY, PROTOCOL)
    interval = found.intervals["prediction.psnr"]
    assert (interval.low, interval.high) == pytest.approx((0, 1))
    assert (interval.clips, interval.episodes) == (24, 2)


def test_every_metric_of_both_tables_is_compared_and_the_others_are_named(a_table):
    ours = a_table(OLD, lpips_alex=0.2, ssim=0.8, only_ours=1.0)
    theirs = a_table(OLD, lpips_alex=0.3, ssim=[math.nan, *[0.75] * 23])
    found = paired(ours, theirs, POLICY, PROTOCOL)
    assert list(found.intervals) == ["prediction.psnr", "prediction.lpips_alex"]
    assert found.intervals["prediction.lpips_alex"].mean == pytest.approx(-0.1)
    assert found.without == {
        "prediction.ssim": "the champion has no finite number at 1 of 24 clips",
        "prediction.only_ours": "the champion's table has no column only_ours",
    }
    assert found.faults == ()


@pytest.mark.parametrize(
    ("best_of", "psnr", "lpips"), [("none", 1.0, -0.15), ("each_metric_over_video_mean", 2.0, -0.2)]
)
def test_of_several_samples_the_one_counts_that_the_protocol_says(a_table, best_of, psnr, lpips):
    old = a_table(OLD, lpips_alex=0.4)
    new = pd.concat([a_table(OLD, lpips_alex=0.3), a_table(OLD + 2, lpips_alex=0.2).assign(sample=1)])
    found = paired(new, old, POLICY, {"best_of": best_of}).intervals
    assert found["prediction.psnr"].mean == pytest.approx(psnr)
    assert found["prediction.lpips_alex"].mean == pytest.approx(lpips)


def test_only_the_method_that_the_policy_names_is_compared(a_table):
    both = [pd.concat([a_table(OLD + gain), a_table(OLD - gain, method="reconstruction")]) for gain in (1.0, 0.0)]
    assert paired(*both, POLICY, PROTOCOL).intervals["prediction.psnr"].mean == pytest.approx(1)
    ceiling = paired(*both, PromotionPolicy(metric="reconstruction.psnr"), PROTOCOL)
    assert list(ceiling.intervals) == ["reconstruction.psnr"]
    assert ceiling.intervals["reconstruction.psnr"].mean == pytest.approx(-1)


def test_other_clips_are_a_fault_that_names_them(a_table):
    theirs = a_table(OLD)
    none_shared = paired(theirs.replace({"clip_id": {"seed": "other"}}, regex=True), theirs, POLICY, PROTOCOL)
    assert none_shared.intervals == {}
    assert none_shared.faults[0] == "the figures clip by clip are of other clips: 0 are shared"
    assert none_shared.faults[1].startswith("only the candidate has 24: other_000000@00000, other_000001@00000")
    fewer = paired(theirs.iloc[1:], theirs, POLICY, PROTOCOL)
    assert fewer.faults[1:] == ("only the champion has 1: seed_000000@00000",)


def test_a_champion_of_before_tables_were_filed_is_no_fault_and_a_candidate_without_one_is(a_table):
    before = paired(a_table(OLD), None, POLICY, PROTOCOL)
    assert (before.faults, before.intervals) == ((), {})
    assert "the champion has no figures clip by clip" in before.absent
    assert "the candidate has none" in paired(None, a_table(OLD), POLICY, PROTOCOL).faults[0]


@pytest.mark.parametrize("broken", [{"psnr": math.nan}, {"psnr": [math.inf, *[20.0] * 23]}])
def test_a_figure_that_is_no_number_is_a_fault_in_the_policys_metric(a_table, broken):
    found = paired(a_table(OLD).assign(**broken), a_table(OLD), POLICY, PROTOCOL)
    assert "prediction.psnr clip by clip: the candidate has no finite number" in found.faults[0]


def test_a_candidate_does_not_get_by_with_fewer_metrics_than_the_champion(a_table):
    policy = PromotionPolicy(metric="prediction.lpips_alex", higher_is_better=False)
    with_it, without = a_table(OLD, lpips_alex=0.3), a_table(OLD)
    assert "the candidate's table has no column lpips_alex" in paired(without, with_it, policy, PROTOCOL).faults[0]
    found = paired(with_it, without, policy, PROTOCOL)
    assert found.faults == ()
    assert "lpips_alex" in found.without["prediction.lpips_alex"]


def test_the_record_is_plain_json_with_what_the_test_set_can_show(a_table):
    record = paired(a_table([20.0, 21.0]), a_table([20.0, 20.0]), POLICY, PROTOCOL).record()
    assert json.loads(json.dumps(record)) == record
    (entry,) = record.values()
    assert set(entry) == {"mean", "low", "high", "confidence", "clips", "episodes", "detectable"}
    assert entry["detectable"] == pytest.approx(2.8016 * math.sqrt(0.125), rel=0.03)


def test_seed_resamples_and_confidence_are_the_policys(a_table):
    ours, theirs = a_table(OLD + RANDOM.normal(0, 1, 24)), a_table(OLD)

    def interval(**settings):
        return paired(ours, theirs, PromotionPolicy(**settings), PROTOCOL).intervals["prediction.psnr"]

    assert interval() == interval()
    assert interval(seed=1) != interval()
    assert interval(resamples=500) != interval()
    narrow = interval(confidence=0.8)
    assert interval().low < narrow.low < narrow.high < interval().high
