import dataclasses
import json
import math

import numpy as np
import pytest

from moso.config import build
from moso.errors import ConfigError
from moso.registry.decide import Decision, decide, figures, to_record
from moso.registry.paired import paired
from moso.registry.policy import PromotionPolicy

PROTOCOL = {"clips": 256, "given_frames": 2}


def a_policy(metric: str = "psnr", **settings) -> PromotionPolicy:
    return PromotionPolicy(metric=f"prediction.{metric}", higher_is_better=metric == "psnr", **settings)


def a_model(
    digest: str,
    figure: float | None,
    protocol: dict | None = None,
    protocol_digest: str = "p" * 64,
    metric: str = "psnr",
) -> dict:
    metrics = {} if figure is None else {f"prediction.{metric}": figure}
    return {
        "model_digest": digest,
        "protocol_digest": protocol_digest,
        "protocol": protocol or PROTOCOL,
        "metrics": metrics,
    }


def test_the_first_model_becomes_champion():
    decision = decide(a_model("new", 21.5), None, PromotionPolicy())
    assert (decision.promote, decision.outcome, decision.candidate_value) == (True, "promoted", 21.5)


@pytest.mark.parametrize(
    ("metric", "new", "old", "promote"),
    [("psnr", 22.0, 21.5, True), ("psnr", 21.5, 22.0, False), ("lpips_alex", 0.2, 0.3, True), ("fvd", 300, 200, False)],
)
def test_the_better_one_wins_in_the_metrics_direction(metric, new, old, promote):
    candidate, champion = a_model("new", new, metric=metric), a_model("old", old, metric=metric)
    decision = decide(candidate, champion, a_policy(metric))
    assert decision.promote is promote
    assert decision.outcome == ("promoted" if promote else "kept")
    assert decision.gain == pytest.approx((new - old) if metric == "psnr" else (old - new))


def test_a_first_champion_below_a_baseline_is_said_to_be():
    candidate = a_model("new", 14.4)
    candidate["metrics"] |= {"margins.over_hedge.psnr.high": 0.1, "margins.over_repeat_last.psnr.high": -5.2}
    decision = decide(candidate, None, PromotionPolicy())
    assert decision.promote
    assert decision.reasons[1:] == (
        "it does not reach the baseline repeat_last (the whole interval of its psnr is worse)",
    )


def test_a_loss_within_the_interval_is_not_called_worse(a_table):
    unsure = over_clips(a_table, EVEN - 0.05, a_policy())
    assert (unsure.outcome, unsure.reasons[0]) == ("kept", "no better, and not worse with 95 % confidence either")
    assert over_clips(a_table, EVEN - 2, a_policy()).reasons[0] == "worse"


def test_a_tie_keeps_the_champion():
    decision = decide(a_model("new", 22.0), a_model("old", 22.0), PromotionPolicy())
    assert not decision.promote
    assert decision.reasons[0] == "a tie"


@pytest.mark.parametrize(("new", "promote"), [(22.25, True), (22.24, False), (22.5, True)])
def test_a_gain_must_reach_the_margin(new, promote):
    # 22.25 - 22.0 is exact in binary: the margin itself is enough.
    assert decide(a_model("new", new), a_model("old", 22.0), PromotionPolicy(margin=0.25)).promote is promote


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_no_number_is_refused_on_either_side(value):
    for candidate, champion in [(value, None), (value, 21.0), (21.0, value)]:
        held = None if champion is None else a_model("old", champion)
        decision = decide(a_model("new", candidate), held, PromotionPolicy())
        assert (decision.promote, decision.outcome) == (False, "refused")
        assert "no finite number" in decision.reasons[0]


def test_a_missing_metric_is_refused_and_those_there_are_named():
    decision = decide(
        a_model("new", 22.0), None, PromotionPolicy(metric="prediction.lpips_alex", higher_is_better=False)
    )
    assert decision.outcome == "refused"
    assert "prediction.lpips_alex is missing (figures there: prediction.psnr)" in decision.reasons[0]
    assert decide(a_model("new", 22.0), a_model("old", None), PromotionPolicy()).outcome == "refused"


def test_another_protocol_is_refused_and_the_difference_named():
    champion = a_model("old", 10.0, {"clips": 256, "given_frames": 4}, "q" * 64)
    decision = decide(a_model("new", 99.0), champion, PromotionPolicy())
    assert (decision.promote, decision.outcome) == (False, "refused")
    assert decision.reasons[1:] == ("protocol.given_frames: candidate 2, champion 4",)
    assert decide(a_model("new", 99.0, protocol_digest=""), champion, PromotionPolicy()).outcome == "refused"


def test_the_champion_is_never_promoted_over_itself_whatever_its_figures():
    for psnr in (22.0, 30.0, math.nan, None):
        decision = decide(a_model("same", psnr), a_model("same", 22.0), PromotionPolicy())
        assert (decision.promote, decision.outcome) == (False, "already_champion")


def test_a_decision_becomes_plain_json():
    decision = decide(a_model("new", 22.0), a_model("old", 21.0), PromotionPolicy(margin=0.5))
    record = json.loads(json.dumps(to_record(decision)))
    assert record["policy"] == dataclasses.asdict(PromotionPolicy(margin=0.5))
    assert record["gain"] == 1.0
    assert isinstance(decision, Decision)


def test_figures_are_the_numbers_by_dotted_name():
    values = {"b": {"psnr": 20, "unit": "dB", "flag": True, "list": [1]}, "a": 1.5, "nothing": None}
    assert figures(values) == {"a": 1.5, "b.psnr": 20.0}


@pytest.mark.parametrize(
    "settings",
    [
        {"margin": -0.1},
        {"margin": math.nan},
        {"metric": ""},
        {"require": "certain"},
        {"confidence": 0.5},
        {"confidence": 1.0},
        {"resamples": 99},
        {"seed": -1},
        {"guards": {"prediction.psnr": 0.1}},
        {"guards": {"prediction.smoothness": 0.1}},
        {"guards": {"prediction.ssim": -0.1}},
        {"guards": {"prediction.ssim": math.nan}},
        {"higher_is_better": False},
        {"higher_is_better": True, "metric": "prediction.lpips_alex"},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        build(PromotionPolicy, settings)


OLD = np.random.default_rng(3).normal(20, 3, 40)
EVEN = np.tile([1.0, -1.0], 20)  # mean 0


def over_clips(a_table, gains, policy, old=OLD):
    """The decision over two tables with these gains, clip by clip, and figures that are their means."""
    name = policy.metric.rpartition(".")[2]
    ours, theirs = (a_table(np.zeros_like(old), **{name: values}) for values in (old + gains, old))
    pairs = paired(ours, theirs, policy, PROTOCOL)
    models = [a_model(who, float(np.mean(values)), metric=name) for who, values in (("new", old + gains), ("old", old))]
    return decide(*models, policy, pairs)


def test_a_gain_is_promoted_when_its_whole_interval_lies_above_the_margin(a_table):
    # Gains of 1 +- 1 dB at 40 clips: a standard error of 0.158, an interval of 1 +- 0.31.
    sure = over_clips(a_table, 1 + EVEN, a_policy(margin=0.5))
    assert (sure.promote, sure.reasons[0]) == (True, "better with 95 % confidence by more than the margin")
    assert (sure.gain, sure.gain_low, sure.gain_high) == pytest.approx((1, 0.69, 1.31), abs=0.04)
    assert sure.detectable == pytest.approx(2.8016 / math.sqrt(40), rel=0.03)
    unsure = over_clips(a_table, 1 + EVEN, a_policy(margin=0.8))
    assert (unsure.outcome, unsure.reasons[0]) == (
        "kept",
        "better, but not with 95 % confidence by more than the margin",
    )
    assert over_clips(a_table, 1 + EVEN, a_policy(margin=0.8, require="gain")).promote
    assert over_clips(a_table, 1 + EVEN, a_policy(margin=1.2)).reasons[0] == "gain below the margin"


def test_a_small_gain_among_large_differences_is_not_promoted_by_default_and_is_by_the_gain_alone(a_table):
    decision = over_clips(a_table, 0.1 + EVEN, a_policy())
    assert (decision.outcome, decision.reasons[0]) == ("kept", "better, but not with 95 % confidence")
    assert decision.gain_low < 0 < decision.gain == pytest.approx(0.1)
    alone = over_clips(a_table, 0.1 + EVEN, a_policy(require="gain"))
    assert (alone.promote, alone.gain_low) == (True, decision.gain_low)


@pytest.mark.parametrize(("direction", "promote"), [(-1, True), (1, False)])
def test_where_lower_is_better_the_interval_is_turned_round(a_table, direction, promote):
    decision = over_clips(a_table, direction * (1 + 0.5 * EVEN), a_policy("lpips_alex"))
    assert (decision.promote, decision.gain) == (promote, pytest.approx(-direction))
    assert decision.gain_low < decision.gain < decision.gain_high
    assert decision.gain_low * decision.gain_high > 0


def test_the_reasons_say_gain_interval_clips_episodes_and_what_the_test_set_can_show(a_table):
    decision = over_clips(a_table, 1 + EVEN, a_policy())
    low, high, least = decision.gain_low, decision.gain_high, decision.detectable
    assert decision.reasons[2] == (
        f"over the same 40 clips of 40 episodes: mean gain +1, 95 % interval {low:+.6g} to {high:+.6g}; "
        f"the smallest difference that this test set shows at 80 % power is {least:.6g}"
    )


def test_a_test_set_that_is_too_small_to_show_the_margin_is_said_where_nothing_is_promoted(a_table):
    small = "the test set is too small to show the margin"
    # It shows 0.44 dB at 80 % power.
    assert over_clips(a_table, 0.3 + EVEN, a_policy(margin=0.2)).reasons[-1].startswith(small)
    assert over_clips(a_table, EVEN - 1, a_policy(margin=0.2)).reasons[-1].startswith(small)
    for gains, margin in ((1 + EVEN, 0.2), (0.3 + EVEN, 0.0), (0.3 + EVEN, 0.5)):  # promoted; no margin; large enough
        assert not any(small in reason for reason in over_clips(a_table, gains, a_policy(margin=margin)).reasons)


def test_a_tie_over_the_same_clips_keeps_the_champion(a_table):
    decision = over_clips(a_table, np.zeros(40), a_policy())
    assert (decision.outcome, decision.reasons[0], decision.gain_low) == ("kept", "a tie", 0.0)


@pytest.mark.parametrize(("episodes", "promote"), [(1, False), (2, False), (5, False), (6, True)])
def test_fewer_episodes_than_the_confidence_needs_promote_nothing(a_table, episodes, promote):
    # All of n episodes agree by chance in 2 of 2^n cases: 1 in 16 with 5 of them, 1 in 32 with 6.
    decision = over_clips(a_table, np.full(episodes, 1.0), a_policy(), OLD[:episodes])
    assert decision.promote is promote
    assert ("(at least 6 can)" in decision.reasons[0]) is not promote
    assert over_clips(a_table, np.full(episodes, 1.0), a_policy(require="gain"), OLD[:episodes]).promote


@pytest.mark.parametrize(("confidence", "least"), [(0.75, 3), (0.9, 5), (0.95, 6), (0.99, 8)])
def test_the_episodes_that_a_confidence_needs_are_those_of_the_sign_test(confidence, least):
    assert PromotionPolicy(confidence=confidence).least_episodes == least
    assert 2 ** (1 - least) <= 1 - confidence < 2 ** (2 - least)


def test_without_a_table_of_the_champions_the_gain_alone_decides_and_that_is_said(a_table):
    pairs = paired(a_table(OLD), None, a_policy(), PROTOCOL)
    decision = decide(a_model("new", 22.0), a_model("old", 21.5), a_policy(), pairs)
    assert (decision.promote, decision.gain_low, decision.detectable) == (True, None, None)
    assert decision.reasons[-1].startswith(
        "no interval could be had, the gain alone decided: the champion has no figures"
    )
    assert not decide(a_model("new", 21.0), a_model("old", 21.5), a_policy(), pairs).promote


def test_a_metric_that_no_single_clip_has_is_decided_by_the_gain_alone(a_table):
    policy = a_policy("fvd", margin=20.0)
    pairs = paired(a_table(OLD), a_table(OLD), policy, PROTOCOL)
    models = [a_model(name, value, metric="fvd") for name, value in (("new", 200.0), ("old", 230.0))]
    decision = decide(*models, policy, pairs)
    assert (decision.promote, decision.gain) == (True, 30.0)
    assert decision.reasons[-1].endswith("prediction.fvd has no value for each clip")


def test_tables_of_other_clips_are_refused(a_table):
    pairs = paired(a_table(OLD), a_table(OLD[1:]), a_policy(), PROTOCOL)
    decision = decide(a_model("new", 99.0), a_model("old", 20.0), a_policy(), pairs)
    assert (decision.promote, decision.outcome) == (False, "refused")
    assert "of other clips: 39 are shared" in decision.reasons[0]


def test_a_table_that_does_not_agree_with_the_figures_is_refused(a_table):
    pairs = paired(a_table(OLD + 1), a_table(OLD), a_policy(), PROTOCOL)
    decision = decide(a_model("new", 22.0), a_model("old", 20.0), a_policy(), pairs)
    assert decision.outcome == "refused"
    assert "the figures differ by +2, clip by clip by +1" in decision.reasons[0]


def test_of_100_equally_good_candidates_at_most_5_are_promoted_and_of_100_better_ones_most(a_table):
    # The test set of sim_push has 128 episodes.
    random = np.random.default_rng(17)
    noise, old = random.normal(0, 1, (100, 128)), random.normal(20, 3, 128)
    policy = a_policy(resamples=1000)
    assert sum(over_clips(a_table, gains, policy, old).promote for gains in noise) <= 5
    # A true gain of what 128 clips show at 80 % power.
    shown = sum(over_clips(a_table, gains + 2.8016 / math.sqrt(128), policy, old).promote for gains in noise)
    assert 70 <= shown <= 90
